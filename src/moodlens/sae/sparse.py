"""The fast training step on a CPU: only the encoder product is dense.

With ``k`` of ``d_sae`` codes non-zero, decoding, the error's way back and both weight gradients concern ``n k`` pairs of
row and feature out of ``n d_sae``. What a step does:

1. *Screen*: the encoder product, in bfloat16 where the processor multiplies it natively. Maxima over blocks of features
   give a bound that surely lets enough through; what passes it, with some slack, are the candidates.
2. *Settle*: candidates are computed again in float32 and the largest are kept. The result is that of a float32 product.
   If screening was wrong by more than the slack, it is repeated with more.
3. *Pairs*: residuals and gradients of the pairs, row by row, then sorted by feature.
4. *Update*: gradient, projection, Adam and normalisation of a feature in one visit to its weights.

Where a batch touches few features, the others are left alone. They catch up on the Adam steps they skipped when they
become candidates, and after :data:`LONGEST_WAIT` steps at the latest (:func:`moodlens.sae.pair_kernels.catch_up`).
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from moodlens.sae import pair_kernels as kernels
from moodlens.sae.batches import Batch, Buffers
from moodlens.sae.dense import gradients
from moodlens.sae.reference import ADAM_EPSILON, StepResult
from moodlens.sae.rows import Rows, Standard
from moodlens.sae.schedule import StepPlan
from moodlens.sae.screening import Pairs, Screen
from moodlens.sae.state import TrainingState
from moodlens.sae.threads import Crew
from moodlens.settings.sae import SAESettings

LONGEST_WAIT = 4  # steps by which a feature that is only screened may lag behind dense Adam
SMALL = 6e7  # multiply-adds of the encoder product below which a step is over before a second thread helps
DENSE = 0.08  # share of active codes above which l1 takes dense steps


class Graded(NamedTuple):
    """Pairs with their gradients, as :func:`moodlens.sae.pair_kernels.sort_pairs` takes them."""

    pairs: Pairs
    g: np.ndarray  # gradient of the loss for the code
    scale: np.float32  # times value: what the residual counts for in the decoder's gradient
    slot: np.ndarray  # (d_sae,) int32: which residual


class SparseStep:
    """Steps on ``state``; ``l1`` only with unit decoder rows. :meth:`sync` before anyone else looks at the weights."""

    def __init__(
        self,
        state: TrainingState,
        settings: SAESettings,
        standard: Standard,
        rates: np.ndarray,
        *,
        threads: int = 1,
        bfloat16: bool | None = None,
    ) -> None:
        """``rates``: the learning rate of every step, ``(steps,)`` float64; ``bfloat16`` None: where it is fast."""
        assert settings.batch_size is not None
        self.settings, self.standard, self.rates = settings, standard, rates
        self.d_sae, self.d_in = state.parameters["W_dec"].shape
        small = settings.batch_size * self.d_in * self.d_sae < SMALL
        self.crew, self.buffers, self.batch = Crew(1 if small else threads), Buffers(), Batch()
        self.screen = Screen(settings, self.crew, self.buffers, bfloat16)
        self.l1 = settings.architecture == "l1"
        # Where most features have pairs in every step, waiting saves nothing.
        lazy = not self.l1 and settings.batch_size * settings.k < 2 * self.d_sae
        self.wait = LONGEST_WAIT if lazy else 1
        prefixes = settings.prefixes if settings.architecture == "matryoshka" else (self.d_sae,)
        assert prefixes is not None
        self.n_segments = len(prefixes)
        self.segment = np.searchsorted(prefixes, np.arange(self.d_sae), side="right").astype(np.int32)
        self.one_segment = np.zeros(self.d_sae, dtype=np.int32)
        self.aux_slot = np.full(self.d_sae, self.n_segments, dtype=np.int32)
        self.load(state)

    def load(self, state: TrainingState) -> None:
        """Take over ``state``, which must be complete: after :meth:`sync`, or when something else changed it."""
        self.state = state
        p = self.p = {name: t.numpy() for name, t in state.parameters.items()}
        self.screen.load(state.parameters["W_enc"], state.parameters["b_enc"])
        self.moments = tuple(
            group[name].numpy()
            for name in ("W_enc", "W_dec", "b_enc")
            for group in (state.mean, state.square)
        )
        self.born = state.step - state.age.numpy()
        self.last = np.full(self.d_sae, state.step, dtype=np.int64)
        self.weights = p["W_enc"], p["W_dec"], p["b_enc"], self.screen.half
        s = self.settings
        self.rule = s.beta1, s.beta2, ADAM_EPSILON, s.decoder_norm

    def sync(self) -> None:
        """Bring every feature up to date and write the ages into the state."""
        self._catch_up(0, self.d_sae, 0)
        self.state.age = torch.from_numpy(self.state.step - self.born)

    def step(
        self, data: Rows, index: np.ndarray, now: StepPlan, dead: Tensor, added: np.ndarray | None = None
    ) -> StepResult:
        """One training step on rows ``index`` plus ``added``; ``dead`` is ``(d_sae,) bool``."""
        z, n, settings = self.batch, len(index), self.settings
        z.read(data, index, self.standard, self.crew, added)
        if self.l1 and self.screen.count_positive(z) > DENSE * n * self.d_sae:
            return self._dense_step(z, now, dead)
        pairs = self.screen.positive() if self.l1 else self._largest(z, now.k)
        E = self.buffers.get("E", self.n_segments + 1, n, self.d_in)
        scale = np.float32(-2 / n)
        g, terms = self._decode(pairs, z.values, self.p["b_dec"], self.segment, self.n_segments, scale, E)
        loss = terms.mean() / n
        if self.l1:  # of the penalty only the codes' part is left: the decoder's lies along its unit rows
            g += np.float32(now.l1 / n)
            loss += now.l1 * float(pairs.value.sum(dtype=np.float64)) / n
        graded = [Graded(pairs, g, scale, self.segment)]
        if not self.l1 and settings.aux_coefficient > 0 and bool(dead.any()):
            aux, aux_loss = self._auxiliary(z, dead, E, terms[-1])
            graded.append(aux)
            loss += settings.aux_coefficient * aux_loss
        fired = self._update(graded, z, E, now.learning_rate)
        return StepResult(float(loss), float(terms[-1] / n), int(pairs.counts.sum()), torch.from_numpy(fired))

    def errors(self, data: Rows, index: np.ndarray, k: float) -> tuple[float, int, float]:
        """``(sum |z - z_hat|^2, active codes, sum of codes)`` of rows at sparsity ``k``; the last is 0 but for l1."""
        z = self.batch
        z.read(data, index, self.standard, self.crew)
        if self.l1:
            self.screen.count_positive(z)
        pairs = self.screen.positive() if self.l1 else self._largest(z, k)
        E = self.buffers.get("E", 1, len(index), self.d_in)
        _, terms = self._decode(pairs, z.values, self.p["b_dec"], self.one_segment, 1, np.float32(0), E)
        weighted = float(pairs.value.sum(dtype=np.float64)) if self.l1 else 0.0
        return float(terms[0]), int(pairs.counts.sum()), weighted

    def _largest(self, z: Batch, k: float) -> Pairs:
        lag = self.wait > 1
        return self.screen.largest(
            z, k, (lambda: self._catch_up(0, self.d_sae, self.screen.stamp)) if lag else None
        )

    def _decode(
        self,
        pairs: Pairs,
        target: np.ndarray,
        bias: np.ndarray,
        segment: np.ndarray,
        n_segments: int,
        scale: np.float32,
        E: np.ndarray,
        times: float = 1.0,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Residuals of ``times * target - bias`` into ``E``; returns ``(g, sum of squares for each prefix)``."""
        n = len(target)
        g = np.empty(0, np.float32) if scale == 0 else np.empty(len(pairs.feature), np.float32)
        loss = self.buffers.get("loss", n, n_segments)
        self.crew.run(
            kernels.decode, n, target, np.float32(times), self.p["W_dec"], bias, segment, n_segments, *pairs, scale, E, g,
            loss,
        )  # fmt: skip
        return g, loss.sum(0, dtype=np.float64)

    def _auxiliary(self, z: Batch, dead: Tensor, E: np.ndarray, error: float) -> tuple[Graded, float]:
        """Pairs of the dead features and their loss (see :func:`moodlens.sae.losses.auxiliary_loss`)."""
        settings, n, p = self.settings, z.n, self.state.parameters
        assert settings.aux_k is not None
        index = dead.nonzero().squeeze(-1)
        self.screen.stamp += 1
        self.screen.mark[index.numpy()] = self.screen.stamp
        self._catch_up(0, self.d_sae, self.screen.stamp)
        k = min(settings.aux_k, len(index))
        with self.crew.alone():
            pre = torch.addmm(p["b_enc"][index], torch.from_numpy(z.values), p["W_enc"][index].T)
            values, chosen = torch.topk(pre, k, dim=-1)
        feature = index[chosen].to(torch.int32).numpy().ravel()
        pairs = Pairs(np.arange(n) * k, np.full(n, k), feature, torch.relu(values).numpy().ravel())
        variance = max(error, float(np.finfo(np.float32).tiny))
        scale = np.float32(-2 * settings.aux_coefficient / variance)
        # E holds 1/n_segments of the full residual in the slot before the one that is free.
        slot, no_bias = self.n_segments, np.zeros(self.d_in, dtype=np.float32)
        g, terms = self._decode(pairs, E[slot - 1], no_bias, self.one_segment, 1, scale, E[slot:], slot)
        return Graded(pairs, g, scale, self.aux_slot), float(terms[0]) / variance

    def _update(self, graded: list[Graded], z: Batch, E: np.ndarray, rate: float) -> np.ndarray:
        """Move the weights; returns ``(d_sae,) bool``: the features of the first pairs."""
        state, get = self.state, self.buffers.get
        per_feature = np.zeros(self.d_sae, dtype=np.int64)
        kernels.count_pairs(*graded[0].pairs[:3], per_feature)
        fired = per_feature > 0
        for more in graded[1:]:
            kernels.count_pairs(*more.pairs[:3], per_feature)
        offsets = np.concatenate([[0], np.cumsum(per_feature)])
        total = int(offsets[-1])
        row, e_row = get("row", total, dtype=np.int32), get("e_row", total, dtype=np.int32)
        g, w = get("g", total), get("w", total)
        cursor = offsets[:-1].copy()
        for part in graded:
            kernels.sort_pairs(*part.pairs, part.g, part.scale, part.slot, cursor, row, e_row, g, w)
        state.step += 1
        touched = np.concatenate([[0], np.cumsum(per_feature > 0)])
        self.crew.run(
            kernels.update, self.d_sae, (offsets, row, e_row, g, w), z.values, E.reshape(-1, self.d_in), *self.weights,
            self.moments, self.born, self.last, state.step, rate, *self.rule, weight=offsets + 4 * touched,
        )  # fmt: skip
        self._move_b_dec(E[0].sum(0) * np.float32(-2 / z.n), rate)
        turn = state.step % self.wait
        self._catch_up(self.d_sae * turn // self.wait, self.d_sae * (turn + 1) // self.wait, 0)
        return fired

    def _dense_step(self, z: Batch, now: StepPlan, dead: Tensor) -> StepResult:
        """While many codes are active, dense products are faster."""
        state = self.state
        grads, result = gradients(state.parameters, torch.from_numpy(z.values), self.settings, now, dead)
        state.step += 1
        self.crew.run(
            kernels.dense_update, self.d_sae, *(grads[name].numpy() for name in ("W_enc", "W_dec", "b_enc")),
            *self.weights[:3], self.moments, self.born, self.last, state.step, now.learning_rate, *self.rule,
        )  # fmt: skip
        self._move_b_dec(grads["b_dec"].numpy(), now.learning_rate)
        return result

    def _move_b_dec(self, grad: np.ndarray, rate: float) -> None:
        b1, b2 = self.settings.beta1, self.settings.beta2
        p, m, v = (
            group["b_dec"].numpy() for group in (self.state.parameters, self.state.mean, self.state.square)
        )
        m *= b1
        m += (1 - b1) * grad
        v *= b2
        v += (1 - b2) * grad * grad
        first, second = 1 - b1**self.state.step, 1 - b2**self.state.step
        p -= (rate * (m / first) / (np.sqrt(v / second) + ADAM_EPSILON)).astype(np.float32)

    def _catch_up(self, lo: int, hi: int, stamp: int) -> None:
        """Give features ``lo..hi`` marked ``stamp`` (0: all) the steps they skipped."""

        def kernel(a: int, b: int) -> None:
            kernels.catch_up(
                lo + a, lo + b, self.screen.mark, stamp, self.state.step, self.rates, *self.weights, self.moments,
                self.born, self.last, *self.rule,
            )  # fmt: skip

        self.crew.run(kernel, hi - lo)
