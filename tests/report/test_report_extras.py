"""What may lie beside a study: people's readings, and a steering run with its clips."""

import json

import numpy as np
import pytest

from helpers.report_page import Page
from helpers.report_study import composed, copy_study
from moodlens.core import BadInput, read_table
from moodlens.report import render
from moodlens.report.document import Table
from moodlens.report.topics.steering import MAX_ROWS, mixed, steering_dose
from moodlens.report.write import to_html, to_markdown
from moodlens.settings.judge import ResultSettings
from moodlens.settings.steer import LAYER_METHOD, LAYER_METHODS, METHODS, SteerSettings
from moodlens.steer.clips import ClipSpec, write_clip
from moodlens.study.notes import Notes
from moodlens.study.records.judge import EffectRow, EqualChange, MatchedMethod, MixtureRow, Results
from moodlens.study.records.steer import Checkpoint, How, LayerSite, SteerRun
from moodlens.study.study import Study


def markdown(folder) -> str:
    return to_markdown(composed(folder), set())


def first_feature(folder) -> int:
    table = read_table(folder / "features.parquet")
    return int(table.filter(table["emotion_feature"])["feature"][0])


def test_a_persons_reading_stands_where_the_machines_name_stood(study, tmp_path):
    folder = copy_study(study, tmp_path / "s")
    feature = first_feature(folder)
    notes, sae = Notes(folder / "notes.db"), Study(folder).sae_key
    notes.add(feature, sae=sae, name="first thought", clarity="unclear", author="Ada")
    notes.add(feature, sae=sae, name="sunny `words` <b>", clarity="clear", note="mostly pop", author="Ada")
    md = markdown(folder)
    assert "first thought" not in md
    assert f"F{feature} | sunny 'words' &lt;b&gt; (read by a person)" in md
    assert "Read by Ada: sunny 'words' &lt;b&gt; (clear). Note: mostly pop" in md
    assert f"The machine's name: word {feature}." in md
    Page(to_html(composed(folder), {}))


def test_a_reading_of_another_sae_is_of_another_feature(study, tmp_path):
    folder = copy_study(study, tmp_path / "s")
    feature = first_feature(folder)
    notes, sae = Notes(folder / "notes.db"), Study(folder).sae_key
    for other in (sae.replace("main", "seed-1"), f"main@{'f' * 12}"):
        notes.add(feature, sae=other, name="not this one", clarity="clear")
    assert "not this one" not in markdown(folder)
    notes.add(feature, sae=sae, name="this one", clarity="unclear")
    assert "this one (read by a person, unclear)" in markdown(folder)


def test_notes_that_are_no_database_are_one_line(study, tmp_path):
    folder = copy_study(study, tmp_path / "s")
    (folder / "notes.db").write_bytes(b"not a database at all" * 100)
    with pytest.raises(BadInput, match=r"notes\.db"):
        markdown(folder)


def steered(study, folder, *, more=(), left_out=(), steps=None):
    """A steering run of two methods on two emotions, one prompt, one seed, and clips of ``more``, steered in the decoder."""
    copy_study(study, folder)
    clips, keys, rows = folder / "steer" / "clips", [], []
    plans = [("none", None, 0.0), ("prompt_editing", "sad", None)]
    plans += [(m, e, c) for m in ("sae_family", "random") for e in ("happy", "sad") for c in (-1.0, 1.0, 2.0)]
    plans += [(m, "sad" if m == LAYER_METHOD else None, 2.0) for m in more]
    plans = [plan for plan in plans if plan[0] not in left_out]
    model = Checkpoint(model="tiny", revision="x", dtype="float32", device="cpu")
    how = How(
        **model.model_dump(), seconds=0.01, guidance=3.0, temperature=1.0, top_k=250, renorm=True, null="zeros",
        schedule=None, steps=steps,
    )  # fmt: skip
    site = LayerSite(layers=(0, 2), decay=1.0, halves="conditional", recipe="r")
    for i, (method, emotion, coefficient) in enumerate(plans):
        spec = ClipSpec("a <simple> melody", "a <simple> melody", method, None, emotion, coefficient, 3)
        write_clip(
            clips,
            f"key{i}",
            np.zeros(320, dtype=np.float32),
            32000,
            spec,
            amount=0.0,
            how=how.model_copy(update={"layers": site}) if method in more else how,
            encoder="t5:tiny",
        )
        keys.append(f"key{i}")
        if coefficient and method not in more:
            slope = 0.3 if method == "sae_family" else 0.0
            effect = slope * coefficient
            rows.append(
                effect_row(
                    method=method, emotion=emotion, coefficient=coefficient, effect=effect,
                    ci=(effect - 0.1, effect + 0.1), moved=effect > 0.2,
                    confirmatory=method == "sae_family" and coefficient == 2.0,
                )
            )  # fmt: skip
            other = {"readout": "acoustic", "effect": -effect, "ci": None, "confirmatory": False}
            rows.append(rows[-1].model_copy(update=other))
    listed = (*keys, "gone")
    SteerRun(settings=SteerSettings(), model=model, notes=(), clips=listed).write(folder / "steer")
    empty = dict.fromkeys(("controls", "dose", "specificity", "comparisons", "hypotheses", "distance"), ())
    Results(
        settings=ResultSettings(), emotions=("happy", "sad"), readouts={}, readout="clap", n_confirmatory=2, coefficient=2.0, n_prompts=8, n_seeds=1,
        n_clips=len(keys), rows=tuple(rows), statements=("Prompt editing moves sadness more than directions do.",),
        equal_change=equal_change(), **empty,
    ).write(folder / "steer")  # fmt: skip
    return folder


