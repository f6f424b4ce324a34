"""The fast training step on a CPU: only the encoder product is dense.

With ``k`` of ``d_sae`` codes non-zero, decoding, the error's way back and both weight gradients concern ``n k`` pairs of
row and feature out of ``n d_sae``. What a step does:

1. *Screen* (:mod:`moodlens.sae.screen`): the encoder product, in bfloat16 where the processor multiplies it natively.
   What lies above a bound that surely lets enough through, with some slack, are the candidates.
2. *Settle*: candidates are computed again in float32 and the largest are kept. The result is that of a float32 product.
   If screening was wrong by more than the slack, it is repeated with more.
3. *Pairs*: residuals and gradients of the pairs, row by row, then sorted by feature.
4. *Update*: gradient, projection, Adam and normalisation, some features at a time.

Where a batch touches few features, the others are left alone. They catch up on the Adam steps they skipped when they
become candidates, and after :data:`LONGEST_WAIT` steps at the latest (:func:`moodlens.sae.kernels_pairs.catch_up`).
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from moodlens.core.threads import ThreadTeam
from moodlens.sae import kernels_pairs as kernels
from moodlens.sae.dense import gradients
from moodlens.sae.kernels_pairs import ByFeature, Clock, Moments, Rule, Segments, Weights
from moodlens.sae.kernels_select import Pairs
from moodlens.sae.plain import ADAM_EPSILON, NOTHING, Given, StepPlan, StepResult
from moodlens.sae.rows import Rows, Standard
from moodlens.sae.screen import Batch, Buffers, Screen
from moodlens.sae.state import TrainingState
from moodlens.settings.sae import SAESettings

LONGEST_WAIT = 4  # steps by which a feature that is only screened may lag behind dense Adam
SMALL = 6e7  # multiply-adds of the encoder product below which a step is over before a second thread helps
DENSE = 0.3  # share of active codes above which l1 takes dense steps


class Graded(NamedTuple):
    """Pairs with their gradients, as :func:`moodlens.sae.kernels_pairs.sort_pairs` takes them."""

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
        self.team, self.buffers = ThreadTeam(1 if small else threads), Buffers()
        self.screen = Screen(settings, self.team, self.buffers, bfloat16)
        self.l1 = settings.architecture == "l1"
        # Where most features have pairs in every step, waiting saves nothing.
        lazy = not self.l1 and settings.batch_size * settings.k < 2 * self.d_sae
        self.wait = LONGEST_WAIT if lazy else 1
        prefixes = settings.prefixes if settings.architecture == "matryoshka" else (self.d_sae,)
        assert prefixes is not None
        of = np.searchsorted(prefixes, np.arange(self.d_sae), side="right").astype(np.int32)
        self.segments, self.whole = Segments(of, len(prefixes)), Segments(np.zeros_like(of), 1)
        ages, betas = np.arange(1, len(rates) + 1), (settings.beta1, settings.beta2)
        corrections = (np.concatenate([[1.0], 1 / (1 - beta**ages)]) for beta in betas)
        self.rule = Rule(*betas, ADAM_EPSILON, settings.decoder_norm, *corrections)
        self.load(state)

    def load(self, state: TrainingState) -> None:
        """Take over ``state``, which must be complete: after :meth:`sync`, or when something else changed it."""
        self.state = state
        self.screen.load(state.parameters["W_enc"], state.parameters["b_enc"])
        p, mean, square = (
            {name: t.numpy() for name, t in group.items()}
            for group in (state.parameters, state.mean, state.square)
        )
        names = ("W_enc", "W_dec", "b_enc")
        self.weights = Weights(p["W_enc"], p["W_dec"], p["b_enc"], self.screen.half)
        self.moments = Moments(*(group[name] for name in names for group in (mean, square)))
        self.bias, self.bias_moments = p["b_dec"], (mean["b_dec"], square["b_dec"])
        self.clock = Clock(state.step - state.age.numpy(), np.full(self.d_sae, state.step, dtype=np.int64))

    def sync(self) -> None:
        """Bring every feature up to date and write the ages into the state."""
        self.team.parallel_for(lambda lo, hi: self._catch_up(lo, hi, 0), self.d_sae)
        self.state.age = torch.from_numpy(self.state.step - self.clock.born)

    def step(
        self, data: Rows, index: np.ndarray, now: StepPlan, dead: Tensor, given: Given = NOTHING
    ) -> StepResult:
        """One training step on rows ``index``; ``dead`` is ``(d_sae,) bool``."""
        n, settings = len(index), self.settings
        z = self.screen.read(data, index, self.standard, given.added)
        target = z.values if given.target is None else given.target
        pairs = self._active(z, now.k)
        if self.l1 and len(pairs.feature) > DENSE * n * self.d_sae:
            return self._dense_step(z, target, now, dead)
        E = self.buffers.get("E", self.segments.n + 1, n, self.d_in)
        scale = np.float32(-2 / n)
        g, terms = self._decode(pairs, target, self.bias, self.segments, scale, E)
        loss = terms.mean() / n
        if self.l1:  # of the penalty only the codes' part is left: the decoder's lies along its unit rows
            g += np.float32(now.l1 / n)
            loss += now.l1 * float(pairs.value.sum(dtype=np.float64)) / n
        graded = [Graded(pairs, g, scale, self.segments.of)]
        if not self.l1 and settings.aux_coefficient > 0 and bool(dead.any()):
            aux, aux_loss = self._auxiliary(z, dead, E, terms[-1])
            graded.append(aux)
            loss += settings.aux_coefficient * aux_loss
        fired = self._update(graded, z, E, now.learning_rate)
        return StepResult(float(loss), float(terms[-1] / n), len(pairs.feature), torch.from_numpy(fired))

    def errors(
        self, data: Rows, index: np.ndarray, k: float, target: np.ndarray | None = None
    ) -> tuple[float, int, float]:
        """``(sum |z - z_hat|^2, active codes, sum of codes)`` of rows at sparsity ``k``; the last is 0 but for l1."""
        z = self.screen.read(data, index, self.standard)
        pairs = self._active(z, k)
        E = self.buffers.get("E", 1, len(index), self.d_in)
        _, terms = self._decode(
            pairs, z.values if target is None else target, self.bias, self.whole, np.float32(0), E
        )
        weighted = float(pairs.value.sum(dtype=np.float64)) if self.l1 else 0.0
        return float(terms[0]), len(pairs.feature), weighted

    def _active(self, z: Batch, k: float) -> Pairs:
        if self.l1:
            return self.screen.positive(z)
        return self.screen.largest(z, k, self._catch_up if self.wait > 1 else None)

    def _decode(
        self,
        pairs: Pairs,
        target: np.ndarray,
        bias: np.ndarray,
        segments: Segments,
        scale: np.float32,
        E: np.ndarray,
        times: float = 1.0,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Residuals of ``times * target - bias`` into ``E``; returns ``(g, sum of squares for each prefix)``."""
        n = len(target)
        g = np.empty(0 if scale == 0 else len(pairs.feature), np.float32)
        loss = self.buffers.get("loss", n, segments.n)
        self.team.parallel_for(
            kernels.decode, n, target, np.float32(times), self.weights.W_dec, bias, segments, pairs, scale, E, g, loss
        )  # fmt: skip
        return g, loss.sum(0, dtype=np.float64)

    def _auxiliary(self, z: Batch, dead: Tensor, E: np.ndarray, error: float) -> tuple[Graded, float]:
        """Pairs of the dead features and their loss (see :func:`moodlens.sae.plain.auxiliary_loss`)."""
        settings, p = self.settings, self.state.parameters
        assert settings.aux_k is not None
        index = dead.nonzero().squeeze(-1)
        self.screen.stamp += 1
        self.screen.mark[index.numpy()] = self.screen.stamp
        self._catch_up(0, self.d_sae, self.screen.stamp)
        pre = torch.addmm(p["b_enc"][index], torch.from_numpy(z.values), p["W_enc"][index].T)
        values, chosen = torch.topk(pre, min(settings.aux_k, len(index)), dim=-1)
        on = (values > 0).numpy()
        starts = np.concatenate([[0], np.cumsum(on.sum(1))])
        pairs = Pairs(starts, index[chosen].to(torch.int32).numpy()[on], values.numpy()[on])
        variance = max(error, float(np.finfo(np.float32).tiny))
        scale = np.float32(-2 * settings.aux_coefficient / variance)
        # E holds 1/n_segments of the full residual in the slot before the one that is free.
        slot, no_bias = self.segments.n, np.zeros(self.d_in, dtype=np.float32)
        g, terms = self._decode(pairs, E[slot - 1], no_bias, self.whole, scale, E[slot:], slot)
        return Graded(pairs, g, scale, np.full(self.d_sae, slot, np.int32)), float(terms[0]) / variance

    def _update(self, graded: list[Graded], z: Batch, E: np.ndarray, rate: float) -> np.ndarray:
        """Move the weights; returns ``(d_sae,) bool``: the features of the first pairs."""
        state, get = self.state, self.buffers.get
        counts = [np.bincount(part.pairs.feature, minlength=self.d_sae) for part in graded]
        per_feature = np.sum(counts, axis=0)
        offsets = np.concatenate([[0], np.cumsum(per_feature)])
        total = int(offsets[-1])
        pairs = ByFeature(
            offsets,
            get("row", total, dtype=np.int32),
            get("residual", total, dtype=np.int32),
            get("g", total),
            get("w", total),
        )
        cursor = offsets[:-1].copy()
        for part in graded:
            kernels.sort_pairs(part.pairs, part.g, part.scale, part.slot, cursor, pairs)
        state.step += 1
        everyone = self.wait == 1
        touched = np.arange(self.d_sae + 1) if everyone else np.concatenate([[0], np.cumsum(per_feature > 0)])
        self.team.parallel_for(
            kernels.update, self.d_sae, everyone, pairs, z.values, E.reshape(-1, self.d_in), self.weights,
            self.moments, self.clock, state.step, rate, self.rule, weight=offsets + 8 * touched,
        )  # fmt: skip
        self._move_bias(E[0].sum(0) * np.float32(-2 / len(z.values)), rate)
        if not everyone:
            turn = state.step % self.wait
            lo, hi = self.d_sae * turn // self.wait, self.d_sae * (turn + 1) // self.wait
            self.team.parallel_for(lambda a, b: self._catch_up(lo + a, lo + b, 0), hi - lo)
        return counts[0] > 0

    def _dense_step(self, z: Batch, target: np.ndarray, now: StepPlan, dead: Tensor) -> StepResult:
        """While many codes are active, dense products are faster."""
        state = self.state
        rows, wanted = torch.from_numpy(z.values), torch.from_numpy(target)
        grads, result = gradients(state.parameters, rows, self.settings, now, dead, wanted, team=self.team)
        state.step += 1
        self.team.parallel_for(
            kernels.dense_update, self.d_sae, *(grads[name].numpy() for name in ("W_enc", "W_dec", "b_enc")),
            self.weights, self.moments, self.clock, state.step, now.learning_rate, self.rule,
        )  # fmt: skip
        self._move_bias(grads["b_dec"].numpy(), now.learning_rate)
        return result

    def _move_bias(self, grad: np.ndarray, rate: float) -> None:
        kernels.move_vector(self.bias, *self.bias_moments, grad, self.state.step, rate, self.rule)

    def _catch_up(self, lo: int, hi: int, stamp: int) -> None:
        """Give features ``lo..hi`` marked ``stamp`` (0: all) the steps they skipped."""
        kernels.catch_up(
            lo, hi, self.screen.mark, stamp, self.weights, self.moments, self.clock, self.state.step, self.rates, self.rule
        )  # fmt: skip
