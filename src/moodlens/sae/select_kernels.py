"""Compiled loops that choose the active codes (numba): each works on a range ``lo..hi`` and lets other threads run.

Every element of a result is computed by one thread in a fixed order, so results do not depend on the number of
threads. Compiled code is cached beside this file or under the user's home; only the first run of an installation waits.

Shapes: ``n`` rows, ``d`` = d_in, ``m`` = d_sae, ``b`` blocks of features. A *pair* is an active (row, feature).
"""

import numpy as np
from numba import njit, types
from numba.extending import overload

from moodlens.core.cpu import keeps_kernels

JIT = {"nogil": True, "fastmath": True, "cache": keeps_kernels(), "error_model": "numpy"}


def _screened(pre, i, j):  # pragma: no cover - replaced below when compiled
    raise NotImplementedError


@overload(_screened)
def _screened_of(pre, i, j):
    # numba knows no bfloat16: it is the upper half of a float32.
    if pre.dtype == types.uint16:
        return lambda pre, i, j: np.uint32(np.uint32(pre[i, j]) << np.uint32(16)).view(np.float32)
    return lambda pre, i, j: pre[i, j]


@njit(**JIT)
def bfloat16(x):
    bits = np.float32(x).view(np.uint32)
    even = np.uint32(bits >> np.uint32(16)) & np.uint32(1)
    return np.uint16(np.uint32(bits + np.uint32(0x7FFF) + even) >> np.uint32(16))


@njit(**JIT)
def standardise(lo, hi, x, index, mean, inverse, added, z, z16):
    """``z = (x[index] - mean) * inverse``, plus ``added`` if it has rows, and the same rounded to bfloat16."""
    for i in range(lo, hi):
        row, out, half = x[index[i]], z[i], z16[i]
        for j in range(out.size):
            out[j] = (row[j] - mean[j]) * inverse
        if added.shape[0] > 0:
            for j in range(out.size):
                out[j] += added[i, j]
        for j in range(out.size):
            half[j] = bfloat16(out[j])


@njit(**JIT)
def block_maxima(lo, hi, pre, bias, maxima, top):
    """``maxima[i, b]``: largest of ``pre[i] + bias`` over the features ``b, b + B, b + 2B ...``; ``top[i]``: of all."""
    m, n_blocks = bias.size, maxima.shape[1]
    for i in range(lo, hi):
        out = maxima[i]
        for j in range(n_blocks):
            out[j] = _screened(pre, i, j) + bias[j]
        for start in range(n_blocks, m, n_blocks):
            for j in range(min(n_blocks, m - start)):
                out[j] = max(out[j], _screened(pre, i, start + j) + bias[start + j])
        best = out[0]
        for j in range(n_blocks):
            best = max(best, out[j])
        top[i] = best


@njit(**JIT)
def histogram(lo, hi, values, scale, counts):
    """Add to ``counts`` the positive values of rows ``lo..hi``, in bins of width ``1 / scale``."""
    last = counts.size - 1
    for i in range(lo, hi):
        row = values[i]
        for j in range(row.size):
            if row[j] > 0:
                counts[min(last, int(row[j] * scale))] += 1


