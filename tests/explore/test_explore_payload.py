"""What the page is told is what the study's own tables, and `moodlens inspect`, say."""

import json

import numpy as np
import polars as pl
import pytest

from moodlens.explore.brief import Briefs
from moodlens.explore.clips import clip_runs
from moodlens.explore.compare import compare
from moodlens.explore.explored import Explored
from moodlens.explore.feature import feature_page
from moodlens.explore.overview import overview, prompts
from moodlens.explore.spans import utf16
from moodlens.explore.table import feature_table
from moodlens.study.records.causal import INTERVENTIONS
from moodlens.study.records.stability import STABILITY


@pytest.fixture(scope="module")
def table(explored):
    return feature_table(explored)


@pytest.fixture(scope="module")
def whole(explored):
    return overview(explored, compare=True)


def claimed(explored):
    return explored.claimed.tolist()


def test_the_table_of_features_is_the_studys_own(explored, table):
    frame = pl.read_parquet(explored.study.path / "features.parquet")
    assert table.n == frame.height
    sources = {"claimed": "emotion_feature", "words": "fired_by"}
    compared = 0
    for column in table.columns:
        if column.name == "bootstrap":
            continue
        source = frame[sources.get(column.name, column.name)].to_list()
        told = table.data[column.name]
        if column.kind == "number":
            assert [value is None for value in told] == [value is None for value in source]
            known = [i for i, value in enumerate(source) if value is not None]
            assert [told[i] for i in known] == pytest.approx([source[i] for i in known], rel=1e-3)
        else:
            assert told == source
        compared += 1
    assert compared > 30
    assert {f"rate_{name}" for name in explored.study.emotions} <= set(table.data)


def test_stability_over_bootstraps_stands_beside_that_over_seeds(explored, table):
    frame = explored.study.table(STABILITY)
    for feature, value in frame.select("feature", "reappears_bootstrap").iter_rows():
        assert table.data["bootstrap"][feature] == pytest.approx(value, rel=1e-3)
    assert table.data["bootstrap"][explored.study.core_size :] == [None] * (
        table.n - explored.study.core_size
    )


def test_density_is_a_share_of_as_many_texts_as_it_says(explored, table):
    """The denominator: density times it is a whole number of texts."""
    density = np.array([value or 0.0 for value in explored.column("density")])
    firings = density * table.density_n
    assert np.allclose(firings, np.round(firings), atol=1e-6)
    assert firings.max() > 0


def test_a_feature_page_agrees_with_inspect(explored):
    for feature in (*claimed(explored)[:3], 0, explored.table.height - 1):
        page = feature_page(explored, feature)
        seen = explored.study.inspect([feature], n=10)[0]
        test = explored.test
        assert (page.n_rows, page.n_active) == (seen.n_rows, seen.n_active)
        assert (page.n_emotion, page.n_missed) == (seen.n_emotion, seen.n_missed)
        for mine, theirs in ((page.top, seen.top), (page.misses, seen.misses), (page.low, seen.low)):
            assert [one.row for one in mine] == [test[one.row] for one in theirs]
            assert [one.activation for one in mine] == pytest.approx(
                [one.activation for one in theirs], rel=1e-3
            )
        assert [(one.decile, one.row) for one in page.deciles] == [
            (one.decile, test[one.row]) for one in seen.deciles
        ]
        assert [(one.feature, one.cosine) for one in page.neighbours][:5] == [
            (one.feature, pytest.approx(one.value, abs=1e-3)) for one in seen.neighbours.cosine
        ][:5]
        assert [one.correlation for one in page.together][:5] == pytest.approx(
            [one.value for one in seen.neighbours.correlation][:5], abs=2e-3
        )
        for row, facts in page.texts.items():
            assert facts.text == explored.study.rows.texts[row]
        assert {one.row for one in (*page.top, *page.misses, *page.low, *page.deciles)} == set(page.texts)


