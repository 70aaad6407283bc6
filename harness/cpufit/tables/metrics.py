"""What a table can show: 'ttft@128', 'latency-p90', 'tokens/s', 'memory', ..."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from cpufit import units
from cpufit.errors import UsageError, unknown
from cpufit.quantities import QUANTITIES, quantity

if TYPE_CHECKING:
    from collections.abc import Callable

Kind = Literal["median", "rate", "memory", "file", "load", "cosine"]

_MEDIANS = tuple(q.name for q in QUANTITIES if q.unit == "ns" and not q.flow)
RATES = {
    name: tuple(q.name for q in QUANTITIES if q.rate == name)
    for name in dict.fromkeys(q.rate for q in QUANTITIES if q.rate)
}
_JOULES = {
    "energy": ("energy", "energy_tpot"),
    "energy_ttft": ("energy_ttft",),
    "energy_tpot": ("energy_tpot",),
}
_OTHERS: dict[str, tuple[Kind, str]] = {
    "memory": ("memory", "peak memory"),
    "file": ("file", "file"),
    "load": ("load", "load"),
    "cosine": ("cosine", "cosine to fp32"),
}
SIZED = {q.name for q in QUANTITIES if q.sized == "tokens"}  # by the length of their prompt
NAMES = (*_MEDIANS, *RATES, *_JOULES, *_OTHERS)
COLUMNS: dict[Kind, tuple[str, ...]] = {
    "median": ("series",),
    "rate": ("series",),
    "memory": ("memory.peak_bytes",),
    "file": ("artifact.size_bytes",),
    "load": ("load_ns",),
    "cosine": ("numerics.cosine",),
}
_FORM = re.compile(r"(.+?)(?:-p(90|95|99))?(?:@([0-9]+))?")


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A figure that is shown of each cell."""

    name: str
    kind: Kind
    series: tuple[str, ...] = ()  # whichever of these a cell has
    share: float = 0.5  # the percentile of a median's kin
    size: int | None = None  # tokens of the prompt; None: does not apply, or not chosen

    @property
    def sized(self) -> bool:
        """Whether it depends on a prompt's length."""
        return self.name in SIZED

    @property
    def full_name(self) -> str:
        """Its name with the percentile and size that were taken: 'ttft-p90@128'."""
        share = "" if self.share == 0.5 else f"-p{self.share * 100:.0f}"
        return self.name + share + ("" if self.size is None else f"@{self.size}")

    @property
    def exact(self) -> bool:
        """Whether it is no matter of chance, so that one process is enough."""
        return self.kind in ("memory", "file", "cosine")

    @property
    def more_is_better(self) -> bool:
        """Whether the largest is the best."""
        return self.kind in ("rate", "cosine")

    @property
    def title(self) -> str:
        """What a person calls it: 'TTFT at 128 tokens, p90'."""
        if self.kind == "rate":
            words = quantity(self.series[0]).rate_title
        elif self.kind == "median":
            words = quantity(self.series[0]).label
        else:
            words = _OTHERS[self.name][1]
        if self.size is not None:
            words += f" at {self.size} tokens"
        if self.kind == "median":
            words += f", {'median' if self.share == 0.5 else f'p{self.share * 100:.0f}'}"
        return words[0].upper() + words[1:]

    @property
    def unit(self) -> str:
        """Of the bare numbers: 'ns', 'j', '1/s', 'bytes' or '1'."""
        if self.kind in ("rate", "cosine"):
            return "1/s" if self.kind == "rate" else "1"
        if self.kind in ("memory", "file"):
            return "bytes"
        return "j" if self.name in _JOULES else "ns"

    def words(self, value: float, series: str) -> str:
        """Return a value as the report writes it, taken from that series."""
        if self.kind == "rate":
            return f"{units.significant(value)} {quantity(series).per_second}"
        if self.unit in _WRITTEN:
            return _WRITTEN[self.unit](value)
        return units.amount(value, self.unit)


_WRITTEN: dict[str, Callable[[float], str]] = {"bytes": units.size, "1": units.cosine}


def parse(text: str) -> Metric:
    """Return the metric of that name; raise UsageError where there is none."""
    found = _FORM.fullmatch(text)
    name, share, size = found.groups() if found else (text, None, None)
    if name not in NAMES:
        raise unknown("metric", text, NAMES)
    kind = _kind(name)
    if share and kind != "median":
        raise UsageError(f"{name} has no percentiles", f"give --metric {name}")
    if size and name not in SIZED:
        raise UsageError(f"{name} has no prompt length", f"give --metric {name}")
    series = RATES.get(name) or _JOULES.get(name) or ((name,) if kind == "median" else ())
    return Metric(
        name=name,
        kind=kind,
        series=series,
        share=int(share) / 100 if share else 0.5,
        size=int(size) if size else None,
    )


def _kind(name: str) -> Kind:
    if name in RATES:
        return "rate"
    return _OTHERS[name][0] if name in _OTHERS else "median"
