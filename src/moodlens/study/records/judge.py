"""What judging leaves: the results of a steering run, the key of a listening test, and what its answers say."""

from typing import ClassVar, Literal

from pydantic import Field

from moodlens.settings.judge import ListenSettings, ResultSettings
from moodlens.study.record import Column, Part, Record, TableSchema

Interval = tuple[float, float]

Change = Literal["kl", "velocity"]
"""What tells how far a generator is moved: the KL of its tokens' distributions, or the square of its velocity's change."""

CHANGE = TableSchema(
    "change.parquet",
    "judge --change",
    {
        "key": Column("String", "", "name of the clip whose condition it is"),
        "of": Column("String", "", "kl: a model that says tokens; velocity: one that takes away noise"),
        "change": Column(
            "Float64",
            "nats per token, or squared velocity",
            "how far the condition moves the model's predictions of its own unsteered clip of that prompt and seed: "
            "KL(steered, unsteered), or the mean squared change of the velocity at fixed noise; deterministic, 0 unsteered",
        ),
        "seed_shift": Column(
            "Float64",
            "as change",
            "how much two unsteered seeds differ along it: difference of their mean log-likelihood ratios, or of the changes of "
            "their squared errors; null: a control",
        ),
        "seconds": Column("Float64", "s", "of the unsteered clip's start that was asked about"),
        "other_seed": Column("Int64", "", "of the second unsteered clip"),
    },
)
"""How far each clip's condition moves its generator."""


class Tested(Part):
    """One test of a table."""

    p: float | None = Field(description="chance of at least as much without an effect; null: nothing to test")
    q: float | None = Field(
        default=None, description="Benjamini-Hochberg over the confirmatory table; null: exploratory"
    )


class Claimed(Tested):
    """One test that may be a claim: ``p`` is the larger of what prompts and random directions say."""

    prompt_p: float | None = Field(
        description="over prompts, of what it does beyond the mean random direction, where there are some: small where this "
        "very vector does the same to all, as every vector does"
    )
    random_p: float | None = Field(
        description="against what directions without a meaning do at this strength; null: too few were made"
    )
    confirmatory: bool = Field(default=False, description="whether it was named before the clips were made")


class Read(Claimed):
    """One test on the clips of one method, read by one score."""

    readout: str = Field(description="score that was read")
    method: str = Field(description="how the clips were steered")


# -- results.json --------------------------------------------------------------------------------------------------------


class EffectRow(Read):
    """Effect of one method, emotion and coefficient on the emotion's own readout."""

    emotion: str = Field(description="steered towards, and read for")
    coefficient: float | None = Field(description="strength; null for prompt editing, which has none")
    effect: float = Field(description="steered minus unsteered, mean over prompts, in the readout's unit")
    ci: Interval | None = Field(description="95 % bootstrap interval over prompts; null below two prompts")
    n_random: int = Field(description="random directions, or neutral words, that it is compared with (count)")
    random_p95: float | None = Field(description="95th percentile of the random directions' effects")
    matched_p95: float | None = Field(
        description="the same of features that fire as often; SAE methods alone"
    )
    n_prompts: int = Field(description="prompts with a value (count)")
    kept: float | None = Field(description="mean cosine with the unsteered clip, by CLAP")
    adherence: float | None = Field(description="mean cosine with the neutral prompt, by CLAP")
    change: float | None = Field(
        default=None,
        description="how far it moves the generator: teacher-forced KL (nats per token) or squared velocity, mean; null: not "
        "measured",
    )
    change_floor: float | None = Field(
        default=None, description="what two unsteered seeds show along it, root mean square, same unit"
    )
    moved: bool = Field(
        description="whether it is confirmatory, q small enough and the effect beyond its controls"
    )


class ControlRow(Part):
    """Effects of the directions without an emotion."""

    readout: str = Field(description="score that was read")
    method: str = Field(description="kind of control")
    emotion: str = Field(description="read for")
    coefficient: float | None = Field(description="strength")
    n_directions: int = Field(description="directions (count)")
    effect: float = Field(description="mean over directions")
    p5: float = Field(description="5th percentile over directions")
    p95: float = Field(description="95th percentile over directions")


