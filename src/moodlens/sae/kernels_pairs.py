"""Compiled loops over the pairs of row and active feature: residuals, gradients, Adam.

Conventions as in :mod:`moodlens.sae.kernels_select`.
"""

from typing import NamedTuple

import numpy as np

from moodlens.core.compiled import compiled, part
from moodlens.sae.kernels_select import bfloat16

SCRATCH = 1 << 20
"""Bytes of gradients that are gathered before the weights are visited: they, and not the weights, stay in the cache."""
TINY = np.float32(1e-30)  # moments below it are as good as 0, and arithmetic with them is slow


class Weights(NamedTuple):
    """What a step changes, float32, and ``half``: the encoder in bfloat16 as uint16, or no rows."""

    W_enc: np.ndarray  # (m, d)
    W_dec: np.ndarray  # (m, d)
    b_enc: np.ndarray  # (m,)
    half: np.ndarray  # (m, d) uint16


class Moments(NamedTuple):
    """Adam's first and second moments, float32."""

    m_enc: np.ndarray  # (m, d)
    v_enc: np.ndarray
    m_dec: np.ndarray
    v_dec: np.ndarray
    m_bias: np.ndarray  # (m,)
    v_bias: np.ndarray


class Clock(NamedTuple):
    """Steps, counted from 1, of each feature: the one before its birth, and the last that it took. ``(m,)`` int64."""

    born: np.ndarray
    last: np.ndarray


class Rule(NamedTuple):
    """How Adam moves."""

    beta1: float
    beta2: float
    epsilon: float
    unit_rows: bool  # decoder rows are brought back to norm 1, and their gradient has no part along them
    first: np.ndarray  # (steps + 1,) float64, by age: what the first moment is multiplied by
    second: np.ndarray  # the same for the second


class Segments(NamedTuple):
    """Nested prefixes: residuals are counted after the features of each."""

    of: np.ndarray  # (m,) int32, rising
    n: int


class ByFeature(NamedTuple):
    """Pairs sorted by feature: those of f lie at ``offsets[f] .. offsets[f + 1]``, rows rising."""

    offsets: np.ndarray  # (m + 1,) int64
    row: np.ndarray  # int32
    residual: np.ndarray  # int32: its row among the residuals of all segments
    g: np.ndarray  # gradient of the loss for the code
    w: np.ndarray  # what the residual counts for in the decoder's gradient


@compiled
def decode(lo, hi, target, target_scale, W_dec, b_dec, segments, pairs, scale, E, g, loss):
    """Residuals of the pairs of each row and their gradients.

    With ``r_q`` the residual ``target_scale * target - b_dec`` after the features of segments ``0..q``:
    ``loss[i, q] = |r_q|^2``, and ``E[q, i]`` is the mean over all segments of those ``r_p`` with ``p >= q``, which is what
    a feature of segment ``q`` is answerable for. ``g`` of a pair is ``scale * E[segment, i] . W_dec[feature]``.
    """
    d, n_segments = target.shape[1], segments.n
    share = np.float32(1.0 / n_segments)
    feature, value = pairs.feature, pairs.value
    for i in range(lo, hi):
        start, end = pairs.starts[i], pairs.starts[i + 1]
        r, t = E[n_segments - 1, i], target[i]
        for j in range(d):
            r[j] = target_scale * t[j] - b_dec[j]
        a = start
        for q in range(n_segments):
            stop = end
            if n_segments > 1:
                stop = a
                while stop < end and segments.of[feature[stop]] == q:
                    stop += 1
            while a + 3 < stop:
                w0, w1 = W_dec[feature[a]], W_dec[feature[a + 1]]
                w2, w3 = W_dec[feature[a + 2]], W_dec[feature[a + 3]]
                v0, v1, v2, v3 = value[a], value[a + 1], value[a + 2], value[a + 3]
                for j in range(d):
                    r[j] -= v0 * w0[j] + v1 * w1[j] + v2 * w2[j] + v3 * w3[j]
                a += 4
            while a < stop:
                w0, v0 = W_dec[feature[a]], value[a]
                for j in range(d):
                    r[j] -= v0 * w0[j]
                a += 1
            total = np.float32(0)
            for j in range(d):
                total += r[j] * r[j]
            loss[i, q] = total
            if q < n_segments - 1:
                e = E[q, i]
                for j in range(d):
                    e[j] = r[j]
        if n_segments > 1:
            for j in range(d):
                r[j] *= share
            for q in range(n_segments - 2, -1, -1):
                e, after = E[q, i], E[q + 1, i]
                for j in range(d):
                    e[j] = e[j] * share + after[j]
        a = start if g.size > 0 else end
        while a < end:
            last = end - 1
            f0, f1 = feature[a], feature[min(a + 1, last)]
            f2, f3 = feature[min(a + 2, last)], feature[min(a + 3, last)]
            w0, w1, w2, w3 = W_dec[f0], W_dec[f1], W_dec[f2], W_dec[f3]
            s0 = s1 = s2 = s3 = np.float32(0)
            if n_segments == 1:
                for j in range(d):
                    s0 += r[j] * w0[j]
                    s1 += r[j] * w1[j]
                    s2 += r[j] * w2[j]
                    s3 += r[j] * w3[j]
            else:
                e0, e1 = E[segments.of[f0], i], E[segments.of[f1], i]
                e2, e3 = E[segments.of[f2], i], E[segments.of[f3], i]
                for j in range(d):
                    s0 += e0[j] * w0[j]
                    s1 += e1[j] * w1[j]
                    s2 += e2[j] * w2[j]
                    s3 += e3[j] * w3[j]
            along = (s0, s1, s2, s3)
            for q in range(min(4, end - a)):
                g[a + q] = scale * along[q]
            a += 4


