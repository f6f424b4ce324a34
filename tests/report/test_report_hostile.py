"""Whatever stands in prompts, labels, names and notes is shown as text, and breaks no page and no figure."""

import re
from xml.etree import ElementTree

import numpy as np
import polars as pl
import pytest

from helpers.report_page import Page, markdown_tables
from helpers.report_study import FOUR, copy_study, make_study
from moodlens.core import read_json, read_table, write_json, write_table
from moodlens.report import render
from moodlens.study.families import Families, Family
from moodlens.study.notes import Notes
from moodlens.study.records.causal import INTERVENTIONS
from moodlens.study.records.selection import Selection
from moodlens.study.records.stability import Agreement, Stability
from moodlens.study.records.verdict import FEATURES
from moodlens.study.study import Study

HOSTILE = (
    "<img src=http://evil.example/x onerror=alert(1)>",
    "`` ` ```\n# head\n| a | b |\n---\n- item",
    "x" * 1_000_000,
    "مرحبا \u202e turned \u2066 \x00\x1b[31m nul \ud7ff\ufffe",
    "{{ 7*7 }} {% raw %} ${HOME}",
    "]]> --> </svg></style></script></textarea>",
    "[link](javascript:alert(1)) ![i](http://evil.example) www.evil.example me@evil.example",
    "$x^2$ $\\frac{1}{0}$ ~~gone~~ **bold** 🎻 悲しい",
    "&lt;b&gt; &amp;amp; &#60;script&#62;",
)
LABELS = (
    "<script>alert(1)</script>",
    "`code` & |pipe|",
    "悲しい 🎻",
    "long " + "y" * 3000,
    "$x^2_3$ $\\frac{1}{",
    "مزاج \u202egnorw\x07",
    "</svg><a href='http://evil.example'>",
    "{{ 7*7 }}__proto__",
)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """A report whose labels, texts, names and readings are all meant ill."""
    folder = make_study(tmp_path_factory.mktemp("hostile") / "s", LABELS)
    for file, column in (("prompts.parquet", "text"), ("features.parquet", "name")):
        frame = read_table(folder / file)
        values = [f"{HOSTILE[i % len(HOSTILE)]} {i}" for i in range(frame.height)]
        write_table(folder / file, frame.with_columns(pl.Series(column, values)))
    table = read_table(folder / "features.parquet")
    sae = Study(folder).sae_key
    for i, feature in enumerate(table.filter("emotion_feature")["feature"]):
        text = HOSTILE[i % len(HOSTILE)].replace("\x00", "").replace("\ufffe", "")
        Notes(folder / "notes.db").add(feature, sae=sae, name=text, clarity="clear", note=text, author=text)
    transfer = read_json(folder / "transfer.json")
    transfer["sets"][0]["name"] = HOSTILE[0] + HOSTILE[5]
    write_json(folder / "transfer.json", transfer)
    render(Study(folder))
    return folder


@pytest.fixture(scope="module")
def html(hostile) -> str:
    return (hostile / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def markdown(hostile) -> str:
    return (hostile / "report.md").read_text(encoding="utf-8")


def test_nothing_becomes_markup(html):
    page = Page(html)
    assert not {"script", "img", "textarea", "iframe", "object"} & page.tags
    assert not page.handlers
    assert all(address.startswith(("#", "data:")) for address in page.addresses)
    emotions = [row[0] for row in page.tables["Texts (and groups) by emotion and split"][1:]]
    assert emotions[0] == "<script>alert(1)</script>"
    assert "&lt;b&gt; &amp;amp; &#60;script&#62;" in " ".join(
        cell for rows in page.tables.values() for row in rows for cell in row
    )
    assert "{{ 7*7 }}" in html
    for svg in re.findall(r"<svg.*?</svg>", html, re.DOTALL):
        ElementTree.fromstring(svg)


def test_nothing_becomes_markdown(html, markdown):
    # A text cannot break out of its cell, or become a heading, a link or a picture.
    assert list(Page(html).tables.values()) == markdown_tables(markdown)
    assert not re.search(r"(?<!\\)\[link(?<!\\)\]\(", markdown)
    outside_code = markdown[: markdown.index("## Reproducibility")]
    assert not re.search(r"https?://|www\.|(?<!\\)@evil", outside_code)
    assert "<img" not in markdown
    assert "\n# head" not in markdown
    assert {line for line in markdown.splitlines() if line.startswith("# ")} == {"# tiny study"}


def test_no_control_character_and_no_megabyte_is_left(html, markdown):
    for text in (html, markdown):
        assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069\ufffe]", text)
        assert "x" * 400 not in text
    assert len(markdown) < 2_000_000
    # Letters that run from right to left, and emoji, are text like any other.
    assert "مرحبا" in markdown
    assert "悲しい 🎻" in markdown


