"""Grids, the Pareto front, the choice and its advice."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moodlens.core import BadInput
from moodlens.sae import choose, grid, pareto
from moodlens.settings.sae import SAESettings

ROW = {
    "architecture": "batchtopk", "d_sae": 6144, "k": 100, "l1_coefficient": 1e-3, "mse": 0.002,
    "explained_variance": 0.9, "explained_variance_train": 0.92, "l0": 100.0, "active_share": 100 / 6144,
    "dead_share": 0.01, "dev_selective": 60,
}  # fmt: skip


def frame(*changes):
    return pl.DataFrame([{**ROW, **change} for change in changes])


def test_grid_is_the_product_in_order():
    base = SAESettings(architecture="l1", epochs=7)
    made = grid(base, {"l1_coefficient": [1e-3, 3e-3], "expansion_factor": [4, 8, 16]})
    assert len(made) == 6
    assert [(s.l1_coefficient, s.expansion_factor) for s in made[:4]] == [
        (1e-3, 4),
        (1e-3, 8),
        (1e-3, 16),
        (3e-3, 4),
    ]
    assert all(s.epochs == 7 for s in made)
    assert grid(SAESettings(), {}) == [SAESettings()]


def test_grid_gives_each_architecture_what_it_uses():
    axes = {"architecture": ["l1", "topk", "matryoshka"], "k": [8, 16], "l1_coefficient": [0.1, 0.2, 0.3]}
    made = grid(SAESettings(k=4, aux_k=32), axes)
    assert [(s.architecture, s.k, s.l1_coefficient, s.aux_k) for s in made] == [
        *(("l1", 0, c, None) for c in (0.1, 0.2, 0.3)),
        *(("topk", k, 1e-3, 32) for k in (8, 16)),
        *(("matryoshka", k, 1e-3, 32) for k in (8, 16)),
    ]


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        ({"l1": [1]}, "sweep: unknown SAE setting 'l1'.*known: architecture"),
        ({"k": []}, "sweep: no values for 'k'"),
        ({"architecture": "topk"}, "sweep: no values for 'architecture': give a list"),
        ({"architecture": [["topk"]]}, "sweep: architecture"),
        ({"architecture": ["gated"]}, "sweep: architecture.*'gated'"),
        ({"k": [4, -1]}, "sweep: k: .*-1"),
        ({"learning_rate": [float("inf")]}, "sweep: learning_rate.*finite"),
        ({"l1_coefficient": [0.1]}, "l1_coefficient is not used by architecture batchtopk, only by l1"),
        ({"architecture": ["topk", "batchtopk"], "prefixes": [[4, 8]]}, "prefixes is not used by .*topk"),
    ],
)
def test_grid_refuses_what_makes_no_sae(axes, message):
    with pytest.raises(BadInput, match=message):
        grid(SAESettings(), axes)


points = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=25)


@given(points)
def test_pareto_is_exactly_the_undominated(rows):
    table = pl.DataFrame(rows, schema=["explained_variance", "l0"], orient="row")
    front = pareto(table)
    assert front.any()
    for i, (ev, l0) in enumerate(rows):
        beaten = any(a >= ev and b <= l0 and (a, b) != (ev, l0) for a, b in rows)
        assert front[i] == (not beaten)


@given(points, st.randoms())
def test_pareto_follows_its_rows(rows, random):
    order = list(range(len(rows)))
    random.shuffle(order)
    table = pl.DataFrame(rows, schema=["explained_variance", "l0"], orient="row")
    assert np.array_equal(pareto(table)[order], pareto(table[order]))


def test_choice_prefers_selectivity_among_those_that_meet_all():
    index, reason = choose(frame({}, {"dev_selective": 90}, {"dev_selective": 70}))
    assert index == 1
    assert "3 reconstruct" in reason
    assert "most selective" in reason


@pytest.mark.parametrize(
    "worse",
    [
        {"explained_variance": 0.7},
        {"mse": 0.02},
        {"active_share": 0.2},
        {"active_share": 0.001},
        {"dead_share": 0.5},
    ],
)
def test_each_bar_comes_before_selectivity(worse):
    assert choose(frame({**worse, "dev_selective": 999}, {}))[0] == 1


def test_where_no_row_meets_a_bar_the_nearest_is_kept():
    index, reason = choose(
        frame(
            {"explained_variance": 0.2, "dev_selective": 999},
            {"explained_variance": 0.51, "active_share": 0.3},
            {"explained_variance": 0.50, "active_share": 0.05, "dead_share": 0.6},
            {"explained_variance": 0.50, "active_share": 0.05, "dead_share": 0.4},
        )
    )
    assert index == 3
    assert "none reconstructs" in reason
    assert "none with 1%-3%" in reason
    assert "the lowest kept" in reason


def test_choosing_from_nothing_is_an_error():
    with pytest.raises(BadInput, match="no SAE"):
        choose(frame({}).head(0))
