"""Compiled loops over the pairs of row and active feature: residuals, gradients, Adam (numba).

Conventions as in :mod:`moodlens.sae.select_kernels`.
"""

import numpy as np
from numba import njit

from moodlens.sae.select_kernels import JIT, bfloat16


@njit(**JIT)
def decode(
    lo,
    hi,
    target,
    target_scale,
    W_dec,
    b_dec,
    segment,
    n_segments,
    starts,
    counts,
    feature,
    value,
    scale,
    E,
    g,
    loss,
):
    """Residuals of the kept pairs of each row and their gradients.

    Pairs with a positive value move to the front of the row and are counted in ``counts[i]``. With ``r_q`` the
    residual ``target_scale * target - b_dec`` after the features of segments ``0..q``: ``loss[i, q] = |r_q|^2``, and
    ``E[q, i]`` is the mean over all segments of those ``r_p`` with ``p >= q``, which is what a feature of segment
    ``q`` is answerable for. ``g`` of a pair is ``scale * E[segment, i] . W_dec[feature]``.
    """
    d = target.shape[1]
    share = np.float32(1.0 / n_segments)
    for i in range(lo, hi):
        start = starts[i]
        end = start
        for a in range(start, start + counts[i]):
            if value[a] > 0:
                v, f = value[a], feature[a]
                b = end
                while n_segments > 1 and b > start and segment[feature[b - 1]] > segment[f]:
                    value[b], feature[b] = value[b - 1], feature[b - 1]
                    b -= 1
                value[b], feature[b] = v, f
                end += 1
        counts[i] = end - start
        r, t = E[n_segments - 1, i], target[i]
        for j in range(d):
            r[j] = target_scale * t[j] - b_dec[j]
        a = start
        for q in range(n_segments):
            stop = end
            if n_segments > 1:
                stop = a
                while stop < end and segment[feature[stop]] == q:
                    stop += 1
            while a + 3 < stop:
                w0, w1, w2, w3 = (
                    W_dec[feature[a]],
                    W_dec[feature[a + 1]],
                    W_dec[feature[a + 2]],
                    W_dec[feature[a + 3]],
                )
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
            e0, e1, e2, e3 = E[segment[f0], i], E[segment[f1], i], E[segment[f2], i], E[segment[f3], i]
            s0 = s1 = s2 = s3 = np.float32(0)
            if n_segments == 1:
                for j in range(d):
                    s0 += r[j] * w0[j]
                    s1 += r[j] * w1[j]
                    s2 += r[j] * w2[j]
                    s3 += r[j] * w3[j]
            else:
                for j in range(d):
                    s0 += e0[j] * w0[j]
                    s1 += e1[j] * w1[j]
                    s2 += e2[j] * w2[j]
                    s3 += e3[j] * w3[j]
            found = (s0, s1, s2, s3)
            for q in range(min(4, end - a)):
                g[a + q] = scale * found[q]
            a += 4


@njit(**JIT)
def count_pairs(starts, counts, feature, per_feature):
    """Add to ``per_feature[f]`` how many rows it is active in."""
    for i in range(starts.size):
        for a in range(starts[i], starts[i] + counts[i]):
            per_feature[feature[a]] += 1


@njit(**JIT)
def sort_pairs(starts, counts, feature, value, g, scale, slot, cursor, row, e_row, g_out, w_out):
    """Write the pairs in the order of their features, rows rising; ``cursor[f]`` is where those of ``f`` go on."""
    n = starts.size
    for i in range(n):
        for a in range(starts[i], starts[i] + counts[i]):
            f = feature[a]
            p = cursor[f]
            cursor[f] = p + 1
            row[p] = i
            e_row[p] = slot[f] * n + i
            g_out[p] = g[a]
            w_out[p] = scale * value[a]


@njit(**JIT)
def _adam(p, m, v, grad, beta1, beta2, first, second, rate, epsilon):
    one = np.float32(1)
    for j in range(p.size):
        m[j] = beta1 * m[j] + (one - beta1) * grad[j]
        v[j] = beta2 * v[j] + (one - beta2) * grad[j] * grad[j]
        p[j] -= rate * (m[j] * first) / (np.sqrt(v[j] * second) + epsilon)


@njit(**JIT)
def _unit(w):
    total = np.float32(0)
    for j in range(w.size):
        total += w[j] * w[j]
    inverse = np.float32(1) / np.sqrt(total)
    for j in range(w.size):
        w[j] *= inverse


@njit(**JIT)
def gather(offsets, f, rows, weights, source, out):
    """``out = sum over the pairs of f of weight * source[row]``."""
    for j in range(out.size):
        out[j] = 0
    a, stop = offsets[f], offsets[f + 1]
    while a + 3 < stop:
        x0, x1, x2, x3 = source[rows[a]], source[rows[a + 1]], source[rows[a + 2]], source[rows[a + 3]]
        c0, c1, c2, c3 = weights[a], weights[a + 1], weights[a + 2], weights[a + 3]
        for j in range(out.size):
            out[j] += c0 * x0[j] + c1 * x1[j] + c2 * x2[j] + c3 * x3[j]
        a += 4
    while a < stop:
        x0, c0 = source[rows[a]], weights[a]
        for j in range(out.size):
            out[j] += c0 * x0[j]
        a += 1


