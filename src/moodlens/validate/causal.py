"""Do emotion features cause what they stand for? Interventions on test prompts, beside controls.

Every feature that was found is clamped to zero where it fires, and its typical activation is added to prompts of
other emotions. What changes is read by readouts fitted on groups that chose no feature. A feature is *causal* when

1. adding it moves its emotion's log-odds by more than ``control_quantile`` of its matched controls (features that
   fire as often and as strongly and were not chosen for the emotion, moved by the same amount) move them,
2. the Benjamini-Hochberg q over all tested features is below ``causal_q``, where p is the larger of the share of
   matched features and the share of random directions that do as much, and
3. the signs are as expected, on both readouts: adding it raises the emotion, clamping it lowers the emotion.

Beside the count stands how many control features, as many as were tested, pass the same rule.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from moodlens.core import BadInput, Progress, silent
from moodlens.settings.validation import CausalSettings
from moodlens.stats.controls import allowed_controls, random_directions
from moodlens.stats.pvalues import benjamini_hochberg
from moodlens.stats.ranks import activity
from moodlens.stats.resample import GroupMeans
from moodlens.stats.units import check_rows
from moodlens.study.families import Families
from moodlens.validate.family_trials import row, try_family
from moodlens.validate.readouts import READOUTS, Panel, make_panel
from moodlens.validate.trials import KINDS, Setup, Trials, try_features

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True)
class Causality:
    """What the interventions gave."""

    interventions: "pl.DataFrame"
    """One row per intervention, dose and readout; see :data:`INTERVENTION_COLUMNS`. ``effect`` is the mean change of
    the readout of ``target`` over the changed rows, ``ci_*`` its interval over groups (for ``random_*`` subjects: the
    middle 95 % of the controls). ``control_mean`` and ``control_p99`` are of the matched controls of the same
    intervention: their mean, and what all but 1 % of them (``control_quantile``) stay within, on the expected side."""
    features: "pl.DataFrame"
    """feature, causal_effect (log-odds at dose 1), causal_p, causal_q, causal; one row per feature of the SAE."""
    summary: dict[str, Any]
    """What the verdict reads."""
    matrix: np.ndarray
    """(C, C) change of the log-odds of each emotion (columns) when the family of each (rows) is added at dose 1."""


INTERVENTION_COLUMNS = (
    "kind", "subject", "feature", "emotion", "target", "dose", "readout", "effect", "ci_low", "ci_high",
    "control_mean", "control_p99", "p", "q", "n_groups",
)  # fmt: skip


def causality(
    W_dec: np.ndarray,
    codes: np.ndarray,
    x: np.ndarray,
    labels: np.ndarray,
    groups: np.ndarray,
    splits: np.ndarray,
    kinds: np.ndarray,
    table: "pl.DataFrame",
    families: Families,
    emotions: tuple[str, ...],
    settings: CausalSettings,
    *,
    seed: int,
    progress: Progress | None = None,
    panel: Panel | None = None,
) -> Causality:
    """Intervene on every emotion feature and every family.

    Args:
        W_dec: ``(d_sae, d_in)`` decoder rows, raw embedding units.
        codes: ``(n, d_sae)`` activations.
        x: ``(n, d_in)`` raw embeddings.
        labels: ``(n,)`` int, index into ``emotions``, -1 for none.
        groups: ``(n,)``.
        splits: ``(n,)`` train, val (doses and matching), test (judged), held_out (readouts).
        kinds: ``(n,)``; only plain and neutral rows take part.
        table: features.parquet; reads ``emotion``, ``tested``, ``emotion_feature``.
        families: of the study; may be empty.
        emotions: names in label order.
        settings: doses, counts of controls, quantile and q.
        seed: of the controls and resamples.
        panel: the rows that are judged and their readouts, if :func:`make_panel` has made them; made here otherwise.

    Raises:
        BadInput: shapes disagree, or the test rows cannot judge (see :func:`make_panel`).
    """
    labels, groups = np.asarray(labels), np.asarray(groups)
    splits, kinds = np.asarray(splits).astype(str), np.asarray(kinds).astype(str)
    check_rows(len(x), labels=labels, groups=groups, splits=splits, kinds=kinds)
    if len(codes) != len(x) or codes.shape[1] != len(W_dec) or W_dec.shape[1] != x.shape[1]:
        raise BadInput(
            f"codes {codes.shape}, W_dec {W_dec.shape} and embeddings {x.shape} do not belong together"
        )
    if table.height != len(W_dec) or families.emotions != tuple(emotions):
        raise BadInput(
            "features.parquet or families.json are of another study than the codes; run features again"
        )
    progress = progress or silent
    rng = np.random.default_rng([seed, 0xCA05])
    usable = np.isin(kinds, ("plain", "neutral"))
    dev = np.flatnonzero(usable & np.isin(splits, ("train", "val")))
    density, size = activity(codes[dev])
    setup = Setup(
        np.asarray(W_dec, dtype=np.float32),
        codes,
        labels,
        panel or make_panel(x, labels, groups, splits, usable, emotions, seed=seed),
        GroupMeans.of(groups, settings.n_bootstrap, seed),
        density,
        size,
        random_directions(settings.n_random_directions, x.shape[1], rng),
        settings,
    )
    found = table["emotion_feature"].to_numpy().astype(bool)
    chosen_for = np.array([emotions.index(e) if e in emotions else -1 for e in table["emotion"]])
    trials, fakes, rows = [], [], []
    matrix = np.full((len(emotions), len(emotions)), np.nan)
    for c, name in enumerate(emotions):
        features, allowed = np.flatnonzero(found & (chosen_for == c)), allowed_controls(table, name)
        amounts = _typical(codes, features, dev[labels[dev] == c], size)
        trial = try_features(setup, features, amounts, c, allowed, progress=_named(progress, name))
        trials.append(trial)
        stand_ins = _stand_ins(trial, rng)
        fakes.append(try_features(setup, stand_ins, amounts[: len(stand_ins)], c, allowed, intervals=False))
        if families.families[c].features:
            added, matrix[c] = try_family(setup, families.families[c], c, emotions, x, dev, allowed, rng)
            rows += added
    judged, judged_fakes = _rule(trials, settings), _rule(fakes, settings)
    for trial in trials:
        rows += _feature_rows(trial, emotions, settings)
    summary = _summary(setup, emotions, trials, judged, judged_fakes)
    return Causality(_interventions(rows), _features(trials, judged, len(W_dec)), summary, matrix)


def _named(progress: Progress, emotion: str) -> Progress:
    return lambda what, done, total: progress(f"{what}: {emotion}", done, total)


def _typical(codes: np.ndarray, features: np.ndarray, rows: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Mean activation of each feature over those of its emotion's ``rows`` in which it fires, ``(m,)``."""
    if not len(features):
        return np.zeros(0)
    _, own = activity(codes[np.ix_(rows, features)])
    return np.where(own > 0, own, size[features])


