"""What this processor does fast, asked once, in one place. ``embed``, ``sae`` and ``moodlens doctor`` all ask here.

- :func:`capability`: the vectors that torch's own loops use, as torch names them in small letters.
- :func:`packs_bfloat16`: whether oneDNN takes bfloat16 weights at all (``mkldnn._reorder_linear_weight``).
- :func:`has_fast_bfloat16`: whether bfloat16 products are faster than float32 ones; then they can be packed, too.
- :func:`linear`: a float32 product at the processor's own speed.

All follow the variables that torch and oneDNN follow (``ATEN_CPU_CAPABILITY``, ``ONEDNN_MAX_CPU_ISA``), so that one
machine can be tried as a lesser one. Answers are kept for the life of the process.
"""

import os
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


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
        and capability() not in ("avx2", "default")
        and packs_bfloat16()
        and _onednn_may("BF16", "FP16", "AMX", "AVX10")
    )


@cache
def _onednn_linear() -> Any:
    import torch

    return (
        getattr(torch.ops.mkldnn, "_linear_pointwise", None) if torch.backends.mkldnn.is_available() else None
    )


def linear(x: "Tensor", weight: "Tensor", bias: "Tensor | None" = None) -> "Tensor":
    """``x @ weight.T + bias`` in float32, without gradients; ``(n, k)``, ``(m, k)`` and ``(m,)``, on the CPU.

    torch's own products go to MKL, which gives other makers' processors less than they have (on Zen 5 oneDNN multiplies
    2.3 times as fast with AVX-512, and 1.2 times with AVX2), and whose last bits depend on how many threads there are.
    """
    import torch

    onednn = _onednn_linear()
    if onednn is None or x.numel() == 0:
        return torch.nn.functional.linear(x, weight, bias)
    return onednn(x, weight, bias, "none", [], "")


def _onednn_may(*wanted: str) -> bool:
    """Whether oneDNN's limit, if one is set, leaves one of these instruction sets."""
    limit = os.environ.get("ONEDNN_MAX_CPU_ISA") or os.environ.get("DNNL_MAX_CPU_ISA") or "DEFAULT"
    return any(name in limit.upper() for name in ("DEFAULT", "ALL", *wanted))
