"""Do emotion features cause what they stand for? Interventions on test prompts, beside controls.

Every feature that was found is clamped to zero where it fires, and its typical activation is added to prompts of
other emotions. What changes is read by readouts fitted on groups that chose no feature. A feature is *causal* when

1. adding it moves its emotion's log-odds by more than ``control_quantile`` of its matched controls, moved by the same
   amount, move them. Controls fire as often and as strongly, no label chose them, and there are two kinds: features of
   the same SAE that are never claimed, and features of a dictionary that learned nothing,
2. the Benjamini-Hochberg q over all tested features is below ``q``, where p is the largest of the shares of
   matched features of either kind, and of random directions, that do as much, and
3. the signs are as expected, on both readouts: adding it raises the emotion, clamping it lowers the emotion.

Beside the count stands how many control features of each kind, as many as were tested, pass the same rule.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from moodlens.core import BadInput, Progress, silent
from moodlens.settings.validation import CausalSettings
from moodlens.stats.controls import allowed_controls
from moodlens.stats.pvalues import benjamini_hochberg
from moodlens.stats.ranks import activity
from moodlens.study.coded import Coded
from moodlens.study.families import Families
from moodlens.study.records.causal import INTERVENTIONS, Causal
from moodlens.validate.causal_families import FamilyTrial
from moodlens.validate.causal_features import Trials, try_features
from moodlens.validate.interventions import Experiment, InterventionRow
from moodlens.validate.readouts import READOUTS, Panel, make_panel

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True)
class Causality:
    """What the interventions gave."""

    interventions: "pl.DataFrame"
    """One row per intervention, dose and readout: :data:`moodlens.study.records.causal.INTERVENTIONS`."""
    features: "pl.DataFrame"
    """One row per feature of the SAE: :data:`moodlens.study.records.causal.CAUSAL`."""
    summary: Causal
    matrix: np.ndarray
    """(C, C) change of the log-odds of each emotion (columns) when the family of each (rows) is added at dose 1."""


def causality(
    coded: Coded,
    table: "pl.DataFrame",
    families: Families,
    settings: CausalSettings,
    *,
    seed: int,
    untrained: Coded | None = None,
    panel: Panel | None = None,
    progress: Progress | None = None,
) -> Causality:
    """Intervene on every emotion feature and every family.

    Args:
        coded: rows, embeddings, codes and decoder. Plain and neutral rows take part: train and val set doses and
            match controls, test rows are changed, held-out ones fit the readouts.
        table: one row per feature; reads ``emotion``, ``core``, ``tested``, ``emotion_feature``.
        families: of the study; may be empty.
        settings: doses, counts of controls, quantile and q.
        seed: of the controls and resamples.
        untrained: a dictionary that learned nothing, on the same rows; None leaves its controls out.
        panel: the rows that are judged and their readouts, if :func:`make_panel` has made them; made here otherwise.

    Raises:
        BadInput: shapes disagree, or the test rows cannot judge (see :func:`make_panel`).
    """
    emotions = coded.rows.emotions
    if table.height != len(coded.W_dec) or families.emotions != emotions:
        raise BadInput(
            "the table of features or the families are of another study than the codes; run features again"
        )
    progress = progress or silent
    rng = np.random.default_rng([seed, 0xCA05])
    panel = panel or make_panel(coded.x, coded.rows, seed=seed)
    experiment = Experiment.of(coded, panel, settings, seed, rng, untrained)
    strong = table["emotion_feature"].to_numpy().astype(bool)
    leans = table["emotion"].to_numpy()
    trials, rows = [], []
    stand_ins: dict[str, list[Trials]] = {"own": [], "untrained": []}
    matrix = np.full((len(emotions), len(emotions)), np.nan)
    for c, name in enumerate(emotions):
        features, allowed = np.flatnonzero(strong & (leans == name)), allowed_controls(table, name)
        amounts = _typical(experiment, features, c)
        trials.append(
            try_features(experiment, features, amounts, c, allowed, progress=_named(progress, name))
        )
        for kind, near in (("own", trials[-1].controls), ("untrained", trials[-1].untrained)):
            controls = _stand_ins(near, rng)
            stand_ins[kind].append(
                try_features(experiment, controls, amounts[: len(controls)], c, allowed, intervals=False)
            )
        if families.families[c].features:
            trial = FamilyTrial(experiment, families.families[c], c, allowed, rng)
            rows += trial.rows()
            matrix[c] = trial.moves
    judged = _rule(trials, settings)
    chance = {kind: _rule(tried, settings) for kind, tried in stand_ins.items()}
    for trial in trials:
        rows += trial.rows(emotions[trial.target], settings.doses)
    summary = _summary(experiment, trials, judged, chance)
    return Causality(_interventions(rows), _features(trials, judged, len(coded.W_dec)), summary, matrix)


def _named(progress: Progress, emotion: str) -> Progress:
    return lambda what, done, total: progress(f"{what}: {emotion}", done, total)


def _typical(experiment: Experiment, features: np.ndarray, emotion: int) -> np.ndarray:
    """Mean activation of each feature over those rows of its emotion in which it fires, ``(m,)``."""
    own = activity(experiment.coded.codes[np.ix_(experiment.of_emotion(emotion), features)])[1]
    return np.where(own > 0, own, experiment.size[features])


def _stand_ins(near: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """As many different control features as were tested, each drawn from the controls ``near`` (m, c) of one of them."""
    taken: list[int] = []
    for controls in near:
        free = np.setdiff1d(controls, taken)
        if not len(free):
            break
        taken.append(int(rng.choice(free)))
    return np.array(taken, dtype=np.int64)


@dataclass(frozen=True)
class _Judged:
    """Per emotion, arrays over its trials."""

    q: list[np.ndarray]
    causal: list[np.ndarray]

    def counts(self, emotions: tuple[str, ...]) -> dict[str, int]:
        """Causal features of every emotion."""
        return {name: int(passed.sum()) for name, passed in zip(emotions, self.causal, strict=True)}


def _rule(trials: list[Trials], settings: CausalSettings) -> _Judged:
    """Which of the features on trial are causal; q over all of them together."""
    cuts = np.cumsum([len(trial.features) for trial in trials])[:-1]
    p = np.concatenate([trial.measured["transplant", "probe"].p for trial in trials])
    q = np.split(benjamini_hochberg(p), cuts)
    causal = []
    for trial, own_q in zip(trials, q, strict=True):
        added = trial.measured["transplant", "probe"]
        passed = (added.effect > added.control_edge) & (own_q < settings.q)
        for readout in READOUTS:
            passed &= trial.measured["transplant", readout].effect > 0
            passed &= trial.measured["clamp", readout].effect < 0
        causal.append(passed)
    return _Judged(q, causal)


def _interventions(rows: list[InterventionRow]) -> "pl.DataFrame":
    """The rows as a table, with q over the rows that ask the same question."""
    import polars as pl

    schema = {name: getattr(pl, column.dtype) for name, column in INTERVENTIONS.columns.items()}
    frame = pl.DataFrame([row.values() for row in rows], schema=schema, orient="row")
    if not frame.height:
        return frame
    frame = frame.with_columns(pl.col(pl.Float64).fill_nan(None))
    q = np.full(frame.height, np.nan)
    p = frame["p"].to_numpy().astype(np.float64)
    asked = frame.select(pl.struct("kind", "subject", "dose", "readout").rank("dense")).to_series().to_numpy()
    for question in np.unique(asked):
        same = asked == question
        q[same] = benjamini_hochberg(p[same])
    return frame.with_columns(pl.Series("q", q).fill_nan(None))


def _features(trials: list[Trials], judged: _Judged, d_sae: int) -> "pl.DataFrame":
    """The columns that the table of features gets; null where a feature was not on trial."""
    import polars as pl

    effect, p, q = (np.full(d_sae, np.nan) for _ in range(3))
    causal = np.zeros(d_sae, dtype=bool)
    for trial, own_q, passed in zip(trials, judged.q, judged.causal, strict=True):
        added = trial.measured["transplant", "probe"]
        effect[trial.features], p[trial.features] = added.effect, added.p
        q[trial.features], causal[trial.features] = own_q, passed
    columns = {"causal_effect": effect, "causal_p": p, "causal_q": q, "causal": causal}
    return pl.DataFrame({"feature": np.arange(d_sae), **columns}).with_columns(
        pl.col(pl.Float64).fill_nan(None)
    )


def _summary(
    experiment: Experiment, trials: list[Trials], judged: _Judged, chance: dict[str, _Judged]
) -> Causal:
    settings, rows = experiment.settings, experiment.panel.rows
    emotions = experiment.coded.rows.emotions
    n_controls, n_untrained = (
        min((getattr(trial, kind).shape[1] for trial in trials if len(trial.features)), default=0)
        for kind in ("controls", "untrained")
    )
    both = f" of the SAE, and of {n_untrained} of an untrained dictionary," if n_untrained else ""
    return Causal(
        per_emotion=judged.counts(emotions),
        control_per_emotion=chance["own"].counts(emotions),
        untrained_per_emotion=chance["untrained"].counts(emotions) if n_untrained else None,
        control_name="as many matched control features that pass the same rule",
        rule="added at its typical activation it moves its emotion's log-odds more than "
        f"{100 * settings.control_quantile:g} % of {n_controls or settings.n_controls} matched features{both} do "
        f"(q < {settings.q:g}, random directions beaten too), and clamping it lowers them; both readouts agree in sign",
        n_tested={name: len(trial.features) for name, trial in zip(emotions, trials, strict=True)},
        n_controls=n_controls,
        n_untrained=n_untrained,
        n_random_directions=settings.n_random_directions,
        n_rows=len(rows),
        n_groups=experiment.n_groups(rows),
        readouts=experiment.panel.note,
    )