def _stand_ins(trial: Trials, rng: np.random.Generator) -> np.ndarray:
    """As many different control features as were tested, each drawn from the controls of one of them."""
    taken: list[int] = []
    for own in trial.controls:
        free = np.setdiff1d(own, taken)
        if not len(free):
            break
        taken.append(int(rng.choice(free)))
    return np.array(taken, dtype=np.int64)


@dataclass(frozen=True)
class _Judged:
    """Per emotion, arrays over its trials."""

    q: list[np.ndarray]
    causal: list[np.ndarray]
    q_of: dict[tuple[str, str], list[np.ndarray]]


def _rule(trials: list[Trials], settings: CausalSettings) -> _Judged:
    """Which of the features on trial are causal; q over all of them together."""
    q_of = {}
    cuts = np.cumsum([len(trial.features) for trial in trials])[:-1]
    for kind in KINDS:
        for readout in READOUTS:
            p = np.concatenate([trial.measured[kind, readout].p for trial in trials])
            q_of[kind, readout] = np.split(benjamini_hochberg(p), cuts)
    q = q_of["transplant", "probe"]
    causal = []
    for trial, own_q in zip(trials, q, strict=True):
        added = trial.measured["transplant", "probe"]
        passed = (added.effect > added.control_edge) & (own_q < settings.q)
        for readout in READOUTS:
            passed &= trial.measured["transplant", readout].effect > 0
            passed &= trial.measured["clamp", readout].effect < 0
        causal.append(passed)
    return _Judged(q, causal, q_of)