@njit(**JIT)
def update(
    lo,
    hi,
    pairs,
    z,
    E,
    W_enc,
    W_dec,
    b_enc,
    half,
    moments,
    born,
    last,
    step,
    rate,
    beta1,
    beta2,
    epsilon,
    unit_rows,
):
    """Gradient, projection, Adam and normalisation of the features with pairs, in one visit to their weights.

    ``pairs``: offsets, rows, residual rows, ``g`` and ``w`` from :func:`sort_pairs`. ``moments``: first and second of
    the encoder, the decoder and the bias. ``half``: the encoder in bfloat16. ``step`` counts from 1.
    """
    offsets, row, e_row, g, w = pairs
    m_enc, v_enc, m_dec, v_dec, m_bias, v_bias = moments
    d = z.shape[1]
    grad = np.empty(d, np.float32)
    one = np.float32(1)
    for f in range(lo, hi):
        if offsets[f] == offsets[f + 1]:
            continue
        age = step - born[f]
        first = np.float32(1 / (1 - beta1**age))
        second = np.float32(1 / (1 - beta2**age))
        b1, b2, r, eps = np.float32(beta1), np.float32(beta2), np.float32(rate), np.float32(epsilon)
        gather(offsets, f, row, g, z, grad)
        _adam(W_enc[f], m_enc[f], v_enc[f], grad, b1, b2, first, second, r, eps)
        gather(offsets, f, e_row, w, E, grad)
        weights = W_dec[f]
        if unit_rows:
            along = np.float32(0)
            for j in range(d):
                along += grad[j] * weights[j]
            for j in range(d):
                grad[j] -= along * weights[j]
        _adam(weights, m_dec[f], v_dec[f], grad, b1, b2, first, second, r, eps)
        if unit_rows:
            _unit(weights)
        total = np.float32(0)
        for a in range(offsets[f], offsets[f + 1]):
            total += g[a]
        m_bias[f] = b1 * m_bias[f] + (one - b1) * total
        v_bias[f] = b2 * v_bias[f] + (one - b2) * total * total
        b_enc[f] -= r * (m_bias[f] * first) / (np.sqrt(v_bias[f] * second) + eps)
        last[f] = step
        if half.size > 0:
            for j in range(d):
                half[f, j] = bfloat16(W_enc[f, j])


@njit(**JIT)
def dense_update(
    lo,
    hi,
    g_enc,
    g_dec,
    g_bias,
    W_enc,
    W_dec,
    b_enc,
    moments,
    born,
    last,
    step,
    rate,
    beta1,
    beta2,
    epsilon,
    unit_rows,
):
    """Adam and normalisation with gradients that are given: the dense counterpart of :func:`update`."""
    m_enc, v_enc, m_dec, v_dec, m_bias, v_bias = moments
    b1, b2, r, eps = np.float32(beta1), np.float32(beta2), np.float32(rate), np.float32(epsilon)
    for f in range(lo, hi):
        age = step - born[f]
        first = np.float32(1 / (1 - beta1**age))
        second = np.float32(1 / (1 - beta2**age))
        _adam(W_enc[f], m_enc[f], v_enc[f], g_enc[f], b1, b2, first, second, r, eps)
        _adam(W_dec[f], m_dec[f], v_dec[f], g_dec[f], b1, b2, first, second, r, eps)
        part = slice(f, f + 1)
        _adam(b_enc[part], m_bias[part], v_bias[part], g_bias[part], b1, b2, first, second, r, eps)
        if unit_rows:
            _unit(W_dec[f])
        last[f] = step


@njit(**JIT)
def _drift(p, m, v, distance, turned, epsilon, beta1, beta2):
    tiny = np.float32(1e-30)  # below it arithmetic is slow and the moment is as good as 0
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
        m[j] = m[j] * beta1 if abs(m[j]) > tiny else np.float32(0)
        v[j] = v[j] * beta2


@njit(**JIT)
def catch_up(
    lo,
    hi,
    mark,
    stamp,
    step,
    rates,
    W_enc,
    W_dec,
    b_enc,
    half,
    moments,
    born,
    last,
    beta1,
    beta2,
    epsilon,
    unit_rows,
):
    """Give features marked ``stamp`` (0: all) the steps without gradient that they skipped, up to ``step``.

    Without gradient Adam's moments shrink by constant factors, so the direction of the skipped steps is fixed but for
    epsilon, and their lengths are a sum of one number a step. Epsilon is taken at its mean over those steps.
    """
    m_enc, v_enc, m_dec, v_dec, m_bias, v_bias = moments
    for f in range(lo, hi):
        if last[f] >= step or (stamp > 0 and mark[f] != stamp):
            continue
        power1 = power2 = 1.0
        total1, total2 = beta1 ** (last[f] - born[f]), beta2 ** (last[f] - born[f])
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
        zero = np.float32(0)
        turned = np.float32((distance - squares / distance) / 2) if unit_rows and distance > 0 else zero
        b1, b2 = np.float32(beta1**skipped), np.float32(beta2**skipped)
        _drift(W_enc[f], m_enc[f], v_enc[f], far, zero, eps, b1, b2)
        _drift(W_dec[f], m_dec[f], v_dec[f], far, turned, eps, b1, b2)
        _drift(b_enc[f : f + 1], m_bias[f : f + 1], v_bias[f : f + 1], far, zero, eps, b1, b2)
        if unit_rows:
            _unit(W_dec[f])
        if half.size > 0:
            for j in range(W_enc.shape[1]):
                half[f, j] = bfloat16(W_enc[f, j])
