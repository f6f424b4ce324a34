"""Cores of several pipelines: narrow SAEs under seeds of their own, and what they agree on.

A pipeline is everything from the rows to the core. Pipelines share nothing but the rows, or, where those are a
bootstrap of their groups, nothing but the texts they were drawn from. What comes back in another pipeline is a property
of the data, and not of a seed. How large a member is follows from the rows: its features must have rows to be learnt
from.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from moodlens.core import Progress, silent
from moodlens.sae.consensus import Consensus, consensus, empty_core
from moodlens.sae.metrics import reconstruction_metrics
from moodlens.sae.model import SAE, encode_rows
from moodlens.sae.training import Trained, train_many
from moodlens.sae.untrained import Untrained, untrained
from moodlens.settings.sae import ACTIVE_SHARE, CoreSettings, SAESettings
from moodlens.stats.moments import mean_row, scatter
from moodlens.stats.resample import drawn_rows

ROWS_A_FEATURE = 11
"""Training rows for each feature of a member: with fewer, members learn their rows and agree on less."""
FEWEST = 64
"""Features of a member below which there is no core: so few directions are those of the largest variance."""
WIDEST = 4
"""Features of a member at most, in widths of an embedding."""
COMPARED = 3000
"""Training rows, at least, on which members are compared; a third of them where there are many."""
COMPARED_MOST = 12_000
"""Of them: a correlation of more rows says no more, and the activations of all members on them are held."""
REST_ACTIVE = 0.0235
"""Share of the rest's features that are active: core and rest together are then within 1-3 %, on real sentences too,
which fire more of it than prompts do."""
MEMBER, REST, DRAW, UNTRAINED = range(4)
"""What a seed is derived for."""


@dataclass(frozen=True)
class Plan:
    """What follows from the rows."""

    d_sae: int
    """features of a member; 0: there are too few rows for a core."""
    remark: str | None = None
    """why there is no core."""


def plan_core(settings: CoreSettings, n_rows: int, d_in: int) -> Plan:
    """The size of the members for ``n_rows`` training rows of ``d_in`` numbers."""
    if settings.d_sae is not None:
        return Plan(settings.d_sae)
    d_sae = min(WIDEST * d_in, n_rows // ROWS_A_FEATURE)
    if d_sae >= FEWEST:
        return Plan(d_sae // 32 * 32)
    return Plan(
        0,
        f"{n_rows} training rows are too few for a stable core (at least {FEWEST * ROWS_A_FEATURE}): other seeds would "
        "find other features, so none may be claimed. What the rows can show is whether an emotion is in them at all "
        "(phase 0) and its direction as a difference of means; core.members=0 tests the features of the one SAE all the same",
    )


def member_settings(settings: CoreSettings, d_sae: int) -> SAESettings:
    """Of the narrow SAEs."""
    return SAESettings(
        architecture="l1",
        d_sae=d_sae,
        l1_coefficient=settings.l1_coefficient,
        learning_rate=settings.learning_rate,
        epochs=settings.epochs,
        sparsity_warmup=0.0,  # sparse at once: dense steps cost most, and bring no more agreement
    )


def derived(seed: int, purpose: int, pipeline: int, number: int = 0) -> int:
    """A seed for one thing of one pipeline: no two of a study share one, nor do two studies of other seeds."""
    state = np.random.SeedSequence([seed, purpose, pipeline, number]).generate_state(1, np.uint64)
    return int(state[0] >> np.uint64(12))  # a whole number that JSON holds exactly


def bootstrap(groups: np.ndarray, seed: int) -> np.ndarray:
    """Row numbers of as many ``groups`` ``(n,)`` drawn with replacement; the rows of one drawn twice stand there twice."""
    order = np.argsort(groups, kind="stable")
    _, starts = np.unique(groups[order], return_index=True)
    rows = np.split(order, starts[1:])
    drawn = np.random.default_rng(seed).integers(len(rows), size=len(rows))
    return np.sort(np.concatenate([rows[i] for i in drawn]))


@dataclass(frozen=True)
class Core:
    """What one pipeline found."""

    consensus: Consensus
    seeds: tuple[int, ...]
    members: tuple[SAE, ...]
    first: Trained | None
    """how its first member came to be; None where nothing was trained."""

    @property
    def sae(self) -> SAE:
        """The atoms."""
        return self.consensus.sae


def find_cores(
    x_train: np.ndarray,
    x_val: np.ndarray,
    seeds: Mapping[str, tuple[int, ...]],
    settings: CoreSettings,
    d_sae: int,
    *,
    control: Untrained | None = None,
    train: Callable[..., list[Trained]] = train_many,
    each: Callable[..., Iterable[Any]] = map,
    progress: Progress = silent,
) -> dict[str, Core]:
    """The core of every pipeline on these rows.

    Args:
        x_train: ``(n, d_in)`` raw embeddings.
        x_val: ``(n_val, d_in)``; the epoch of a member that does best on them is kept.
        seeds: pipeline -> the seeds of its members.
        settings: of the core.
        d_sae: features of a member, from :func:`plan_core`; 0: every core is empty.
        control: members that learned nothing instead, of the sparsity that one trained member has.
        train: trains members, as :func:`moodlens.sae.training.train_many` does.
        each: ``map``, or one that calls the function on several threads.
        progress: called as ``progress("saes", done, total)``.

    Raises:
        BadInput: as :func:`moodlens.sae.training.train_many`.
    """
    if d_sae == 0:
        nothing = Consensus(empty_core(x_train.mean(0, dtype=np.float64)), np.zeros(0, np.int64), ())
        return {name: Core(nothing, own, (), None) for name, own in seeds.items()}
    jobs = member_jobs(seeds, settings, d_sae, control)
    flat = [seed for pipeline in seeds.values() for seed in pipeline]
    few = compared_rows(x_train)
    trained = train(x_train, x_val, jobs, progress=progress)
    if control is None:
        members = [member.sae for member in trained]
    else:
        active = active_features(trained[0].sae, few)
        members = list(
            each(lambda seed: untrained(control, x_train, d_sae=d_sae, active=active, seed=seed), flat)
        )
    cores, start = {}, 0
    for name, of_pipeline in seeds.items():
        part = slice(start, start + len(of_pipeline))
        start = part.stop
        agreed = consensus(
            members[part],
            few,
            similarity=settings.similarity,
            least=settings.least,
            claim=settings.claim,
            each=each,
        )
        first = trained[part.start] if control is None else None
        cores[name] = Core(agreed, of_pipeline, tuple(members[part]), first)
    return cores


def member_jobs(
    seeds: Mapping[str, tuple[int, ...]], settings: CoreSettings, d_sae: int, control: Untrained | None
) -> list[tuple[SAESettings, int]]:
    """Settings and seeds of the SAEs that :func:`find_cores` has trained."""
    narrow = member_settings(settings, d_sae)
    flat = [seed for pipeline in seeds.values() for seed in pipeline]
    return [(narrow, seed) for seed in (flat if control is None else flat[:1])] if d_sae else []


def untrained_core(
    kind: Untrained,
    x_train: np.ndarray,
    seeds: Sequence[int],
    settings: CoreSettings,
    *,
    d_sae: int,
    active: float,
    each: Callable[..., Iterable[Any]] = map,
) -> SAE:
    """What dictionaries that learned nothing agree on.

    Args:
        kind: of the directions.
        x_train: ``(n, d_in)`` raw embeddings.
        seeds: of the members.
        settings: of the core that it stands beside.
        d_sae: features of a member.
        active: mean active features of a member on a row.
        each: ``map``, or one that calls the function on several threads.
    """
    members = list(each(lambda seed: untrained(kind, x_train, d_sae=d_sae, active=active, seed=seed), seeds))
    few = compared_rows(x_train)
    return consensus(
        members, few, similarity=settings.similarity, least=settings.least, claim=settings.claim, each=each
    ).sae


def compared_rows(x_train: np.ndarray) -> np.ndarray:
    """A third of the rows, evenly spread, but at least :data:`COMPARED` or all; of many :data:`COMPARED_MOST`, drawn at random."""
    n = len(x_train)
    if n > 3 * COMPARED_MOST:
        return x_train[drawn_rows(np.arange(n), COMPARED_MOST, 0)]
    return x_train[:: max(1, min(3, n // COMPARED))]


def active_features(sae: SAE, x: np.ndarray) -> float:
    """Mean active features of a row of ``x`` ``(n, d_in)``."""
    return float((encode_rows(sae, x) > 0).sum() / len(x))


def rest_settings(settings: SAESettings, d_in: int) -> SAESettings:
    """Of the rest: where ``k`` is left to the rows, more features are active than in an SAE alone, whose work they do."""
    if settings.k or settings.architecture == "l1":
        return settings
    d_sae = settings.d_sae or max(1, round(settings.expansion_factor * d_in))
    return settings.model_copy(update={"k": max(1, round(REST_ACTIVE * d_sae))})


def untrained_rest(control: Untrained, x_train: np.ndarray, settings: SAESettings, seed: int) -> SAE:
    """A wide dictionary that learned nothing, where :func:`rest_settings` would be trained."""
    resolved = settings.resolve(len(x_train), x_train.shape[1])
    assert resolved.d_sae is not None
    active = resolved.k or max(1, round(ACTIVE_SHARE * resolved.d_sae))
    rest = untrained(control, x_train, d_sae=resolved.d_sae, active=active, seed=seed)
    rest.settings = resolved
    return rest


@dataclass(frozen=True)
class Facts:
    """Of a core; the record :class:`moodlens.study.records.sae.Core` says what each means."""

    members: int
    member_size: int
    atoms: int
    claimable: int
    pipelines: Mapping[str, int]
    effective_rank: float
    rows_a_feature: float | None
    remark: str | None
    member_active: float | None = None
    member_explained_variance: float | None = None
    found: tuple[int, ...] = ()
    explained_variance: float | None = None
    active: float | None = None


def describe(
    found: Mapping[str, Core], plan: Plan, settings: CoreSettings, x_train: np.ndarray, x_test: np.ndarray
) -> Facts:
    """What ``core.json`` says."""
    main = next(iter(found.values()))
    sae = main.sae
    facts = Facts(
        members=settings.members,
        member_size=plan.d_sae,
        atoms=sae.d_sae,
        claimable=sae.core_size,
        pipelines={name: pipeline_core.sae.d_sae for name, pipeline_core in found.items()},
        effective_rank=effective_rank(x_train),
        rows_a_feature=len(x_train) / plan.d_sae if plan.d_sae else None,
        remark=plan.remark,
    )
    if not main.members:
        return facts
    none = f"{settings.members} SAEs of {plan.d_sae} features agree on none: no feature may be claimed"
    mean = x_train.mean(0, dtype=np.float64)
    member, core = (reconstruction_metrics(measured, x_test, mean) for measured in (main.members[0], sae))
    return replace(
        facts,
        remark=facts.remark if sae.d_sae else none,
        member_active=active_features(main.members[0], compared_rows(x_train)),
        member_explained_variance=member["explained_variance"],
        found=tuple(np.bincount(main.consensus.found, minlength=settings.members + 1).tolist()),
        explained_variance=core["explained_variance"],
        active=core["l0"],
    )


def effective_rank(x: np.ndarray) -> float:
    """``(sum v)^2 / sum v^2`` of the variances ``v`` along principal axes: as many equal ones would give the same."""
    mean = mean_row(x)
    gram = scatter(x, mean) if len(x) > x.shape[1] else (x - mean) @ (x - mean).T
    return float(np.trace(gram) ** 2 / np.square(gram).sum())