def _feature_rows(trial: Trials, emotions: tuple[str, ...], s: CausalSettings) -> list[dict[str, Any]]:
    """Rows of interventions.parquet for single features: the clamp, and every dose."""
    name = emotions[trial.target]
    rows = []
    for i, feature in enumerate(trial.features.tolist()):
        for readout in READOUTS:
            head = {"feature": feature}
            for kind, dose in (("clamp", 0.0), *(("transplant", dose) for dose in s.doses)):
                head["n_groups"] = int(trial.n_groups[kind][i])
                if kind == "transplant" and dose != 1.0:
                    effect, low, high = (values[i] for values in trial.doses[dose, readout])
                    rows.append(
                        row(
                            kind,
                            "feature",
                            name,
                            name,
                            dose,
                            readout,
                            effect=effect,
                            ci_low=low,
                            ci_high=high,
                            **head,
                        )
                    )
                    continue
                m = trial.measured[kind, readout]
                rows.append(
                    row(
                        kind, "feature", name, name, dose, readout, effect=m.effect[i], ci_low=m.low[i],
                        ci_high=m.high[i], control_mean=m.control_mean[i], control_p99=m.control_edge[i],
                        p=m.p[i], **head,
                    )
                )  # fmt: skip
    return rows


def _interventions(rows: list[dict[str, Any]]) -> "pl.DataFrame":
    """The rows as a table, with q over the rows that ask the same question."""
    import polars as pl

    schema: dict[str, Any] = dict.fromkeys(INTERVENTION_COLUMNS, pl.Float64)
    schema |= dict.fromkeys(("kind", "subject", "emotion", "target", "readout"), pl.String)
    schema |= dict.fromkeys(("feature", "n_groups"), pl.Int64)
    frame = pl.DataFrame([[one[name] for name in schema] for one in rows], schema=schema, orient="row")
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
    """The columns that features.parquet gets; null where a feature was not on trial."""
    import polars as pl

    effect, p, q = (np.full(d_sae, np.nan) for _ in range(3))
    causal = np.zeros(d_sae, dtype=bool)
    for trial, own_q, passed in zip(trials, judged.q, judged.causal, strict=True):
        added = trial.measured["transplant", "probe"]
        effect[trial.features], p[trial.features] = added.effect, added.p
        q[trial.features], causal[trial.features] = own_q, passed
    return pl.DataFrame(
        {
            "feature": np.arange(d_sae),
            "causal_effect": effect,
            "causal_p": p,
            "causal_q": q,
            "causal": causal,
        }
    ).with_columns(pl.col(pl.Float64).fill_nan(None))


def _summary(
    setup: Setup, emotions: tuple[str, ...], trials: list[Trials], judged: _Judged, fakes: _Judged
) -> dict[str, Any]:
    s = setup.settings
    counts = [trial.controls.shape[1] for trial in trials if len(trial.features)]
    n_controls = min(counts, default=0)
    rows = setup.panel.rows
    return {
        "per_emotion": {e: int(passed.sum()) for e, passed in zip(emotions, judged.causal, strict=True)},
        "control_per_emotion": {
            e: int(passed.sum()) for e, passed in zip(emotions, fakes.causal, strict=True)
        },
        "control_name": "as many matched control features that pass the same rule",
        "rule": f"added at its typical activation it moves its emotion's log-odds more than {s.control_quantile:.0%} "
        f"of {n_controls or s.n_controls} matched features do (q < {s.q:g}, random directions beaten too), "
        "and clamping it lowers them; both readouts agree in sign",
        "n_tested": {e: len(trial.features) for e, trial in zip(emotions, trials, strict=True)},
        "n_controls": n_controls,
        "n_random_directions": s.n_random_directions,
        "n_rows": len(rows),
        "n_groups": len(np.unique(setup.means.group[rows])),
        "readouts": setup.panel.note,
    }