@compiled
def sort_pairs(pairs, g, scale, slot, cursor, into):
    """Write pairs in the order of their features; ``cursor[f]`` is where those of f go on, ``slot[f]`` their residual."""
    n = pairs.starts.size - 1
    for i in range(n):
        for a in range(pairs.starts[i], pairs.starts[i + 1]):
            f = pairs.feature[a]
            p = cursor[f]
            cursor[f] = p + 1
            into.row[p] = i
            into.residual[p] = slot[f] * n + i
            into.g[p] = g[a]
            into.w[p] = scale * pairs.value[a]


@part
def _gather(offsets, f, rows, weights, source, out):
    """``out = sum over the pairs of f of weight * source[row]``."""
    zero = np.float32(0)
    first, stop = offsets[f], offsets[f + 1]
    if first == stop:
        out[:] = 0
    last = stop - 1
    for a in range(first, stop, 4):
        x0, x1 = source[rows[a]], source[rows[min(a + 1, last)]]
        x2, x3 = source[rows[min(a + 2, last)]], source[rows[min(a + 3, last)]]
        c0, c1 = weights[a], weights[a + 1] if a + 1 < stop else zero
        c2, c3 = weights[a + 2] if a + 2 < stop else zero, weights[a + 3] if a + 3 < stop else zero
        if a == first:
            for j in range(out.size):
                out[j] = c0 * x0[j] + c1 * x1[j] + c2 * x2[j] + c3 * x3[j]
        else:
            for j in range(out.size):
                out[j] += c0 * x0[j] + c1 * x1[j] + c2 * x2[j] + c3 * x3[j]


@part
def _pace(age, rate, rule):
    age = max(1, min(age, rule.first.size - 1))
    return (
        np.float32(rule.beta1),
        np.float32(rule.beta2),
        np.float32(rule.epsilon),
        np.float32(rate * rule.first[age]),
        np.float32(rule.second[age]),
    )


@part
def _adam(p, m, v, grad, pace):
    b1, b2, epsilon, length, second = pace
    c1, c2 = np.float32(1) - b1, np.float32(1) - b2
    for j in range(p.size):
        g = grad[j]
        first = b1 * m[j] + c1 * g
        square = b2 * v[j] + c2 * g * g
        m[j] = first if abs(first) > TINY else np.float32(0)
        v[j] = square
        p[j] -= length * first / (np.sqrt(square * second) + epsilon)


@part
def _unit(w):
    total = np.float32(0)
    for j in range(w.size):
        total += w[j] * w[j]
    inverse = np.float32(1) / np.sqrt(total)
    for j in range(w.size):
        w[j] *= inverse


@part
def _round(row, half):
    for j in range(row.size):
        half[j] = bfloat16(row[j])


@part
def _move_decoder(row, m, v, grad, pace, unit_rows):
    if unit_rows:
        along = np.float32(0)
        for j in range(row.size):
            along += grad[j] * row[j]
        for j in range(row.size):
            grad[j] -= along * row[j]
    _adam(row, m, v, grad, pace)
    if unit_rows:
        _unit(row)