class DoseRow(Read):
    """Trend of an emotion's readout over the coefficient."""

    emotion: str = Field(description="steered towards, and read for")
    coefficients: tuple[float, ...] = Field(description="ascending, 0 (no steering) included")
    effects: tuple[float, ...] = Field(description="mean over prompts at each")
    slope: float = Field(
        description="change of the readout a coefficient of 1, least squares through no change at 0"
    )
    spearman: float = Field(description="rank correlation with the coefficient, mean over prompts")
    monotone_share: float = Field(description="share of steps at which the mean curve rises")
    n_prompts: int = Field(description="prompts with a value at every coefficient (count)")


class SpecificityRow(Read):
    """Emotions steered towards by emotions read for."""

    coefficient: float | None = Field(description="matched strength; null for prompt editing")
    emotions: tuple[str, ...] = Field(description="those that the method has directions of; rows and columns")
    table: tuple[tuple[float, ...], ...] = Field(description="[i][j]: steered towards i, read for j")
    difference: float = Field(description="own readout minus those of the other emotions")
    ci: Interval | None = Field(description="95 % bootstrap interval over prompts")
    n_prompts: int = Field(description="prompts with all values (count)")
    specific: bool = Field(
        default=False, description="whether q is small enough and the method moved something"
    )


class ComparisonRow(Read):
    """A method of the SAE against a trivial one, over the emotions that both have."""

    baseline: str = Field(description="the trivial one")
    coefficient: float | None = Field(description="matched strength")
    emotions: tuple[str, ...] = Field(description="those that both have, over which the mean is taken")
    effect: float = Field(description="of the method, mean over emotions and prompts")
    baseline_effect: float = Field(description="of the baseline")
    difference: float = Field(description="method minus baseline")
    ci: Interval | None = Field(description="95 % bootstrap interval of the difference, over prompts")
    n_prompts: int = Field(description="prompts with both values (count)")
    winner: str | None = Field(
        default=None,
        description="method or baseline, where q is small enough and one of both moved something",
    )
    ahead: str | None = Field(default=None, description="method or baseline, whatever chance says")


class MatchedMethod(Part):
    """One method at the change at which all are compared."""

    method: str = Field(description="how the clips were steered")
    effect: float | None = Field(
        description="at that change, mean over prompts, in the readout's unit; null: none of it is above the floor"
    )
    coefficient: float | None = Field(
        description="at which it moves the generator so far; null for prompt editing, and where there is no effect"
    )
    between: bool = Field(
        description="whether two measured changes lie around it; else it is on the line from no steering to the first"
    )
    floor: float | None = Field(description="of the method at that change, same unit; null: no effect")
    largest: float = Field(description="largest change of the method's clips, same unit")
    below: tuple[float | None, ...] = Field(
        description="coefficients whose change is not above the floor of two unsteered seeds: not matched; null: edited prompts"
    )


class EqualChange(Part):
    """Effects of all methods where they move the generator equally far."""

    readout: str = Field(description="score that was read")
    emotion: str = Field(description="steered towards, and read for")
    of: Change = Field(
        description="what is matched on: kl (nats per token) or velocity (mean squared change)"
    )
    change: float | None = Field(
        description="the largest that all methods reach which have one above the floor; null: fewer than two have, so nothing "
        "is matched"
    )
    methods: tuple[MatchedMethod, ...] = Field(description="every method with a measured change")
    n_random: int = Field(description="random directions that reach that change (count)")
    random_p95: float | None = Field(
        description="95th percentile of their effects at that change; null: fewer than three"
    )


class HypothesisRow(Tested):
    """An acoustic shift against what was stated beforehand."""

    method: str = Field(description="how the clips were steered")
    coefficient: float | None = Field(description="matched strength; null for prompt editing")
    emotion: str = Field(description="steered towards")
    measure: str = Field(description="acoustic measure")
    expected: int = Field(description="+1 or -1, stated beforehand")
    shift: float | None = Field(
        description="mean over prompts, in the measure's unit; of tempo octaves, whole ones left out"
    )
    n: int = Field(description="prompts with a value (count)")
    agrees: bool | None = Field(description="whether the mean has the expected sign; says nothing of chance")


