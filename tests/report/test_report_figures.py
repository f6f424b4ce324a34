"""Figures: there when measured, not blank, the same bytes each time, safe inside a page, 2 to 50 emotions."""

import itertools
import re
from dataclasses import replace
from xml.etree import ElementTree

import matplotlib.image
import numpy as np
import polars as pl
import pytest

from helpers.report_page import Page
from helpers.report_study import composed, copy_study, make_study, subject
from moodlens.core import read_json, read_table
from moodlens.report import render, style
from moodlens.report.style import heading, marks, short
from moodlens.report.svg import inline_svg
from moodlens.report.topics.causality import moves
from moodlens.report.topics.controls import shuffled_counts
from moodlens.report.topics.dictionary import sweep_pareto
from moodlens.report.topics.feature_tables import top_features
from moodlens.report.topics.features import distribution_panels
from moodlens.report.topics.generalization import transfer_bars
from moodlens.report.topics.phase0 import pca_scatter
from moodlens.settings.study import Settings
from moodlens.study.records.estimates import Estimate
from moodlens.study.records.sae import Baseline
from moodlens.study.study import Study


def assert_drawn(path) -> None:
    """A picture of print size that is neither blank nor cut to a corner."""
    pixels = matplotlib.image.imread(path)[..., :3]
    assert min(pixels.shape[:2]) > style.DPI
    ink = (pixels < 0.95).any(axis=2)
    assert ink.mean() > 0.005, path.name
    rows, columns = np.nonzero(ink)
    assert np.ptp(rows) > 0.6 * pixels.shape[0], path.name
    assert np.ptp(columns) > 0.6 * pixels.shape[1], path.name


def test_every_figure_is_there_and_shown(rendered):
    names = {path.stem for path in (rendered / "figures").glob("*.png")}
    assert names == {
        "similarity", "pca", "training", "sweep", "heatmap", "ratings", "concepts", "distributions", "selectivity-auroc", "shuffled",
        "p-values", "dose-response-probe", "dose-response-centroid", "moves-probe", "moves-centroid", "stability",
        "held-out", "transfer-1",
    }  # fmt: skip
    for path in (rendered / "figures").glob("*.png"):
        assert_drawn(path)
    html = (rendered / "report.html").read_text(encoding="utf-8")
    markdown = (rendered / "report.md").read_text(encoding="utf-8")
    assert set(re.findall(r'<figure id="figure-([^"]+)"', html)) == names
    assert set(re.findall(r"\]\(figures/([^)]+)\.png\)", markdown)) == names
    assert html.count("<svg") == len(names) == html.count('role="img"')


def test_the_same_folder_gives_the_same_bytes(rendered, tmp_path):
    again = copy_study(rendered, tmp_path / "full", "report.html", "report.md", "figures")
    render(Study(again))
    files = ["report.html", "report.md", *(f"figures/{p.name}" for p in (rendered / "figures").iterdir())]
    for name in files:
        assert (again / name).read_bytes() == (rendered / name).read_bytes(), name


def test_two_emotions(tmp_path):
    folder = make_study(tmp_path / "s", ("sun", "rain"), groups=28)
    render(Study(folder))
    page = Page((folder / "report.html").read_text(encoding="utf-8"))
    assert [row[0] for row in page.tables["Texts (and groups) by emotion and split"][1:3]] == ["sun", "rain"]
    for path in (folder / "figures").glob("*.png"):
        assert_drawn(path)


@pytest.mark.filterwarnings("error:constrained_layout:UserWarning")
def test_fifty_emotions(tmp_path):
    folder = make_study(tmp_path / "s", tuple(f"mood {i}" for i in range(50)))
    drawn = {picture.name: picture.draw() for picture in composed(folder).pictures}
    for name, figure in drawn.items():
        style.arrange(figure)
        assert figure.get_figheight() <= 1.4 * style.PAGE, name
    style.save_png(drawn["selectivity-auroc"], tmp_path / "legend.png")
    assert_drawn(tmp_path / "legend.png")


def test_only_what_was_measured_is_drawn_and_old_pictures_go(rendered, tmp_path):
    folder = copy_study(
        rendered, tmp_path / "s", "features.parquet", "selection.json", "interventions.parquet", "transfer.json",
        "stability.parquet", "sweep.parquet", "ratings.json", "sae",
    )  # fmt: skip
    (folder / "figures" / "mine.png").write_bytes(b"a user's own picture")
    (folder / "figures" / "training.png").write_bytes(b"another picture of the user's")
    written = {path.stem for path in render(Study(folder)) if path.suffix == ".png"}
    assert written == {"similarity", "pca"}
    assert {path.stem for path in (folder / "figures").glob("*.png")} == {*written, "mine", "training"}