def test_the_evidence_of_each_emotion_adds_up(explored):
    for feature in claimed(explored)[:5]:
        page = feature_page(explored, feature)
        lean = explored.table["emotion"][feature]
        own = next(one for one in page.emotions if one.emotion == lean)
        assert own.auroc == pytest.approx(explored.table["auroc"][feature], abs=2e-3)
        assert own.rate == pytest.approx(own.firing / own.n, abs=1e-3)
        of_concepts = [one for one in page.concepts if one.emotion == lean]
        assert sum(one.firing for one in of_concepts) <= own.firing
        assert sum(one.n for one in of_concepts) <= own.n
        shown = sum(sum(counts) for counts in page.histogram.counts.values())
        assert shown == page.n_active
        assert shown + page.histogram.silent == page.n_rows


def test_marked_words_are_where_they_are_said_to_be_and_carry_the_score(explored):
    feature = claimed(explored)[0]
    page = feature_page(explored, feature)
    encoder, W_enc = explored.encoder, explored.study.W_enc()
    for shown in page.top:
        text = page.texts[shown.row].text
        x = encoder.encode([text])[0]
        assert shown.rise == pytest.approx(float((x - explored.mean) @ W_enc[:, feature]), rel=1e-2, abs=1e-3)
        assert shown.words is not None
        for begin, end, _ in shown.words:
            word = text.encode("utf-16-le")[2 * begin : 2 * end].decode("utf-16-le")
            assert word == word.strip() != ""
        assert sum(share for _, _, share in shown.words) < 1.5


def test_places_are_counted_as_browsers_count():
    text = "a 🎻 b"
    assert utf16(text).tolist() == [0, 1, 2, 4, 5, 6]
    assert utf16(text)[-1] == len(text.encode("utf-16-le")) // 2


def test_the_causal_panel_is_the_interventions_table(explored):
    frame = explored.study.table(INTERVENTIONS)
    seen = 0
    for feature in claimed(explored):
        page = feature_page(explored, feature)
        own = frame.filter((pl.col("feature") == feature) & (pl.col("subject") == "feature"))
        assert page.causal is not None
        told = {("transplant", one.readout, one.dose): one.effect for one in page.causal.doses}
        told |= {("clamp", one.readout, one.dose): one.effect for one in page.causal.clamp}
        for row in own.to_dicts():
            effect = told.pop((row["kind"], row["readout"], row["dose"]))
            assert effect == pytest.approx(row["effect"], rel=1e-3)
            seen += 1
        assert not told
        assert {one.dose for one in page.causal.random_direction} == {one.dose for one in page.causal.doses}
        assert all(one.ci is not None for one in page.causal.random_feature)
    assert seen > 0
    rest = feature_page(explored, explored.table.height - 1)
    assert rest.causal is None


def test_twins_are_the_nearest_of_every_other_pipeline(explored):
    feature = claimed(explored)[0]
    study, page = explored.study, feature_page(explored, feature)
    assert [one.pipeline for one in page.twins] == [*study.seed_names, *study.bootstrap_names]
    own = study.W_dec()[feature] / np.linalg.norm(study.W_dec()[feature])
    for twin in page.twins:
        other = study.W_dec(twin.pipeline)
        cosine = other @ own / np.linalg.norm(other, axis=1)
        assert twin.cosine == pytest.approx(cosine.max(), abs=1e-3)
        assert cosine[twin.feature] == pytest.approx(cosine.max(), abs=1e-6)


def test_a_brief_says_the_same_as_the_page(explored):
    briefs = Briefs(explored)
    for feature in (0, *claimed(explored)[:2], explored.table.height - 1):
        page, brief = feature_page(explored, feature), briefs.page(feature, 5)
        assert [(one.row, one.activation) for one in brief.top] == [
            (one.row, one.activation) for one in page.top[:5]
        ]
        for name in ("n_rows", "n_active", "n_emotion", "n_missed"):
            assert getattr(brief, name) == getattr(page, name)
        assert sum(map(sum, brief.histogram.counts.values())) == page.n_active
        assert brief.histogram.silent == page.histogram.silent


