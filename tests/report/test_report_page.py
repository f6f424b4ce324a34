"""The page itself: one file, the verdict first, numbers beside controls, the same in HTML and Markdown."""

import re
import shutil
from pathlib import Path

import pytest
import yaml

from helpers.report_page import Page, markdown_tables
from helpers.report_study import FOUR, composed, copy_study, make_study
from moodlens.core import BadInput, read_json, read_table, write_table
from moodlens.report import render
from moodlens.report.write import to_html, to_markdown
from moodlens.study.families import Families
from moodlens.study.records.causal import INTERVENTIONS
from moodlens.study.records.names import Names
from moodlens.study.records.pairs import Pairs
from moodlens.study.records.phase0 import Phase0
from moodlens.study.records.prompts import PROMPTS, Prompts
from moodlens.study.records.sae import SWEEP, Reconstruction, Sweep
from moodlens.study.records.selection import Selection
from moodlens.study.records.stability import STABILITY, Agreement, Stability
from moodlens.study.records.transfer import Transfer
from moodlens.study.records.verdict import FEATURES, Verdict
from moodlens.study.study import Study
from moodlens.validate.criteria import CRITERIA


def written(folder) -> tuple[str, str]:
    """Both texts without their figures."""
    report = composed(folder)
    return to_html(report, {}), to_markdown(report, set())


