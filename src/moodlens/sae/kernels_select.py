"""Compiled loops that choose the active codes: each works on a range ``lo..hi`` and lets other threads run.

Shapes: ``n`` rows, ``d`` = d_in, ``m`` = d_sae. Features are screened in chunks of at most ``width``, each on its own, so
candidates lie in ``(chunks, n, width)`` arrays. A *pair* is an active (row, feature).

No index ever comes from a float, and no list has less room than there are features to list: a NaN gives wrong codes,
never a wrong address. Floats that are not negative are in the order of their bits, so they are ranked as integers.
"""

from typing import NamedTuple

import numpy as np
from numba import types
from numba.extending import overload

from moodlens.core.compiled import compiled, part

ONE, BYTES = np.uint64(1), np.uint64(0x0101010101010101)


class Lists(NamedTuple):
    """Candidates: those of row i in chunk c are the first ``counts[c, i]`` of ``feature[c, i]`` and ``value[c, i]``."""

    counts: np.ndarray  # (chunks, n) int64
    feature: np.ndarray  # (chunks, n, width) int32, rising
    value: np.ndarray  # (chunks, n, width) float32


class Pairs(NamedTuple):
    """Pairs of row and feature: those of row i lie at ``starts[i] .. starts[i + 1]``, features rising, values above 0."""

    starts: np.ndarray  # (n + 1,) int64
    feature: np.ndarray  # int32
    value: np.ndarray  # float32


def _screened(row, j):  # pragma: no cover - replaced below when compiled
    raise NotImplementedError


@overload(_screened)
def _screened_of(row, j):
    # numba knows no bfloat16: it is the upper half of a float32.
    if row.dtype == types.uint16:
        return lambda row, j: np.uint32(np.uint32(row[j]) << np.uint32(16)).view(np.float32)
    return lambda row, j: row[j]


@part
def bfloat16(x):
    """``x`` rounded to the nearest bfloat16, as uint16."""
    bits = np.float32(x).view(np.uint32)
    even = np.uint32(bits >> np.uint32(16)) & np.uint32(1)
    return np.uint16(np.uint32(bits + np.uint32(0x7FFF) + even) >> np.uint32(16))


@compiled
def standardise(lo, hi, x, index, mean, inverse, added, values, half):
    """``values = (x[index] - mean) * inverse``, plus ``added`` if it has rows, and the same in bfloat16 if ``half`` has."""
    for i in range(lo, hi):
        row, out = x[index[i]], values[i]
        for j in range(out.size):
            out[j] = (row[j] - mean[j]) * inverse
        if added.shape[0] > 0:
            more = added[i]
            for j in range(out.size):
                out[j] += more[j]
        if half.shape[0] > 0:
            rounded = half[i]
            for j in range(out.size):
                rounded[j] = bfloat16(out[j])


@compiled
def block_maxima(lo, hi, pre, bias, maxima):
    """``maxima[i, b]``: the largest of ``pre[i] + bias`` over the features ``b, b + B, b + 2B ...``, but at least 0."""
    blocks = maxima.shape[1]
    for i in range(lo, hi):
        out, row = maxima[i], pre[i]
        out[:] = 0
        for start in range(0, bias.size, blocks):
            part, its_bias = row[start : start + blocks], bias[start : start + blocks]
            for j in range(part.size):
                out[j] = max(out[j], _screened(part, j) + its_bias[j])


