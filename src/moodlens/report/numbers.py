"""How numbers are written: as many digits as they are worth, and a dash where there is none."""

import math
from collections.abc import Callable
from typing import Any

NONE = "–"


def number(value: Any, digits: int = 3) -> str:
    """``0.8312`` as ``0.831``, ``1234`` as ``1,234``, tiny ones in powers of ten, None and NaN as a dash."""
    if value is None:
        return NONE
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str):
        return value
    value = float(value)
    if math.isnan(value):
        return NONE
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    if value == int(value) and abs(value) < 1e9:
        return f"{int(value):,}"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    if abs(value) < 10 ** (1 - digits):
        return f"{value:.2g}" if abs(value) >= 1e-4 else f"{value:.1e}"
    return f"{value:.{digits}f}" if abs(value) < 10 else f"{value:.1f}"


def p_value(p: Any) -> str:
    """A p or q value: ``< 0.0001`` rather than a false zero."""
    if p is None or math.isnan(float(p)):
        return NONE
    return "< 0.0001" if p < 1e-4 else f"{p:.4f}" if p < 0.01 else f"{p:.3f}"


def percent(share: Any, digits: int = 0) -> str:
    """A share as a percentage."""
    if share is None or math.isnan(float(share)):
        return NONE
    return f"{share:.{digits}%}"


def interval(ci: Any, form: Callable[[Any], str] = number) -> str:
    """``[low, high]`` of a 95 % interval, each written by ``form``."""
    ends = [NONE] if ci is None else [form(end) for end in ci]
    return NONE if NONE in ends else f"[{', '.join(ends)}]"


def times(ratio: Any) -> str:
    """A ratio, ``2.4x``."""
    return NONE if ratio is None or math.isnan(float(ratio)) else f"{ratio:.1f}×"


def quantile(share: float) -> str:
    """``0.99`` as ``99th percentile``."""
    percentile = f"{100 * share:g}"
    ending = {"1": "st", "2": "nd", "3": "rd"}.get(percentile[-1], "th")
    return f"{percentile}{'th' if percentile[-2:] in ('11', '12', '13') else ending} percentile"
