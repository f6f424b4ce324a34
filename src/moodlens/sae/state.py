"""Everything that training changes, how it starts, and features that stopped firing."""

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from moodlens.sae.history import Epoch
from moodlens.sae.rows import Rows, Standard
from moodlens.settings.sae import SAESettings

PARAMETERS: tuple[str, ...] = ("W_enc", "W_dec", "b_enc", "b_dec")

# Random streams of one seed: what is drawn for one purpose does not shift what is drawn for another.
INIT, ORDER, DATA_INIT, REVIVE, AUGMENT = range(5)


def generator(seed: int, purpose: int, epoch: int = 0) -> np.random.Generator:
    """The random stream of ``seed`` for one purpose and epoch. It has no state to save, so resuming is exact."""
    return np.random.default_rng([seed, purpose, epoch])


@dataclass
class TrainingState:
    """Weights in standardised space, Adam's moments and counters.

    ``W_enc`` is kept transposed, ``(d_sae, d_in)``: what belongs to one feature lies together in memory.
    """

    parameters: dict[str, Tensor]
    mean: dict[str, Tensor]  # Adam's first moment of each parameter
    square: dict[str, Tensor]  # Adam's second moment
    age: Tensor  # (d_sae,) int64: steps since the feature was born or born again
    silent: Tensor  # (d_sae,) int64: epochs since the feature last fired on a training row
    step: int = 0
    epoch: int = 0
    best: dict[str, Tensor] = field(default_factory=dict)  # the parameters of the best epoch so far
    best_epoch: int = -1
    best_loss: float = float("inf")
    history: list[Epoch] = field(default_factory=list)

    @property
    def d_sae(self) -> int:
        return self.parameters["W_dec"].shape[0]


def initial_state(
    settings: SAESettings, d_in: int, seed: int, data: Rows, standard: Standard
) -> TrainingState:
    """Random unit decoder rows, an encoder that is their scaled transpose, zero biases.

    With ``data_init`` p each row is mixed with a training row: ``p * row + (1 - p) * random`` before normalising.
    The rows are drawn by ``seed``; with the same rows for all seeds, agreement between seeds would be an artefact.
    """
    assert settings.d_sae is not None
    d_sae = settings.d_sae
    rows = generator(seed, INIT).standard_normal((d_sae, d_in), dtype=np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    if settings.data_init > 0:
        draw = generator(seed, DATA_INIT)
        index = np.concatenate([draw.permutation(data.rows) for _ in range(-(-d_sae // data.rows))])[:d_sae]
        for start in range(0, d_sae, 2048):
            part = slice(start, min(start + 2048, d_sae))
            z = standard.apply(data.batch(index[part]))
            z /= np.maximum(np.linalg.norm(z, axis=1, keepdims=True), 1e-12)
            rows[part] = settings.data_init * z + (1 - settings.data_init) * rows[part]
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    W_dec = torch.from_numpy(rows)
    parameters = {
        "W_enc": W_dec * settings.encoder_init_scale,
        "W_dec": W_dec,
        "b_enc": torch.zeros(d_sae),
        "b_dec": torch.zeros(d_in),
    }
    return TrainingState(
        parameters=parameters,
        mean={name: torch.zeros_like(p) for name, p in parameters.items()},
        square={name: torch.zeros_like(p) for name, p in parameters.items()},
        age=torch.zeros(d_sae, dtype=torch.int64),
        silent=torch.zeros(d_sae, dtype=torch.int64),
    )


def count_silence(state: TrainingState, fired: Tensor) -> None:
    """At the end of an epoch: ``silent`` becomes 0 where ``fired`` ``(d_sae,) bool``, else one epoch more."""
    state.silent = torch.where(fired, torch.zeros_like(state.silent), state.silent + 1)


def dead_features(state: TrainingState, settings: SAESettings) -> Tensor:
    """``(d_sae,) bool``: silent for at least ``dead_feature_threshold`` epochs."""
    return state.silent >= settings.dead_feature_threshold


@torch.no_grad()
def reinitialise(
    state: TrainingState, dead: Tensor, z: Tensor, target: Tensor | None = None, *, seed: int, epoch: int
) -> Tensor:
    """Aim dead features at what is badly reconstructed (Bricken et al. 2023, "neuron resampling").

    Rows of ``z`` ``(n, d_in)`` are drawn without repetition, with probability proportional to the squared error with
    which ``target`` (None: they themselves) is rebuilt. A feature's decoder row becomes the row's unit residual and
    its encoder the same direction at 0.2 of the mean norm of the live encoders; its bias, moments, age and silence start again at 0. At most ``n`` features are reborn: more
    would be copies of each other, and copies have equal gradients for ever.

    Returns:
        The features reborn, ``(n_reborn,)``.
    """
    p = state.parameters
    z_hat = torch.relu(z @ p["W_enc"].T + p["b_enc"]) @ p["W_dec"] + p["b_dec"]
    residual = (z if target is None else target) - z_hat
    loss = residual.double().square().sum(-1)
    weight = loss.square().cpu().numpy()
    usable = int((weight > 0).sum())
    draw = generator(seed, REVIVE, epoch)
    index = dead.nonzero().squeeze(-1).cpu().numpy()
    n = min(len(index), usable)
    if n == 0:
        return torch.zeros(0, dtype=torch.int64)
    index = np.sort(draw.permutation(index)[:n])
    rows = draw.choice(len(weight), size=n, replace=False, p=weight / weight.sum())
    feature = torch.from_numpy(index)
    direction = residual[torch.from_numpy(rows)]
    direction = direction / direction.norm(dim=-1, keepdim=True)
    alive = ~dead
    norm = p["W_enc"][alive].norm(dim=-1).mean() if bool(alive.any()) else torch.tensor(1.0)
    p["W_dec"][feature] = direction
    p["W_enc"][feature] = 0.2 * norm * direction
    p["b_enc"][feature] = 0.0
    for moments in (state.mean, state.square):
        for name in ("W_enc", "W_dec", "b_enc"):
            moments[name][feature] = 0.0
    state.age[feature] = 0
    state.silent[feature] = 0
    return feature