def equal_change() -> tuple[EqualChange, ...]:
    """Matched towards happy; towards sad only one method is above the floor."""

    def method(name, effect, below=()):
        known = effect is not None
        return MatchedMethod(
            method=name, effect=effect, coefficient=1.5 if known else None, between=known, floor=0.002 if known else None,
            largest=0.04, below=below,
        )  # fmt: skip

    matched = (method("sae_family", 0.3), method("difference_in_means", 0.4, (0.01,)))
    missed = (method("sae_family", None), method("difference_in_means", None, (0.01, 1.0)))
    shared = {"readout": "clap", "of": "kl", "n_random": 5, "random_p95": 0.1}
    return (
        EqualChange(emotion="happy", change=0.03, methods=matched, **shared),
        EqualChange(
            emotion="sad", change=None, methods=missed, **shared | {"n_random": 0, "random_p95": None}
        ),
    )


def effect_row(**values) -> EffectRow:
    known = {
        "readout": "clap", "p": 0.005, "q": 0.01, "prompt_p": 0.004, "random_p": None, "n_random": 20, "random_p95": 0.2,
        "matched_p95": None,
        "n_prompts": 8, "kept": None, "adherence": None, "moved": True,
    }  # fmt: skip
    return EffectRow(**known | values)


def test_a_steering_run_has_its_section(study, tmp_path):
    folder = steered(study, tmp_path / "s")
    render(Study(folder))
    html = (folder / "report.html").read_text(encoding="utf-8")
    md = (folder / "report.md").read_text(encoding="utf-8")
    page = Page(html)
    assert "Prompt editing moves sadness more" in md
    claimed = page.tables["Confirmatory: read by clap, q over these 2 rows"]
    assert [row[:4] for row in claimed[1:]] == [["clap", "sae family", e, "2"] for e in ("happy", "sad")]
    rows = page.tables["Exploratory: nothing is claimed of these"]
    assert not any(row[:2] == ["clap", "sae family"] and row[3] == "2" for row in rows)
    head = "Readout Method Emotion Coefficient Effect|95 % interval|q|p over prompts|Random directions, 95th percentile"
    assert rows[0] == [*head.split("|")[0].split(), *head.split("|")[1:], "Prompts", "Moved"]
    assert {row[1] for row in rows[1:]} == {"sae family", "random"}
    clap = [row for row in rows if row[:2] == ["clap", "sae family"]]
    assert clap[1] == [
        "clap",
        "sae family",
        "happy",
        "1",
        "0.300",
        "[0.200, 0.400]",
        "0.010",
        "0.0040",
        "0.200",
        "8",
        "yes",
    ]
    sounds = [a for a in page.addresses if a.endswith(".wav")]
    # Plain, edited, and the family and random at their strongest coefficient for both emotions.
    assert sounds == [f"steer/clips/key{i}.wav" for i in (0, 1, 4, 7, 10, 13)]
    assert all((folder / sound).is_file() for sound in sounds)
    assert all(f"(<{sound}>)" in md for sound in sounds)
    # Readouts have units of their own: what CLAP says and what the acoustics say are two figures.
    assert {path.stem for path in (folder / "figures").glob("steering-*")} == {
        "steering-dose-clap", "steering-dose-acoustic"
    }  # fmt: skip
    assert not [a for a in page.addresses if not a.startswith(("#", "data:", "steer/clips/"))]
    assert "media-src" in html
    assert "script" not in page.tags


