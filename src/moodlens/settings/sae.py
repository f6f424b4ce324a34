"""What can be set about a sparse autoencoder and its training."""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from moodlens.core.errors import BadInput
from moodlens.settings.base import Frozen, nearest, validate

Architecture = Literal["l1", "topk", "batchtopk", "matryoshka"]

ACTIVE_SHARE = 0.02
UNUSED: dict[str, tuple[str, ...]] = {
    "l1": ("k", "prefixes", "aux_coefficient", "aux_k"),
    "topk": ("l1_coefficient", "prefixes"),
    "batchtopk": ("l1_coefficient", "prefixes"),
    "matryoshka": ("l1_coefficient",),
}
"""Settings that an architecture has no use for: they must be left at their defaults."""


class SAESettings(Frozen):
    """Settings of one sparse autoencoder. Fields left at ``None`` are filled in by :meth:`resolve`."""

    architecture: Architecture = Field(
        default="batchtopk",
        description="l1 (ReLU with an L1 penalty; Bricken et al. 2023), topk (Gao et al. 2024), batchtopk "
        "(Bussmann et al. 2024), matryoshka (batchtopk with nested prefixes; Bussmann et al. 2025)",
    )
    expansion_factor: float = Field(
        default=8, gt=0, le=1000, description="d_sae / d_in, used where d_sae is not given"
    )
    d_sae: int | None = Field(
        default=None, ge=1, le=1_000_000, description="number of features; None: expansion_factor * d_in"
    )
    k: int = Field(
        default=0,
        ge=0,
        description="active features per training row (topk), or per row on average (batchtopk); 0: 2 % of d_sae, "
        "which leaves unseen rows, where more features fire, inside 1-3 %",
    )
    l1_coefficient: float = Field(
        default=1e-3,
        ge=0,
        description="weight of the L1 norm of the codes, in units where rows have mean square norm 1",
    )
    prefixes: tuple[int, ...] | None = Field(
        default=None,
        description="matryoshka: features in each nested prefix; None: 1/16, 1/4 and all of d_sae",
    )

    learning_rate: float = Field(default=1e-3, gt=0, description="peak step size of Adam")
    batch_size: int | None = Field(
        default=None, ge=1, description="rows a step; None: grows with the data, 16 to 512"
    )
    epochs: int | None = Field(
        default=None, ge=1, le=10_000, description="passes at most; None: about 1,000 steps, 10 to 300 passes"
    )
    patience: int = Field(
        default=50, ge=1, description="epochs without a better validation loss before stopping"
    )
    warmup: float = Field(
        default=0.05, ge=0, le=1, description="share of all steps in which the step size rises"
    )
    decay: float = Field(
        default=0.2, ge=0, le=1, description="share of all steps in which it falls to zero, at the end"
    )
    sparsity_warmup: float = Field(
        default=0.1,
        ge=0,
        le=1,
        description="share of all steps in which l1_coefficient rises from 0, or k falls from 4 k",
    )
    beta1: float = Field(default=0.9, ge=0, lt=1, description="Adam: decay of the mean gradient, per step")
    beta2: float = Field(
        default=0.999, ge=0, lt=1, description="Adam: decay of the mean squared gradient, per step"
    )

    dead_feature_threshold: int = Field(
        default=5, ge=1, description="epochs without firing after which a feature is dead"
    )
    aux_coefficient: float = Field(
        default=1 / 32,
        ge=0,
        description="weight of the loss that revives dead features (all but l1; Gao et al. 2024)",
    )
    aux_k: int | None = Field(
        default=None, ge=1, description="dead features used per row by that loss; None: 2 k"
    )
    decoder_norm: bool = Field(
        default=True, description="hold decoder rows at norm 1 and project their gradient"
    )
    encoder_init_scale: float = Field(
        default=0.1, gt=0, description="W_enc starts at this times the transposed decoder"
    )
    data_init: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="share of a centred training row, drawn by the seed, in each starting feature",
    )

    augment: float = Field(
        default=0.0,
        ge=0,
        description="half the rows of each batch get up to this many times the difference of two other training "
        "rows added, new ones each time: a small set then teaches directions, not its own rows",
    )

    @model_validator(mode="after")
    def _used(self) -> Self:
        for name in UNUSED.get(self.architecture, ()):
            if getattr(self, name) != type(self).model_fields[name].default:
                users = ", ".join(other for other in UNUSED if name not in UNUSED[other])
                raise ValueError(f"{name} is not used by architecture {self.architecture}, only by {users}")
        return self

    def resolve(self, n_rows: int, d_in: int) -> "SAESettings":
        """Fill in what depends on the data: ``d_sae``, ``batch_size``, ``epochs``, ``prefixes``, ``aux_k``.

        Raises:
            BadInput: the sizes contradict each other (k above d_sae, prefixes not rising to d_sae).
        """
        d_sae = self.d_sae or max(1, round(self.expansion_factor * d_in))
        k = self.k or max(1, round(ACTIVE_SHARE * d_sae))
        if self.architecture != "l1" and k > d_sae:
            raise BadInput(f"k = {k} active features, but the dictionary has d_sae = {d_sae}: lower k")
        batch = self.batch_size or min(512, max(16, 2 ** round(math.log2(max(1, n_rows) / 32))))
        steps = math.ceil(n_rows / batch)
        sizes = {
            "d_sae": d_sae,
            "batch_size": batch,
            "epochs": self.epochs or min(300, max(10, math.ceil(1000 / steps))),
        }
        sparsity = {"prefixes": self._prefixes(d_sae), "k": k, "aux_k": self.aux_k or 2 * k}
        return self.model_copy(update=sizes if self.architecture == "l1" else sizes | sparsity)

    def _prefixes(self, d_sae: int) -> tuple[int, ...] | None:
        if self.architecture != "matryoshka":
            return None
        prefixes = self.prefixes or tuple(sorted({max(1, d_sae // 16), max(1, d_sae // 4), d_sae}))
        rising = all(a < b for a, b in itertools.pairwise(prefixes))
        if not rising or prefixes[0] < 1 or prefixes[-1] != d_sae:
            raise BadInput(f"prefixes {prefixes} must rise and end at d_sae = {d_sae}")
        return prefixes


class CoreSettings(Frozen):
    """The stable core: what several narrow ``l1`` SAEs of other seeds agree on, found before a label is looked at."""

    members: int = Field(
        default=12,
        ge=0,
        le=64,
        description="narrow SAEs whose features are compared (count); 0: no core, the one SAE of the section sae, of "
        "which every feature may be claimed",
    )
    d_sae: int | None = Field(
        default=None,
        ge=1,
        le=100_000,
        description="features of a member; None: one for every 11 training rows, 64 to 4 d_in",
    )
    l1_coefficient: float = Field(
        default=0.1, gt=0, description="weight of the L1 norm, in units where rows have mean square norm 1"
    )
    learning_rate: float = Field(default=3e-3, gt=0, description="peak step size of Adam")
    epochs: int = Field(default=10, ge=1, le=10_000, description="passes of a member")
    similarity: float = Field(
        default=0.6,
        gt=0,
        lt=1,
        description="decoder cosine and activation correlation from which on two features of two members are one",
    )
    least: float = Field(
        default=0.5, gt=0, le=1, description="share of the members that a feature of the core is found in"
    )
    claim: float = Field(
        default=0.55,
        gt=0,
        le=1,
        description="share of the members, at least `least`, that a feature must be found in to be claimed: one at the very "
        "edge of this core is as likely as not beyond the edge of another pipeline's",
    )
    bootstraps: int = Field(
        default=1,
        ge=0,
        le=16,
        description="cores of resampled training groups, that say what other data would change (count)",
    )

    @model_validator(mode="after")
    def _several(self) -> Self:
        if self.members == 1:
            raise ValueError("members: one SAE agrees with itself; give 2 or more, or 0 for no core")
        if self.claim < self.least:
            raise ValueError(
                f"claim: {self.claim:g} is below least, {self.least:g}, which every feature of a core reaches"
            )
        return self


def grid(settings: SAESettings, axes: Mapping[str, Sequence[Any]]) -> list[SAESettings]:
    """Every combination of ``axes`` (setting name -> values) laid over ``settings``; the last axis varies fastest.

    Where architectures are tried, each is combined with the settings that it uses, so that none is made twice.

    Raises:
        BadInput: an unknown setting, a bad value, an empty axis, or one that no architecture of the sweep uses.
    """
    for name, values in axes.items():
        if name not in SAESettings.model_fields:
            raise BadInput(f"sweep: unknown SAE setting {name!r}{nearest(name, SAESettings.model_fields)}")
        if isinstance(values, str) or not isinstance(values, Sequence) or len(values) == 0:
            raise BadInput(f"sweep: no values for {name!r}: give a list, such as [a, b], not {values!r}")
    tried = axes.get("architecture", [settings.architecture])
    made: list[SAESettings] = []
    for values in itertools.product(*axes.values()):
        given = settings.model_dump() | dict(zip(axes, values, strict=True))
        for name in UNUSED.get(str(given["architecture"]), ()):
            if name not in axes or any(name not in UNUSED.get(str(other), ()) for other in tried):
                given[name] = SAESettings.model_fields[name].default
        combination = validate(SAESettings, given, "sweep")
        if combination not in made:
            made.append(combination)
    return made