@compiled
def update(lo, hi, everyone, pairs, z, E, weights, moments, clock, step, rate, rule):
    """Gradient, projection, Adam and normalisation of the features with pairs, or of ``everyone``.

    ``step`` counts from 1. Some features at a time: first all their gradients are gathered, from rows that stay in the
    cache meanwhile, then their weights and moments pass by once.
    """
    offsets, row, residual, g, w = pairs
    W_enc, W_dec, b_enc, half = weights
    m_enc, v_enc, m_dec, v_dec, m_bias, v_bias = moments
    features, n = np.empty(hi - lo, np.int64), 0
    for f in range(lo, hi):
        if everyone or offsets[f] < offsets[f + 1]:
            features[n] = f
            n += 1
    some = max(1, min(n, SCRATCH // (4 * z.shape[1])))
    grads, bias_grad = np.empty((some, z.shape[1]), np.float32), np.empty(1, np.float32)
    for begin in range(0, n, some):
        part = features[begin : min(begin + some, n)]
        for i in range(part.size):
            _gather(offsets, part[i], row, g, z, grads[i])
        for i in range(part.size):
            f = part[i]
            pace = _pace(step - clock.born[f], rate, rule)
            _adam(W_enc[f], m_enc[f], v_enc[f], grads[i], pace)
            if half.size > 0:
                _round(W_enc[f], half[f])
            total = np.float32(0)
            for a in range(offsets[f], offsets[f + 1]):
                total += g[a]
            bias_grad[0] = total
            _adam(b_enc[f : f + 1], m_bias[f : f + 1], v_bias[f : f + 1], bias_grad, pace)
        for i in range(part.size):
            _gather(offsets, part[i], residual, w, E, grads[i])
        for i in range(part.size):
            f = part[i]
            pace = _pace(step - clock.born[f], rate, rule)
            _move_decoder(W_dec[f], m_dec[f], v_dec[f], grads[i], pace, rule.unit_rows)
            clock.last[f] = step


@compiled
def dense_update(lo, hi, g_enc, g_dec, g_bias, weights, moments, clock, step, rate, rule):
    """Adam and normalisation with gradients that are given: the dense counterpart of :func:`update`."""
    W_enc, W_dec, b_enc, _ = weights
    m_enc, v_enc, m_dec, v_dec, m_bias, v_bias = moments
    for f in range(lo, hi):
        pace, place = _pace(step - clock.born[f], rate, rule), slice(f, f + 1)
        _adam(W_enc[f], m_enc[f], v_enc[f], g_enc[f], pace)
        _adam(b_enc[place], m_bias[place], v_bias[place], g_bias[place], pace)
        _move_decoder(W_dec[f], m_dec[f], v_dec[f], g_dec[f], pace, rule.unit_rows)
        clock.last[f] = step


@compiled
def move_vector(p, m, v, grad, step, rate, rule):
    """Adam for a vector that is as old as the training."""
    _adam(p, m, v, grad, _pace(step, rate, rule))


@part
def _drift(p, m, v, distance, turned, epsilon, beta1, beta2):
    stretch = np.float32(1)
    if turned > 0:
        # Dense Adam normalises after every step, so a later step finds the row shortened by the earlier ones:
        # to first order their lengths a_i shrink the way by (row . direction) * sum of a_i a_j over i < j.
        along = np.float32(0)
        for j in range(p.size):
            along += p[j] * m[j] / (np.sqrt(v[j]) + epsilon)
        stretch += turned * along
    for j in range(p.size):
        p[j] = stretch * p[j] - distance * m[j] / (np.sqrt(v[j]) + epsilon)
        m[j] = m[j] * beta1 if abs(m[j]) > TINY else np.float32(0)
        v[j] = v[j] * beta2


@compiled
def catch_up(lo, hi, mark, stamp, weights, moments, clock, step, rates, rule):
    """Give features marked ``stamp`` (0: all) the steps without gradient that they skipped, up to ``step``.

    Without gradient Adam's moments shrink by constant factors, so the direction of the skipped steps is fixed but for
    epsilon, and their lengths are a sum of one number a step. Epsilon is taken at its mean over those steps.
    """
    beta1, beta2, epsilon = rule.beta1, rule.beta2, rule.epsilon
    W_enc, W_dec, b_enc, half = weights
    m_enc, v_enc, m_dec, v_dec, m_bias, v_bias = moments
    last, zero = clock.last, np.float32(0)
    for f in range(lo, hi):
        if last[f] >= step or (stamp > 0 and mark[f] != stamp):
            continue
        power1 = power2 = 1.0
        total1, total2 = beta1 ** (last[f] - clock.born[f]), beta2 ** (last[f] - clock.born[f])
        distance = squares = weighted = 0.0
        for t in range(last[f] + 1, step + 1):
            power1 *= beta1
            power2 *= beta2
            total1 *= beta1
            total2 *= beta2
            root = np.sqrt((1 - total2) / power2)
            length = rates[t - 1] * power1 / (1 - total1) * root
            distance += length
            squares += length * length
            weighted += length * root
            if power1 < 1e-12:
                break
        skipped = step - last[f]
        last[f] = step
        far = np.float32(distance)
        eps = np.float32(epsilon * weighted / distance) if distance > 0 else np.float32(epsilon)
        turned = np.float32((distance - squares / distance) / 2) if rule.unit_rows and distance > 0 else zero
        b1, b2 = np.float32(beta1**skipped), np.float32(beta2**skipped)
        part = slice(f, f + 1)
        _drift(W_enc[f], m_enc[f], v_enc[f], far, zero, eps, b1, b2)
        _drift(W_dec[f], m_dec[f], v_dec[f], far, turned, eps, b1, b2)
        _drift(b_enc[part], m_bias[part], v_bias[part], far, zero, eps, b1, b2)
        if rule.unit_rows:
            _unit(W_dec[f])
        if half.size > 0:
            _round(W_enc[f], half[f])