def test_what_is_steered_in_the_decoder_is_not_said_to_be_in_the_text(study, tmp_path):
    here = "added to the decoder's residual stream behind layers 0, 2 at every step, not to the text"
    text = "added to the text encoder's output"
    plain = markdown(steered(study, tmp_path / "plain"))
    assert text in plain
    assert "residual stream" not in plain
    both = markdown(steered(study, tmp_path / "both", more=LAYER_METHODS))
    assert text in both
    assert here in both
    assert "no common unit" in both
    for said in ("layer difference in means, towards sad, coefficient 2", "layer random, coefficient 2"):
        assert said in both
    folder = steered(study, tmp_path / "alone", more=LAYER_METHODS, left_out=("sae_family", "random"))
    (folder / "steer" / "results.json").unlink()
    alone = markdown(folder)
    assert here in alone
    assert text not in alone
    assert "no common unit" not in alone


def test_the_section_names_the_kind_of_generator(study, tmp_path):
    assert "## Steering MusicGen" in markdown(steered(study, tmp_path / "tokens"))
    noise = markdown(steered(study, tmp_path / "noise", steps=4))
    assert "## Steering Stable Audio" in noise
    assert "Steering MusicGen" not in noise


def test_methods_at_equal_change_say_what_they_are_matched_on(study, tmp_path):
    folder = steered(study, tmp_path / "s")
    render(Study(folder))
    page = Page((folder / "report.html").read_text(encoding="utf-8"))
    rows = page.tables["At equal change: read by clap"]
    assert rows[1:] == [
        ["happy", name, "0.03", "0.002", "1.500", effect, "0.100"]
        for name, effect in (("sae family", "0.300"), ("difference in means", "0.400"))
    ]
    md = (folder / "report.md").read_text(encoding="utf-8")
    assert "Matched on teacher-forced KL, nats per token" in md
    assert "The floor is what two unsteered seeds show" in md
    assert "towards happy: difference in means at 0.01; towards sad: difference in means at 0.01, 1" in md


def test_mixed_emotions_have_a_table_that_claims_nothing():
    row = MixtureRow(readout="clap", direction="mixture/sae_family/1*happy+-0.5*sad", weights={"happy": 1.0, "sad": -0.5},
                     coefficient=1.0, emotion="sad", effect=-0.1, ci=(-0.2, -0.05), p=0.02, prompt_p=0.01, random_p=0.02,
                     random_p5=-0.03, random_p95=0.04, n_prompts=8)  # fmt: skip
    assert list(mixed(())) == []
    (table,) = mixed((row,) * (MAX_ROWS + 1))
    assert isinstance(table, Table)
    assert len(table.rows) == MAX_ROWS
    assert table.rows[0][:3] == ("clap", "1 happy, -0.500 sad", "sad")
    assert f"{MAX_ROWS} of {MAX_ROWS + 1} rows" in table.note


def test_clips_without_scores_are_offered_and_said(study, tmp_path):
    folder = steered(study, tmp_path / "s")
    (folder / "steer" / "results.json").unlink()
    md = markdown(folder)
    assert "Not measured yet: what the clips' scores say" in md
    assert "steer/clips/key0.wav" in md


def test_a_broken_result_table_is_one_line(study, tmp_path):
    folder = steered(study, tmp_path / "s")
    (folder / "steer" / "results.json").write_text(json.dumps([1]))
    with pytest.raises(
        BadInput, match=r"results\.json: not a Results of version 2; make it anew: moodlens judge"
    ):
        markdown(folder)


def test_no_section_where_the_encoder_cannot_steer(study):
    report = composed(study)
    assert "steering" not in [section.id for section in report.sections]
    assert "media-src" not in to_html(report, {})


def test_doses_are_drawn_in_order():
    rows = [
        effect_row(method="sae_family", emotion="sad", coefficient=c, effect=2 * c, ci=(2 * c - 1, 2 * c + 1))
        for c in (2.0, -1.0, 0.5)
    ]
    figure = steering_dose(rows, ("happy", "sad"))
    line = figure.axes[0].get_lines()[-1]
    assert np.asarray(line.get_xdata()).tolist() == [-1.0, 0.5, 2.0]
    assert np.asarray(line.get_ydata()).tolist() == [-2.0, 1.0, 4.0]


def test_no_two_methods_look_alike():
    """Colour, line and marker: of the three one is enough, so a grey print or a colour deficiency hides none."""
    methods = (*METHODS, "mixture", LAYER_METHOD)
    rows = [
        effect_row(method=m, emotion="sad", coefficient=c, effect=c, ci=None)
        for m in methods
        for c in (1.0, 2.0)
    ]
    figure = steering_dose(rows, ("sad",))
    lines = figure.axes[0].get_lines()[-len(methods) :]
    assert len({line.get_color() for line in lines}) == len(methods)
    assert len({line.get_marker() for line in lines}) == len(methods)
