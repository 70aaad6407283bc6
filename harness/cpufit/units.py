"""Numbers as people read them. Nothing here rounds a stored value."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

KIB = 1024
MIB = 1024**2
GIB = 1024**3
GB = 1000**3
MB = 1000**2
NS_PER_MS = 1_000_000
NS_PER_S = 1_000_000_000
TOO_SMALL = "n too small"
_HARDLY_KNOWN = 1.0  # half an interval, as a share


def significant(value: float, digits: int = 3) -> str:
    """Format with `digits` significant figures and no exponent: 0.01234 -> '0.0123'."""
    if not math.isfinite(value):
        return str(value)
    # This way of writing it knows of rounding that carries into the next decade: 9.999 -> 10.0.
    return _without_exponent(f"{value:.{digits - 1}e}") if value else "0"


@lru_cache(maxsize=10_000)  # a long table has hundreds of thousands of figures, few different ones
def _without_exponent(text: str) -> str:
    """Return '12,300' of '1.23e+04'."""
    mantissa, _, power = text.partition("e")
    places = len(mantissa.partition(".")[2]) - int(power)
    return f"{float(text):,.{max(places, 0)}f}"


def amount(value: float, unit: str) -> str:
    """Format what a series holds: nanoseconds ('ns') as a duration, joules ('j') as '0.513 J'."""
    return duration(value) if unit == "ns" else f"{significant(value)} J"


def duration(ns: float) -> str:
    """Format nanoseconds in the unit a reader expects: '870 us', '7.42 ms', '1.30 s'."""
    for limit, divisor, unit in ((1e6, 1e3, "us"), (1e9, 1e6, "ms")):
        if abs(ns) < limit:
            return f"{significant(ns / divisor)} {unit}"
    return f"{significant(ns / 1e9)} s"


def size(count: float) -> str:
    """Format bytes in decimal units, as disks and model files are sold: '4.37 GB'."""
    for limit, divisor, unit in ((1e3, 1, "B"), (1e6, 1e3, "kB"), (1e9, 1e6, "MB")):
        if abs(count) < limit:
            return f"{significant(count / divisor)} {unit}"
    return f"{significant(count / 1e9)} GB"


def counted(number: float, noun: str) -> str:
    """Return '1 cell', '1,200 cells', '3 processes', '0.5 cores'."""
    ending = "" if number == 1 else "es" if noun.endswith("s") else "s"
    shown = f"{number:,}" if isinstance(number, int) else f"{number:g}"
    return f"{shown} {noun}{ending}"


def count(value: int) -> str:
    """Format a parameter or MAC count: '1.10 G', '66.4 M'."""
    for limit, divisor, unit in ((1e3, 1, ""), (1e6, 1e3, " k"), (1e9, 1e6, " M")):
        if abs(value) < limit:
            return f"{significant(value / divisor)}{unit}"
    return f"{significant(value / 1e9)} G"


def clock(seconds: float) -> str:
    """Format a waiting time: '0:42', '12:05', '1:02:03'."""
    whole = round(seconds)
    hours, minutes, rest = whole // 3600, whole % 3600 // 60, whole % 60
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def listed(words: Sequence[str], last: str = "and") -> str:
    """Return '10, 15 and 30' of '10', '15', '30'; '' of nothing."""
    return f" {last} ".join(filter(None, (", ".join(words[:-1]), *words[-1:])))


def cosine(value: float) -> str:
    """Format with four places, rounded down so that no figure looks better than a limit."""
    return f"{math.floor(value * 10_000) / 10_000:.4f}"


def plus_minus(share: float) -> str:
    """Format half an interval, a share of its value: ' ±3%'; '' where it is without end."""
    if share > _HARDLY_KNOWN:
        return " ±100% or more" if math.isfinite(share) else ""
    return f" ±{significant(100 * share, 2)}%"