def test_figures_show_the_labels_as_they_are(html):
    figures = " ".join(re.findall(r"<svg.*?</svg>", html, re.DOTALL))
    for label in ("$x^2_3$ $\\frac{1}{", "悲しい 🎻", "&lt;/svg&gt;&lt;a href"):
        assert label in figures
    assert "mathdefault" not in figures


@pytest.fixture
def changed(study, tmp_path):
    """Render a copy of the whole study with other tables; returns the folder."""

    def make(**tables):
        folder = copy_study(study, tmp_path / "s")
        for name, change in tables.items():
            path = folder / f"{name}.parquet"
            write_table(path, change(read_table(path)))
        render(Study(folder))
        return folder

    return make


def test_a_study_without_an_emotion_feature(study, tmp_path):
    folder = copy_study(study, tmp_path / "s")
    features = read_table(folder / "features.parquet").with_columns(emotion_feature=pl.lit(False))
    FEATURES.write(folder, features)
    INTERVENTIONS.write(folder, read_table(folder / "interventions.parquet").clear())
    selection = Selection.read(folder)
    counts = {"n_emotion_features": 0, "per_emotion": dict.fromkeys(selection.per_emotion, 0)}
    selection.model_copy(update=counts).write(folder)
    Families(families=tuple(Family(emotion=emotion) for emotion in FOUR)).write(folder)
    Agreement.read(folder).model_copy(update={"emotions": {}, "mean": None}).write(folder)
    render(Study(folder))
    markdown = (folder / "report.md").read_text(encoding="utf-8")
    assert markdown.count("No emotion feature was found.") == len(FOUR)
    assert "dose-response" not in markdown
    assert not (folder / "figures" / "dose-response-probe.png").exists()


def test_numbers_that_are_not_there_are_dashes(changed):
    def holes(table):
        rng = np.random.default_rng(0)
        floats = [
            name
            for name, dtype in table.schema.items()
            if dtype == pl.Float64 and name != "dose" and not name.startswith("rate_")
        ]
        return table.with_columns(
            pl.when(pl.Series(rng.random(table.height) < 0.5))
            .then(float("nan"))
            .otherwise(pl.col(name))
            .alias(name)
            for name in floats
        )

    folder = changed(features=holes, interventions=holes, stability=holes)
    markdown = (folder / "report.md").read_text(encoding="utf-8")
    assert not re.search(r"\bnan\b", markdown, re.IGNORECASE)
    assert "| – |" in markdown


def test_one_other_seed(study):
    from moodlens.report.topics.stability import stability_histogram

    rows = read_table(study / "stability.parquet")
    rows = rows.with_columns(reappears=(pl.col("feature") % 2).cast(pl.Float64))
    summary = Stability(n_seeds=1, reappearance=0.7, null_cosine_p95=0.4, null_seeds=(9, 1))
    figure = stability_histogram(rows, summary)
    assert [text.get_text() for text in figure.axes[1].texts] == ["32", "32"]
