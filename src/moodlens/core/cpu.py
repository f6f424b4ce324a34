"""What this processor does fast, asked once, in one place. ``embed``, ``sae`` and ``moodlens doctor`` all ask here.

- :func:`capability`: the vectors that torch's own loops use, as torch names them in small letters.
- :func:`packs_bfloat16`: whether oneDNN takes bfloat16 weights at all (``mkldnn._reorder_linear_weight``).
- :func:`has_fast_bfloat16`: whether bfloat16 products are faster than float32 ones; then they can be packed, too.
- :func:`keeps_kernels`: whether compiled kernels can be kept for the next run.

All follow the variables that torch and oneDNN follow (``ATEN_CPU_CAPABILITY``, ``ONEDNN_MAX_CPU_ISA``), so that one
machine can be tried as a lesser one. Answers are kept for the life of the process.
"""

import os
from functools import cache
from typing import Any


@cache
def capability() -> str:
    """The widest vectors that torch uses: ``avx512``, ``avx2``, ``default`` or what another architecture has."""
    import torch

    return torch.backends.cpu.get_cpu_capability().lower()


@cache
def packs_bfloat16() -> bool:
    """Whether oneDNN multiplies bfloat16 here; where it does not, packing such weights is a RuntimeError of torch."""
    import torch

    probe: Any = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", None)
    return torch.backends.mkldnn.is_available() and probe is not None and bool(probe())


@cache
def has_fast_bfloat16() -> bool:
    """Whether bfloat16 products are native (AVX512-BF16 or AMX); emulated ones are slower than float32."""
    import torch

    probes = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    native = any(getattr(torch.cpu, name, lambda: False)() for name in probes)
    return (
        native
        and capability() == "avx512"
        and packs_bfloat16()
        and _onednn_may("BF16", "FP16", "AMX", "AVX10")
    )


def _onednn_may(*wanted: str) -> bool:
    """Whether oneDNN's limit, if one is set, leaves one of these instruction sets."""
    limit = os.environ.get("ONEDNN_MAX_CPU_ISA") or os.environ.get("DNNL_MAX_CPU_ISA") or "DEFAULT"
    return any(name in limit.upper() for name in ("DEFAULT", "ALL", *wanted))


@cache
def keeps_kernels() -> bool:
    """Whether numba finds a folder to keep compiled kernels in: beside the modules, or under the user's home.

    Where it finds none, as in a read-only installation without a home, asking it to is a RuntimeError of numba.
    """
    from numba import njit

    try:
        njit(cache=True)(lambda: None)
    except RuntimeError:
        return False
    return True
