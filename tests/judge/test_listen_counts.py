"""What is counted of answers: on keys made by hand, whose counts are known."""

import pytest
from scipy.stats import fisher_exact

from moodlens.core import BadInput, write_json
from moodlens.judge.answers import analyse_answers
from moodlens.settings.judge import ListenSettings
from moodlens.study.records.judge import ListeningKey, Trial


def trial(name, method, *, swap=False, repeat=None, emotion="happy"):
    """Its clips are s and p with the trial's number, a repeat's those of the first time."""
    number = (repeat or name)[1:]
    return Trial(
        trial=name, repeat=repeat, swap=swap, method=method, direction=None, emotion=emotion, prompt="p",
        coefficient=1.0, seed=0, steered=f"s{number}.wav", against="none", partner_seed=0, partner=f"p{number}.wav",
        steered_clip=f"s{number}", partner_clip=f"p{number}",
    )  # fmt: skip


def key_of(folder, trials):
    ListeningKey(
        format="moodlens-listen", test="abc", settings=ListenSettings(), most_heard=1, trials=tuple(trials)
    ).write(folder)
    return folder


def sent(path, listener, trials, chosen, better=None):
    """``chosen``: trial -> whether the steered clip was taken."""
    items = []
    for t in trials:
        two = [t.steered_clip, t.partner_clip]
        item = {"trial": t.trial, "first": two[t.swap], "second": two[not t.swap], "chose": two[not chosen[t.trial]]}  # fmt: skip
        items.append(item | ({} if better is None else {"better": two[not better[t.trial]]}))
    value = {"format": "moodlens-listen", "test": "abc", "listener": listener, "answers": items}
    write_json(path, value)
    return path


def test_a_trial_on_which_listeners_split_is_no_evidence_either_way(tmp_path):
    trials = [trial("t000", "family"), trial("t001", "family"), trial("t002", "family")]
    key = key_of(tmp_path, trials)
    files = [
        sent(tmp_path / "a.json", "a", trials, {"t000": True, "t001": True, "t002": False}),
        sent(tmp_path / "b.json", "b", trials, {"t000": True, "t001": False, "t002": False}),
    ]
    (cell,) = analyse_answers(files, key).cells
    assert (cell.n, cell.chosen) == (6, 3)
    assert (cell.trials.n, cell.trials.chosen) == (2, 1)


def test_methods_are_beyond_controls_of_every_kind(tmp_path):
    """Two kinds of random directions, of which listeners take the steered clip in half and in a third of the trials."""
    methods = ["family"] * 6 + ["random"] * 6 + ["layer_random"] * 6
    trials = [trial(f"t{i:03d}", method) for i, method in enumerate(methods)]
    chosen = {t.trial: {"family": True, "random": i % 2 == 0, "layer_random": i % 3 == 0}[t.method] for i, t in enumerate(trials)}  # fmt: skip
    found = analyse_answers([sent(tmp_path / "a.json", "a", trials, chosen)], key_of(tmp_path, trials))
    rows = {row.method: row for row in found.methods}
    assert rows["family"].beyond_controls == pytest.approx(fisher_exact([[6, 0], [3 + 2, 3 + 4]])[1])
    for control in ("random", "layer_random"):
        assert rows[control].control
        assert rows[control].beyond_controls is None


def test_the_first_side_is_counted_in_repeats_as_well(tmp_path):
    """There a guess is seen best: the sides are swapped."""
    trials = [trial("t000", "family"), trial("t001", "family", repeat="t000", swap=True)]
    always_first = {"t000": True, "t001": False}
    found = analyse_answers([sent(tmp_path / "a.json", "a", trials, always_first)], key_of(tmp_path, trials))
    assert (found.first_side.n, found.first_side.chosen) == (2, 2)
    assert (found.n_answers, found.n_trials) == (1, 1)
    assert (found.consistency.n, found.consistency.alike) == (1, 0)


def test_answers_that_differ_in_quality_alone_are_two(tmp_path):
    trials = [trial("t000", "family"), trial("t001", "means")]
    key, chosen = key_of(tmp_path, trials), {"t000": True, "t001": False}
    files = [
        sent(tmp_path / f"{n}.json", "a", trials, chosen, {"t000": better, "t001": False})
        for n, better in enumerate((True, False))
    ]
    with pytest.raises(BadInput, match="with other answers; keep one"):
        analyse_answers(files, key)
    (first, second) = analyse_answers(files[:1], key).cells
    assert first.quality is not None
    assert second.quality is not None
    assert (first.quality.share, second.quality.share) == (1, 0)


def test_q_is_over_all_methods_and_emotions(tmp_path):
    """Benjamini-Hochberg by hand: of p 2^-7, 2^-4 and 1 the q are 3, 3 / 2 and 1 times as large."""
    plan = [("family", "happy", 8, 8), ("family", "sad", 5, 5), ("means", "happy", 4, 2)]
    trials, chosen = [], {}
    for method, emotion, n, k in plan:
        for i in range(n):
            trials.append(trial(f"t{len(trials):03d}", method, emotion=emotion))
            chosen[trials[-1].trial] = i < k
    found = analyse_answers([sent(tmp_path / "a.json", "a", trials, chosen)], key_of(tmp_path, trials))
    cells = {(cell.method, cell.emotion): cell for cell in found.cells}
    assert cells["family", "happy"].q == pytest.approx(3 * 2**-7)
    assert cells["family", "sad"].q == pytest.approx(3 / 2 * 2**-4)
    assert cells["means", "happy"].q == pytest.approx(1)