@part
def _kth_largest_bits(bits, count):
    """The ``count``-th largest (from 1) of int32 ``bits``, which are reordered (Hoare's quickselect)."""
    lo, hi, want = 0, bits.size - 1, count - 1
    while lo < hi:
        a, b, c = bits[lo], bits[(lo + hi) // 2], bits[hi]
        pivot = max(min(a, b), min(max(a, b), c))
        i, j = lo, hi
        while i <= j:
            while bits[i] > pivot:
                i += 1
            while bits[j] < pivot:
                j -= 1
            if i <= j:
                bits[i], bits[j] = bits[j], bits[i]
                i += 1
                j -= 1
        if want <= j:
            hi = j
        elif want >= i:
            lo = i
        else:
            break
    return bits[want]


@part
def kth_largest(values, count):
    """The ``count``-th largest (from 1, at most ``values.size``) of float32 ``values``; what is not above 0 counts as 0.

    Many are first counted by their upper bits; only those that share the wanted ones are ranked.
    """
    shift = np.int32(16)  # leaves exponent and 7 bits of the mantissa
    bits = np.empty(values.size, np.int32)
    for i in range(values.size):
        v = np.float32(values[i])
        bits[i] = v.view(np.int32) if v > 0 else np.int32(0)
    if values.size < 4096:
        return np.int32(_kth_largest_bits(bits, count)).view(np.float32)
    counts = np.zeros(1 << 15, np.int32)
    for b in bits:
        counts[b >> shift] += 1
    bin_, above = counts.size - 1, 0
    while above + counts[bin_] < count:
        above += counts[bin_]
        bin_ -= 1
    inside = np.empty(counts[bin_], np.int32)
    p = 0
    for b in bits:
        if b >> shift == bin_:
            inside[p] = b
            p += 1
    return np.int32(_kth_largest_bits(inside, count - above)).view(np.float32)


@compiled
def row_bounds(lo, hi, maxima, k, bound):
    """``bound[i]``: the k-th largest block maximum of row i, over all chunks, which k of its features reach."""
    chunks, _, blocks = maxima.shape
    together = np.empty(chunks * blocks, np.float32)
    for i in range(lo, hi):
        for c in range(chunks):
            together[c * blocks : (c + 1) * blocks] = maxima[c, i]
        bound[i] = kth_largest(together, k)


@compiled
def list_candidates(lo, hi, pre, bias, first, cut, counts, feature, value, mark, stamp):
    """List the features of each row that lie above ``cut[i]``, and mark them; the chunk's own begin at ``first``."""
    width = bias.size
    above = np.zeros((width + 7) // 8 * 8, np.uint8)
    eights = above.view(np.uint64)
    for i in range(lo, hi):
        row, least, names, values = pre[i], cut[i], feature[i], value[i]
        for j in range(width):
            above[j] = _screened(row, j) + bias[j] > least
        p = 0
        for eight in range(eights.size):
            left = eights[eight]
            while left != 0:
                lowest = left & (~left + ONE)
                # Each lower byte holds 1 once: their number, by a product, is the place of this one.
                j = 8 * eight + np.int64((((lowest - ONE) & BYTES) * BYTES) >> np.uint64(56))
                names[p] = first + j
                values[p] = _screened(row, j) + bias[j]
                p += 1
                left ^= lowest
        for a in range(p):
            mark[names[a]] = stamp
        counts[i] = p


@compiled
def recompute(lo, hi, z, W_enc, bias, first, cut, counts, feature, value, error):
    """Replace screened values by exact ones; ``error[i]``: by how much one just above the cut was too low at most."""
    d = z.shape[1]
    for i in range(lo, hi):
        row, names, values = z[i], feature[i], value[i]
        worst, near = np.float32(0), np.float32(1.25) * cut[i]
        last = counts[i] - 1
        for a in range(0, counts[i], 4):
            # Four at a time: the row is read once for four features. The last group may repeat a feature.
            f0, f1 = names[a] - first, names[min(a + 1, last)] - first
            f2, f3 = names[min(a + 2, last)] - first, names[min(a + 3, last)] - first
            w0, w1, w2, w3 = W_enc[f0], W_enc[f1], W_enc[f2], W_enc[f3]
            s0 = s1 = s2 = s3 = np.float32(0)
            for j in range(d):
                s0 += row[j] * w0[j]
                s1 += row[j] * w1[j]
                s2 += row[j] * w2[j]
                s3 += row[j] * w3[j]
            exact = (s0 + bias[f0], s1 + bias[f1], s2 + bias[f2], s3 + bias[f3])
            for q in range(min(4, last + 1 - a)):
                if values[a + q] < near:
                    worst = max(worst, exact[q] - values[a + q])
                values[a + q] = exact[q]
        error[i] = worst


@compiled
def keep_largest(lo, hi, rows_per_group, lists, count, threshold):
    """In each group of rows keep the ``count`` largest candidates above 0; of equal ones the earlier.

    ``threshold`` becomes the least that is kept, or 0 if there were no more than ``count``.
    """
    counts, feature, value = lists
    chunks = counts.shape[0]
    for group in range(lo, hi):
        rows = range(group * rows_per_group, (group + 1) * rows_per_group)
        total = 0
        for i in rows:
            for c in range(chunks):
                total += counts[c, i]
        least, ties = np.float32(0), 0
        if total > count:
            together = np.empty(total, np.float32)
            p = 0
            for i in rows:
                for c in range(chunks):
                    for a in range(counts[c, i]):
                        together[p] = value[c, i, a]
                        p += 1
            least = kth_largest(together, count)
            ties = count
            for v in together:
                ties -= v > least
        threshold[group] = least
        for i in rows:
            for c in range(chunks):
                names, values = feature[c, i], value[c, i]
                p = 0
                for a in range(counts[c, i]):
                    v = values[a]
                    equal = v == least
                    if v > least or (equal and ties > 0 and v > 0):
                        names[p], values[p] = names[a], v
                        p += 1
                        ties -= equal
                counts[c, i] = p


@compiled
def join(lo, hi, lists, pairs):
    """Write the lists of all chunks one after another; ``pairs.starts`` says where."""
    counts, feature, value = lists
    for i in range(lo, hi):
        p = pairs.starts[i]
        for c in range(counts.shape[0]):
            for a in range(counts[c, i]):
                pairs.feature[p] = feature[c, i, a]
                pairs.value[p] = value[c, i, a]
                p += 1