@pytest.fixture(scope="module")
def html(rendered) -> str:
    return (rendered / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(html) -> Page:
    return Page(html)


@pytest.fixture(scope="module")
def markdown(rendered) -> str:
    return (rendered / "report.md").read_text(encoding="utf-8")


def test_the_first_line_names_the_encoder_and_who_can_steer(html, markdown):
    first = "Text encoder: minilm (16-d, mean, float32). Only features of a T5 encoder can steer MusicGen"
    assert markdown.startswith(first)
    body = re.sub(r"<[^>]+>", "", html[html.index("<header>") :]).strip()
    assert body.startswith(first)


@pytest.mark.parametrize(
    ("encoder", "says"),
    [
        ("minilm", "the features of this study cannot"),
        ("t5:google-t5/t5-base", "these can"),
        ("musicgen:facebook/musicgen-small", "these can"),
        ("precomputed", "these can if"),
    ],
)
def test_what_steers_depends_on_the_encoder(study, tmp_path, encoder, says):
    folder = copy_study(study, tmp_path / "s", "embeddings", "sae")
    settings = yaml.safe_load((folder / "study.yaml").read_text())
    settings["encoder"]["id"] = encoder
    (folder / "study.yaml").write_text(yaml.safe_dump(settings))
    assert says in written(folder)[1].splitlines()[0]


def test_nothing_is_fetched(html, page):
    assert not {"script", "iframe", "object", "embed", "img"} & page.tags
    assert not page.handlers
    outside = [a for a in page.addresses if not a.startswith(("#", "data:"))]
    assert outside == []
    assert not re.search(r"@import|url\((?!#|[\"']?data:)", html)
    # Namespaces and papers are named without an address a browser would follow.
    assert "http://" not in html
    assert "https://" not in html


def test_ids_are_unique_and_links_lead_somewhere(page):
    assert len(page.ids) == len(set(page.ids))
    anchors = {a[1:] for a in page.addresses if a.startswith("#")}
    assert anchors <= set(page.ids)
    assert {"verdict", "features", "methods"} <= set(page.ids)


def test_the_verdict_comes_first_with_every_criterion_and_its_control(rendered, page, html):
    assert list(page.tables)[:2] == [
        "Must: decide go or no-go",
        "Nice to have: strengthen the findings",
    ]
    rows = {row[0]: row for table in list(page.tables)[:2] for row in page.tables[table][1:]}
    assert set(rows) == {criterion.label for criterion in CRITERIA}
    head = page.tables["Must: decide go or no-go"][0]
    place = {name: head.index(name) for name in ("Result", "Value", "Controls", "Threshold")}
    for criterion in read_json(rendered / "verdict.json")["criteria"]:
        row = rows[criterion["label"]]
        assert row[place["Threshold"]] == criterion["threshold"].replace(">=", "≥").replace("<=", "≤")
        if criterion["value"] is None:
            assert row[place["Result"]] == criterion["state"]
            assert row[place["Value"]] == row[place["Controls"]] == "–"
        else:
            word = (
                "passed"
                if criterion["passed"]
                else "uninformative"
                if criterion["uninformative"]
                else "failed"
            )
            assert row[place["Result"]] == word
            shown = row[place["Controls"]].split("; ")
            for control, text in zip(criterion["controls"], shown, strict=True):
                assert re.fullmatch(re.escape(control["name"]) + r": (–|-?[\d.,]+(e-\d+)?%?)", text)
            assert re.fullmatch(r"-?[\d.,]+(e-\d+)?%?", row[place["Value"]])
    assert html.index('id="verdict"') < html.index('id="texts"')


def test_an_uninformative_criterion_is_called_so(study, tmp_path):
    folder = copy_study(study, tmp_path / "s")
    verdict = Verdict.read(folder)
    change = {
        "passed": False,
        "state": "uninformative",
        "uninformative": True,
        "advice": "Selectivity: says nothing.",
    }
    criteria = (c.model_copy(update=change) if c.id == "selectivity" else c for c in verdict.criteria)
    verdict.model_copy(update={"criteria": tuple(criteria)}).write(folder)
    html, md = written(folder)
    row = next(row for row in Page(html).tables["Must: decide go or no-go"] if row[0] == "Selectivity")
    assert row[1] == "uninformative"
    assert "selectivity uninformative" in md
    assert "- Selectivity (must, uninformative): says nothing." in md


def test_what_to_do_next_speaks_to_every_criterion_that_does_not_pass(rendered, markdown):
    section = markdown.split("## What to do next")[1].split("\n## ")[0]
    for c in read_json(rendered / "verdict.json")["criteria"]:
        asked = c["state"] != "not asked"
        assert (f"- {c['label']} (" in section) is (asked and not c["passed"]), c["label"]
    assert "`moodlens causal DIR`" in section


def test_html_and_markdown_hold_the_same_tables(page, markdown):
    of_page = list(page.tables.values())
    of_text = markdown_tables(markdown)
    assert len(of_page) == len(of_text) > 20
    assert of_page == of_text


def test_every_feature_number_is_that_of_the_file(rendered, page):
    features = {
        f"F{row['feature']}": row for row in read_table(rendered / "features.parquet").iter_rows(named=True)
    }
    seen = 0
    for caption, rows in page.tables.items():
        if not caption.startswith("Best "):
            continue
        head = rows[0]
        assert {
            "Name",
            "Name score",
            "Selectivity",
            "AUROC",
            "q",
            "Density",
            "Stability",
            "Causal effect",
        } <= {*head}
        stable = [float(row[head.index("Stability")].rstrip("%")) >= 80 for row in rows[1:]]
        assert stable == sorted(stable, reverse=True)
        for row in rows[1:]:
            truth = features[row[0]]
            assert row[head.index("AUROC")] == f"{truth['auroc']:.3f}"
            assert row[head.index("Selectivity")] == f"{truth['selectivity']:.1f}×"
            assert row[head.index("Name")] == truth["name"]
            seen += 1
    assert seen == sum(min(10, n) for n in read_json(rendered / "selection.json")["per_emotion"].values())


def test_features_show_top_deciles_and_misses(page):
    shown = [rows for caption, rows in page.tables.items() if caption.startswith("Strongest texts")]
    assert shown
    kinds = {row[0].split()[0] for rows in shown for row in rows[1:]}
    assert kinds == {"top", "decile", "miss"}
    for rows in shown:
        top = [float(row[1]) for row in rows[1:] if row[0].startswith("top")]
        assert top == sorted(top, reverse=True)
        assert {row[1] for row in rows[1:] if row[0] == "miss"} <= {"0"}


def test_families_stand_beside_those_of_other_seeds(study, tmp_path, markdown):
    assert "Families beside those of 2 other pipelines" in markdown
    assert (
        "families: direction cosine 0.83 (random families 0.13), reading correlation 0.79 (0.24)" in markdown
    )
    assert "0.830 (0.710)" in markdown
    folder = copy_study(study, tmp_path / "s")
    (folder / "agreement.json").unlink()
    assert "Families beside those of" not in written(folder)[1]


def test_the_core_is_said_and_how_often_its_features_were_found(page, markdown):
    assert "The first 40 features are the core: what 4 narrow SAEs of 64 features agree on" in markdown
    _, *rows = page.tables["In how many of the narrow SAEs each feature of the core was found"]
    assert rows == [["2", "10"], ["4", "30"]]


def test_the_studys_claims_stand_above_those_of_untrained_dictionaries(rendered, page):
    _, own, *others = page.tables["Dictionaries that learned nothing, by the same rules"]
    selection, names = (read_json(rendered / f"{name}.json") for name in ("selection", "names"))
    assert own[0] == "this study"
    assert own[1:3] == [str(selection["core_size"]), str(selection["n_emotion_features"])]
    assert own[4] == str(sum(names["per_emotion"].values()))
    assert len(others) == 4


def test_what_is_amiss_with_the_texts_is_said(markdown):
    assert "- val has no text of &lt;one&gt; emotion." in markdown.split("## Texts")[1].split("\n## ")[0]


def test_methods_are_formulas(page, html, markdown):
    assert "math" in page.tags
    assert html.count("<math") >= 8
    for name in ("Explained variance", "Selectivity", "AUROC", "q-value", "Intervention"):
        assert name in markdown.split("## Methods")[1]


def test_the_control_study_says_so_before_anything_else(study, tmp_path):
    folder = copy_study(study, tmp_path / "s")
    settings = yaml.safe_load((folder / "study.yaml").read_text())
    settings["control"] = "shuffle-labels"
    (folder / "study.yaml").write_text(yaml.safe_dump(settings))
    html, md = written(folder)
    n = read_json(folder / "selection.json")["n_emotion_features"]
    for text in (html, md):
        assert text.index("CONTROL STUDY") < text.index("No-go")
        assert f"Emotion features claimed: {n}." in text
    assert 'role="alert"' in html


def test_a_go_is_said(study, tmp_path):
    folder = copy_study(study, tmp_path / "s")
    verdict = Verdict.read(folder)
    change = {"passed": True, "state": "passed", "value": 1.0, "uninformative": False, "advice": ""}
    criteria = tuple(c.model_copy(update=change) for c in verdict.criteria)
    verdict.model_copy(update={"go": True, "criteria": criteria}).write(folder)
    html, md = written(folder)
    assert "Go: all 7 must-criteria that were asked pass" in md
    assert 'class="verdict good"' in html
    assert "moodlens steer DIR" in md


STAGES = (
    # file(s) taken away, what the report then says, with which command
    (("verdict.json",), "the verdict", "moodlens verdict DIR"),
    (("pairs.json",), "orthogonality and compositionality", "moodlens pairs DIR"),
    (("transfer.json",), "negations, mixed emotions and texts of other people", "moodlens transfer DIR"),
    (("interventions.parquet",), "causality", "moodlens causal DIR"),
    (("stability.parquet",), "stability over pipelines", "moodlens stability DIR"),
    (("features.parquet", "selection.json", "families.json"), "emotion features", "moodlens verdict DIR"),
    (("sae", "reconstruction.json"), "the sparse autoencoder", "moodlens train DIR"),
    (("sweep.parquet",), "a sweep over settings", "moodlens sweep DIR"),
    (("phase0.json",), "phase 0", "moodlens probe DIR"),
    (("prompts.parquet",), "the texts", "moodlens prompts DIR"),
)


def test_stages_not_run_yet_are_said_with_their_command(study, tmp_path):
    folder = copy_study(study, tmp_path / "s")
    md = ""
    for files, what, command in STAGES:
        for name in files:
            path = folder / name
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        html, md = written(folder)
        Page(html)
        assert f"Not measured yet: {what}; run `{command}" in md
        assert f"Not measured yet: {what}; run <code>{command}" in html
    # Only study.yaml and the embeddings are left now.
    assert md.startswith("Text encoder: minilm")


RECORDS = (
    Prompts, Phase0, Sweep, Reconstruction, Stability, Selection, Families, Names, Agreement, Pairs, Transfer, Verdict
)  # fmt: skip


@pytest.mark.parametrize("record", RECORDS)
@pytest.mark.parametrize("content", ['{"half": ', "[]", "{}", '{"version": 1}', '{"version": 0}'])
def test_a_broken_file_is_one_line_that_names_what_makes_it_anew(study, tmp_path, record, content):
    folder = copy_study(study, tmp_path / "s")
    (folder / record.file).write_text(content)
    with pytest.raises(BadInput, match=rf"{record.file}: .*; make it anew: moodlens {record.stage} \S+$"):
        composed(folder)


@pytest.mark.parametrize("table", [PROMPTS, SWEEP, STABILITY, FEATURES, INTERVENTIONS])
def test_a_broken_table_is_one_line_that_names_what_makes_it_anew(study, tmp_path, table):
    folder = copy_study(study, tmp_path / "s")
    frame = read_table(folder / table.file)
    anew = rf"; make it anew: moodlens {table.stage} \S+$"
    (folder / table.file).write_bytes(b"PAR1 torn")
    with pytest.raises(BadInput, match=rf"{table.file}: not a readable Parquet file.*{anew}"):
        composed(folder)
    write_table(folder / table.file, frame.drop(frame.columns[1]))
    with pytest.raises(BadInput, match=rf"{table.file}: no column '{frame.columns[1]}'{anew}"):
        composed(folder)


@pytest.mark.parametrize(
    ("file", "stage"),
    [
        ("embeddings/manifest.json", "embed"),
        ("embeddings/00000.safetensors", "embed"),
        ("sae/main/cfg.json", "train"),
        ("sae/main/sae_weights.safetensors", "train"),
        ("sae/seed-1/history.jsonl", "train"),
    ],
)
@pytest.mark.parametrize("content", ['{"half": ', "[]", "{}", '{"metadata": 3}'])
def test_a_broken_array_is_one_line_that_names_what_makes_it_anew(study, tmp_path, file, stage, content):
    folder = copy_study(study, tmp_path / "s")
    (folder / file).write_text(content)
    with pytest.raises(BadInput, match=rf"{Path(file).name}: .*; make it anew: moodlens {stage} \S+$"):
        composed(folder)


def test_other_broken_folders_are_one_line(study, tmp_path):
    with pytest.raises(BadInput, match=r"study\.yaml: cannot read"):
        render(Study(tmp_path))
    folder = copy_study(study, tmp_path / "s")
    (folder / "study.yaml").write_text("emotions: [a, b\n")
    with pytest.raises(BadInput, match="not valid YAML"):
        render(Study(folder))


def test_embeddings_of_other_prompts_are_refused(study, tmp_path):
    folder = copy_study(study, tmp_path / "s")
    write_table(folder / "prompts.parquet", read_table(folder / "prompts.parquet").head(10))
    with pytest.raises(BadInput, match="rows for 10 prompts"):
        render(Study(folder))


def test_as_many_emotions_as_there_are(tmp_path):
    labels = tuple(f"mood {i}" for i in range(12))
    folder = make_study(tmp_path / "s", labels)
    html, md = written(folder)
    page = Page(html)
    assert [row[0] for row in page.tables["Texts (and groups) by emotion and split"][1:-1]] == list(labels)
    assert list(page.tables.values()) == markdown_tables(md)
    assert not any(word in md for word in FOUR)