def test_the_verdict_stands_with_every_control(explored, whole):
    own = json.loads((explored.study.path / "verdict.json").read_text(encoding="utf-8"))
    assert json.loads(whole.model_dump_json())["verdict"] == own
    assert whole.counts.claimed == len(claimed(explored)) > 0
    assert whole.counts.shuffled_p95 is not None
    assert whole.counts.untrained


def test_the_matrix_holds_firing_rates_of_test_texts(explored, whole):
    heat, study = whole.heat, explored.study
    assert heat is not None
    assert sorted(heat.features) == claimed(explored)
    rows, codes = study.rows, study.codes()
    for i in (0, len(heat.features) - 1):
        for j, cell in enumerate(heat.cells):
            own = rows.where("test")
            own = own[rows.label[own] == study.emotions.index(cell.emotion)]
            own = own[rows.concept[own] == (cell.concept or "")]
            assert cell.n == len(own)
            assert heat.rate[i][j] == pytest.approx((codes[own, heat.features[i]] > 0).mean(), abs=1e-3)


def test_what_is_missing_is_null_and_names_its_verb(own):
    explored, _ = own
    for name in ("causal", "verdict", "report", "names", "stability"):
        (explored.study.path / ".stages" / f"{name}.json").unlink(missing_ok=True)
    folder = explored.study.path
    with pytest.raises(Exception, match="stability"):
        Explored(folder)  # features are made from it
    (folder / ".stages").mkdir(exist_ok=True)


def test_a_study_without_later_stages_is_shown_as_far_as_it_is(own):
    folder = own[0].study.path
    for name in ("causal", "verdict", "report", "names", "transfer"):
        (folder / ".stages" / f"{name}.json").unlink(missing_ok=True)
    explored = Explored(folder)
    whole = overview(explored)
    assert whole.verdict is None
    assert whole.transfer is None
    assert not whole.can.blind
    for part in ("verdict", "names", "causal", "transfer", "norms", "clips"):
        assert whole.missing[part].startswith("moodlens ")
    page = feature_page(explored, claimed(explored)[0])
    assert page.causal is None
    assert page.words is None
    data = feature_table(explored).data
    assert set(data["name"]) == {None}
    assert set(data["causal_effect"]) == {None}


def test_texts_are_told_once_and_in_order(explored):
    told = prompts(explored)
    assert told.text == explored.study.rows.texts.tolist()
    assert len(told.emotion) == len(told.concept) == len(told.kind) == len(told.split) == len(told.text)


def test_a_study_is_its_own_twin(explored):
    result = compare(explored, explored)
    assert result.matches is not None
    assert all(one.a == one.b and one.cosine == pytest.approx(1, abs=1e-4) for one in result.matches)
    assert result.n_matched == explored.study.core_size
    assert result.n_claimed_matched is not None
    assert result.n_claimed_matched.a == result.n_claimed_matched.of_a == len(claimed(explored))
    assert not any(one.differs for one in result.criteria)
    assert result.null_p95 is not None
    assert result.null_p95 < 1


def test_a_criterion_that_only_one_study_was_judged_by_does_not_differ(explored, own):
    folder = own[0].study.path
    for name in ("verdict", "report"):
        (folder / ".stages" / f"{name}.json").unlink()
    result = compare(explored, Explored(folder))
    assert result.b.go is None
    assert all(one.a is not None and one.b is None and not one.differs for one in result.criteria)


def test_a_study_of_an_encoder_without_a_generator_says_so(whole):
    assert whole.steer is not None
    assert "minilm" in (whole.steer.no_music or "")


def test_no_clips_without_a_steering_run(explored):
    assert clip_runs(explored).runs == ()