class MixtureRow(Part):
    """Several emotions steered together, read for one of them. Exploratory: nothing is claimed of it."""

    readout: str = Field(description="score that was read")
    direction: str = Field(description="name of the mixture")
    weights: dict[str, float] = Field(
        description="emotion -> its weight in the mixture; negative: away from it"
    )
    coefficient: float = Field(description="strength")
    emotion: str = Field(description="read for")
    effect: float = Field(description="steered minus unsteered, mean over prompts, in the readout's unit")
    ci: Interval | None = Field(description="95 % bootstrap interval over prompts; null below two prompts")
    p: float | None = Field(
        description="the larger of the two that follow, one-sided towards the weight's sign"
    )
    prompt_p: float | None = Field(
        description="over prompts, of what it does beyond the mean random direction"
    )
    random_p: float | None = Field(
        description="against what random directions do at this strength; null: too few"
    )
    random_p5: float | None = Field(description="5th percentile of the random directions' effects")
    random_p95: float | None = Field(description="95th percentile of the random directions' effects")
    n_prompts: int = Field(description="prompts with a value (count)")


class DistanceRow(Tested):
    """Distance of one direction's clips from the unsteered ones, in CLAP's space."""

    method: str = Field(description="how the clips were steered")
    emotion: str | None = Field(description="steered towards")
    direction: str | None = Field(description="name of the direction")
    mmd2: float = Field(description="unbiased squared maximum mean discrepancy; below 0 is as good as 0")
    null_p95: float = Field(description="95th percentile under permutation")
    n: int = Field(description="pairs of clips (count)")


class Results(Record):
    """What the scores of a steering run say."""

    file: ClassVar[str] = "results.json"
    stage: ClassVar[str] = "judge"

    version: int = Field(default=2, description="of this file's layout")
    settings: ResultSettings = Field(description="how it was judged")
    emotions: tuple[str, ...] = Field(description="of the run")
    readouts: dict[str, tuple[str, ...]] = Field(description="score -> emotions it reads")
    readout: str = Field(description="the one of the confirmatory table")
    renamed: bool = Field(
        default=False, description="whether the confirmatory table was named anew after the clips were made"
    )
    n_confirmatory: int = Field(description="rows of the confirmatory table that were tested (count)")
    coefficient: float | None = Field(description="matched strength; null where only prompts were edited")
    n_prompts: int = Field(description="count")
    n_seeds: int = Field(description="count")
    n_clips: int = Field(description="count")
    rows: tuple[EffectRow, ...] = Field(description="every method, emotion and coefficient")
    controls: tuple[ControlRow, ...] = Field(description="directions without an emotion")
    dose: tuple[DoseRow, ...] = Field(description="trends over the coefficient")
    specificity: tuple[SpecificityRow, ...] = Field(description="emotions steered by emotions read")
    comparisons: tuple[ComparisonRow, ...] = Field(description="SAE against trivial methods")
    equal_change: tuple[EqualChange, ...] = Field(
        description="effects where all methods move the generator equally far; empty: not measured"
    )
    unmeasurable: str | None = Field(
        default=None,
        description="why it cannot be measured how far conditions move the generator; null: it can be",
    )
    hypotheses: tuple[HypothesisRow, ...] = Field(description="acoustic shifts against what was expected")
    distance: tuple[DistanceRow, ...] = Field(description="distance from the unsteered clips")
    mixtures: tuple[MixtureRow, ...] = Field(
        default=(), description="mixed emotions, read for each of those that are mixed"
    )
    statements: tuple[str, ...] = Field(default=(), description="sentences, the losses of the SAE first")


# -- listening -----------------------------------------------------------------------------------------------------------