@njit(**JIT)
def kth_largest(values, count):
    """The ``count``-th largest (from 1) of ``values``, which are reordered (Hoare's quickselect)."""
    lo, hi, want = 0, values.size - 1, count - 1
    while lo < hi:
        a, b, c = values[lo], values[(lo + hi) // 2], values[hi]
        pivot = max(min(a, b), min(max(a, b), c))
        i, j = lo, hi
        while i <= j:
            while values[i] > pivot:
                i += 1
            while values[j] < pivot:
                j -= 1
            if i <= j:
                values[i], values[j] = values[j], values[i]
                i += 1
                j -= 1
        if want <= j:
            hi = j
        elif want >= i:
            lo = i
        else:
            break
    return values[want]


@njit(**JIT)
def row_cuts(lo, hi, maxima, k, slack, cut):
    """``cut[i]``: just below the k-th largest block maximum of the row, which at least k of its features reach."""
    buffer = np.empty(maxima.shape[1], np.float32)
    for i in range(lo, hi):
        for j in range(buffer.size):
            buffer[j] = maxima[i, j]
        cut[i] = max(np.float32(0), kth_largest(buffer, k) * (np.float32(1) - slack))


@njit(**JIT)
def count_room(lo, hi, maxima, cut, block, room):
    """``room[i]``: the most features of the row that can lie above ``cut[i]``."""
    for i in range(lo, hi):
        found = 0
        for b in range(maxima.shape[1]):
            found += maxima[i, b] > cut[i]
        room[i] = found * block


@njit(**JIT)
def list_candidates(lo, hi, pre, bias, maxima, cut, starts, counts, feature, value, mark, stamp):
    """From ``starts[i]`` on, list the ``counts[i]`` features of the row above ``cut[i]`` and mark them."""
    m, n_blocks = bias.size, maxima.shape[1]
    for i in range(lo, hi):
        p, least = starts[i], cut[i]
        for b in range(n_blocks):
            if maxima[i, b] > least:
                for j in range(b, m, n_blocks):
                    v = _screened(pre, i, j) + bias[j]
                    if v > least:
                        feature[p] = j
                        value[p] = v
                        mark[j] = stamp
                        p += 1
        counts[i] = p - starts[i]


@njit(**JIT)
def recompute(lo, hi, z, W_enc, bias, cut, starts, counts, feature, value, error):
    """Replace screened values by exact ones; ``error[i]``: by how much one just above the cut was too low at most."""
    d = z.shape[1]
    for i in range(lo, hi):
        row, p = z[i], starts[i] + counts[i]
        worst, near = np.float32(0), np.float32(1.25) * cut[i]
        a = starts[i]
        while a < p:
            # Four at a time: the row is read once for four features. The last group may repeat a feature.
            last = p - 1
            f0, f1 = feature[a], feature[min(a + 1, last)]
            f2, f3 = feature[min(a + 2, last)], feature[min(a + 3, last)]
            w0, w1, w2, w3 = W_enc[f0], W_enc[f1], W_enc[f2], W_enc[f3]
            s0 = s1 = s2 = s3 = np.float32(0)
            for j in range(d):
                s0 += row[j] * w0[j]
                s1 += row[j] * w1[j]
                s2 += row[j] * w2[j]
                s3 += row[j] * w3[j]
            exact = (s0 + bias[f0], s1 + bias[f1], s2 + bias[f2], s3 + bias[f3])
            for q in range(min(4, p - a)):
                if value[a + q] < near:
                    worst = max(worst, exact[q] - value[a + q])
                value[a + q] = exact[q]
            a += 4
        error[i] = worst


@njit(**JIT)
def _kth_of_many(values, count):
    """The ``count``-th largest of ``values``, left in order: a histogram first, then the one bin it lies in."""
    if values.size < 4096:
        copy = np.empty(values.size, np.float32)
        for i in range(values.size):
            copy[i] = values[i]
        return kth_largest(copy, count)
    low = high = values[0]
    for v in values:
        low, high = min(low, v), max(high, v)
    if not high > low:
        return low
    bins = 2048
    scale = np.float32(bins) / (high - low)
    counts = np.zeros(bins, np.int64)
    for v in values:
        counts[min(bins - 1, int((v - low) * scale))] += 1
    bin_, above = bins - 1, 0
    while above + counts[bin_] < count:
        above += counts[bin_]
        bin_ -= 1
    inside = np.empty(counts[bin_], np.float32)
    p = 0
    for v in values:
        if min(bins - 1, int((v - low) * scale)) == bin_:
            inside[p] = v
            p += 1
    return kth_largest(inside, count - above)


@njit(**JIT)
def keep_largest(lo, hi, rows_per_group, starts, counts, count, value, threshold):
    """In each group of rows keep the ``count`` largest candidates; the others become -1. Earlier ties win."""
    for group in range(lo, hi):
        first, last = group * rows_per_group, (group + 1) * rows_per_group
        total = 0
        for i in range(first, last):
            total += counts[i]
        threshold[group] = 0
        if total <= count:
            continue
        together = np.empty(total, np.float32)
        p = 0
        for i in range(first, last):
            for a in range(starts[i], starts[i] + counts[i]):
                together[p] = value[a]
                p += 1
        least = _kth_of_many(together, count)
        threshold[group] = least
        above = 0
        for v in together:
            above += v > least
        ties = count - above
        for i in range(first, last):
            for a in range(starts[i], starts[i] + counts[i]):
                if value[a] < least:
                    value[a] = -1
                elif value[a] == least:
                    if ties <= 0:
                        value[a] = -1
                    ties -= 1