def test_svg_stands_inside_a_page(study):
    figure = {p.name: p for p in composed(study).pictures}["selectivity-auroc"].draw()
    svg = inline_svg(figure, "one", 'Alt with <tag> & "quotes"')
    ElementTree.fromstring(svg)
    assert "http" not in svg
    assert "<?xml" not in svg
    assert "<!--" not in svg
    assert "Alt with &lt;tag&gt; &amp;" in svg
    ids = re.findall(r'\sid="([^"]+)"', svg)
    assert ids
    assert len(ids) == len(set(ids))
    assert all(i.startswith("one-") for i in ids)
    assert set(re.findall(r"url\(#([^)]+)\)", svg)) | set(re.findall(r'href="#([^"]+)"', svg)) <= set(ids)
    assert "currentColor" in svg
    assert "var(--band)" in svg
    assert "#222222" not in svg
    assert inline_svg(figure, "one", "x") == inline_svg(figure, "one", "x")


def test_marks_tell_up_to_fifty_emotions_apart():
    looks = marks(50)
    assert len({(m.color, m.marker, m.line) for m in looks}) == 50
    first = [tuple(int(m.color[i : i + 2], 16) for i in (1, 3, 5)) for m in looks[:8]]
    grey = [0.299 * r + 0.587 * g + 0.114 * b for r, g, b in first]
    assert min(abs(a - b) for a, b in itertools.pairwise(grey)) > 15


def test_names_are_cut_for_figures_alone():
    assert short("a\nb") == "a b"
    assert short("x" * 30) == "x" * 21 + "…"
    assert short("nul\x00\u202eturned") == "nulturned"


def test_column_names_stand_upright_only_where_they_must():
    assert heading(["happy", "sad"], ["happy", "sad"], 4.0) == 0
    assert heading(["happy"] * 12, ["nostalgic and bitter"] * 12, 7.0) == pytest.approx(20 * 0.066)


def test_big_scatters_are_thinned_and_rasterised():
    rng = np.random.default_rng(0)
    figure = pca_scatter(rng.normal(size=(5000, 2)), rng.integers(0, 2, 5000), ("a", "b"), [0.5, 0.2])
    points = sum(len(np.asarray(c.get_offsets())) for c in figure.axes[0].collections)
    assert points == 1500
    assert "1,500 random of n = 5,000" in figure.axes[0].get_title(loc="left")
    assert all(c.get_rasterized() for c in figure.axes[0].collections)


def test_panels_fit_a_page():
    assert distribution_panels(4) == 12
    assert distribution_panels(12) == 6
    assert distribution_panels(50) == 2


def test_top_features_put_stable_ones_first_and_never_look_at_test(study):
    table = pl.DataFrame(
        {
            "feature": [0, 1, 2, 3],
            "emotion": ["a", "a", "a", "b"],
            "emotion_feature": [True, True, True, False],
            "auroc_dev": [0.9, 0.8, 0.7, 0.99],
            "auroc": [0.1, 0.2, 0.99, 0.9],
            "stability": [0.2, 1.0, 0.8, 1.0],
        }
    )
    two = replace(subject(study), settings=Settings(emotions=("a", "b")))
    assert top_features(two, table, 5)["feature"].to_list() == [1, 0, 2]


def test_the_causal_matrix_is_what_the_table_says(study):
    frame = read_table(study / "interventions.parquet")
    emotions = tuple(read_json(study / "phase0.json")["emotions"])
    transplants = frame.filter((pl.col("kind") == "transplant") & (pl.col("readout") == "probe"))
    matrix = moves(transplants, emotions)
    row = frame.filter(
        (pl.col("kind") == "transplant") & (pl.col("subject") == "family") & (pl.col("readout") == "probe")
        & (pl.col("dose") == 1.0) & (pl.col("emotion") == emotions[1]) & (pl.col("target") == emotions[2])
    )  # fmt: skip
    assert matrix[1, 2] == row["effect"][0]
    assert np.isfinite(matrix).all()
    assert (np.diag(matrix) > 0).all()


def test_intervals_are_drawn_where_they_are():
    areas = {"a": Estimate(value=0.8, ci=(0.7, 0.85)), "mean": Estimate(value=0.8, ci=None)}
    figure = transfer_bars({"family": areas}, ("a",), n=10)
    drawn = [tuple(np.asarray(line.get_xdata())) for line in figure.axes[0].get_lines()]
    assert (0.7, 0.85) in drawn
    assert (0.8,) in drawn


def test_the_real_count_stands_beside_the_shuffled_ones():
    figure = shuffled_counts([1, 1, 1, 1], 40, threshold=50)
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert set(labels) == {
        "this study: 40", "shuffled, 95th percentile: 1", "criterion: 50", "shuffled labels, n = 4 repeats"
    }  # fmt: skip


def test_logarithmic_axes_are_labelled_in_plain_numbers(study):
    frame = read_table(study / "sweep.parquet").with_columns(l0=pl.col("l0") ** 2)
    svg = inline_svg(
        sweep_pareto(frame, Baseline(mse=0.1, explained_variance=0.5, n_components=16)), "sweep", "x"
    )
    assert "(log scale)" in svg
    assert "mathdefault" not in svg
    assert ">256<" in svg