class Trial(Part):
    """One question of a listening test."""

    trial: str = Field(description="name on the page")
    repeat: str | None = Field(description="the trial that it repeats with sides swapped")
    swap: bool = Field(description="whether the partner is shown first")
    method: str = Field(description="of the steered clip")
    direction: str | None = Field(description="of the steered clip")
    emotion: str = Field(description="asked for")
    prompt: str | None = Field(description="of both clips; null where their files do not say")
    coefficient: float | None = Field(description="of the steered clip")
    seed: int | None = Field(description="of the steered clip; null where its file does not say")
    steered: str = Field(description="file of the steered clip")
    against: str = Field(description="method of its partner; none is unsteered")
    partner_seed: int | None = Field(description="of the partner; null where its file does not say")
    partner: str = Field(description="file of the clip that it is compared with")
    steered_clip: str = Field(default="", description="its name on the page")
    partner_clip: str = Field(default="", description="its name on the page")


class ListeningKey(Record):
    """What each trial of a listening test is. Listeners do not get it."""

    file: ClassVar[str] = "key.json"
    stage: ClassVar[str] = "listen RUN --out"

    format: Literal["moodlens-listen"] = Field(description="what this file is")
    test: str = Field(description="hash of the trials; answers name it")
    settings: ListenSettings = Field(description="what was asked")
    most_heard: int = Field(
        description="trials that play the most-heard clip, repeats aside (count); above 1 it may be known again"
    )
    trials: tuple[Trial, ...] = Field(description="in order of method and emotion; the page shuffles them")


class Share(Part):
    """How often the steered clip was taken; chance is 0.5."""

    n: int = Field(description="choices (count)")
    chosen: int = Field(description="of the steered clip (count)")
    share: float | None = Field(description="chosen / n")
    ci: Interval = Field(description="Wilson's 95 % interval")
    p: float | None = Field(description="exact binomial, two-sided, against 0.5")


class Cell(Share):
    """One method and emotion."""

    method: str = Field(description="of the steered clips")
    against: str = Field(description="what they were compared with; none is unsteered")
    emotion: str = Field(description="asked for")
    trials: Share = Field(description="each trial once, by its majority: the careful reading")
    quality: Share | None = Field(
        description="how often the steered clip was taken for the better music; null: not asked"
    )
    q: float | None = Field(default=None, description="Benjamini-Hochberg over all cells")


class MethodShare(Share):
    """One method over all emotions."""

    method: str = Field(description="of the steered clips")
    against: str = Field(description="what they were compared with; none is unsteered")
    control: bool = Field(description="whether its directions have no emotion")
    trials: Share = Field(description="each trial once, by its majority")
    quality: Share | None = Field(
        description="how often the steered clip was taken for the better music; null: not asked"
    )
    beyond_controls: float | None = Field(description="p of Fisher's exact test against the pooled controls")


class ListenerShare(Share):
    """One listener over all trials."""

    listener: str = Field(description="name as given")


class Agreement(Part):
    """How far listeners agree; 1 is full agreement, 0 chance, null undefined."""

    fleiss_kappa: float | None = Field(description="over trials that everyone answered")
    krippendorff_alpha: float | None = Field(description="over all trials")


class Consistency(Part):
    """Repeats that were answered as the first time."""

    n: int = Field(description="repeats (count)")
    alike: int = Field(description="answered alike (count)")
    share: float | None = Field(description="alike / n")


class ListeningResults(Part):
    """What the answers to a listening test say."""

    n_listeners: int = Field(description="count")
    n_answers: int = Field(description="without repeats (count)")
    n_trials: int = Field(description="answered (count)")
    n_undecided: int = Field(
        description="answers that rate both clips the same, where that can be said; not counted elsewhere"
    )
    cells: tuple[Cell, ...] = Field(description="every method and emotion")
    methods: tuple[MethodShare, ...] = Field(description="every method over all emotions")
    listeners: tuple[ListenerShare, ...] = Field(description="every listener")
    agreement: Agreement = Field(description="between listeners")
    first_side: Share = Field(description="how often the first clip was taken: position bias")
    consistency: Consistency = Field(description="of listeners with themselves")
