"""Limits of a test: what a model may take, what it took, and whether it is surely more. Pure.

A limit on time is held against what the report's 500 ms are held against: the 90th percentile of
requests, by Student's bound over fresh processes at 99 % confidence. Only what is surely over
fails: a test must not fail by chance. Only what is surely under passes without a word.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import inf
from typing import TYPE_CHECKING, Literal

from cpufit import units
from cpufit.errors import UsageError, unknown
from cpufit.schema import Level
from cpufit.sizes import parse_size
from cpufit.stats import intervals

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from cpufit.analysis import Row
    from cpufit.schema import Levels, Series, Task, Verdict
    from cpufit.stats.intervals import Bound

Quantity = Literal[
    "latency_ms", "ttft_ms", "tpot_ms", "tokens_per_s", "load_ms", "rss_bytes", "size_bytes"
]
# What a test may say, and which quantity that limits. 'min' is a floor, all others are ceilings.
LIMITS: Mapping[str, Quantity] = {
    "max_latency_ms": "latency_ms",
    "max_ttft_ms": "ttft_ms",
    "max_tpot_ms": "tpot_ms",
    "min_tokens_per_s": "tokens_per_s",
    "max_load_ms": "load_ms",
    "max_rss": "rss_bytes",
    "max_size": "size_bytes",
}
_WRITING: tuple[Quantity, ...] = ("ttft_ms", "tpot_ms", "tokens_per_s")
_MOST = 1e15  # of any unit; more is no limit
_BYTES: tuple[Quantity, ...] = ("rss_bytes", "size_bytes")


@dataclass(frozen=True, kw_only=True)
class Limit:
    """One limit of a test."""

    name: str  # as the test says it: 'max_ttft_ms'
    value: float  # in the quantity's unit: ms, tokens per second or bytes

    @property
    def quantity(self) -> Quantity:
        """What it limits."""
        return LIMITS[self.name]

    @property
    def is_floor(self) -> bool:
        """Whether more is better."""
        return self.name.startswith("min_")

    @property
    def words(self) -> str:
        """The limit as a person writes it."""
        return in_words(self.quantity, self.value)


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What one quantity came to, in ms, tokens per second or bytes.

    `low` and `high` are its interval at 99 % confidence, of what further processes would give. Of
    bytes they are the least and the most that a process took.
    """

    quantity: Quantity
    label: str
    value: float
    low: float
    high: float
    processes: int

    @property
    def words(self) -> str:
        """Label, value and interval: 'latency (p90) 7.42 ms (6.90 ms to 8.11 ms, 99 % ...)'."""
        value = in_words(self.quantity, self.value)
        if self.quantity in _BYTES:
            return f"{self.label} {value}"
        low, high = (in_words(self.quantity, bound) for bound in (self.low, self.high))
        known = f"{low} to {high}" if self.high < inf else f"{low} or more"
        count = units.counted(self.processes, "process")
        return f"{self.label} {value} ({known} at 99 % confidence, {count})"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A limit held against a reading."""

    cell: str
    limit: Limit
    reading: Reading
    verdict: Verdict  # 'over' is on the wrong side of the limit, of a floor as well
    slowdown: float  # how many times slower a disturbance can have made it; 1 for none

    @property
    def words(self) -> str:
        """One line: what was measured, the limit, and how sure it is."""
        bound = "at least" if self.limit.is_floor else "at most"
        text = f"{self.cell}: {self.reading.words}, {self.limit.name} asks for {bound} "
        text += self.limit.words
        if self.verdict == "over":
            return f"{text}: surely missed, {self._ratio} times the limit"
        if self.slowdown > 1:
            slower = units.significant(self.slowdown, 2)
            return f"{text}: undecided, other work may have made it {slower} times slower"
        return f"{text}: undecided, a longer --cpufit-budget would tell more"

    @property
    def _ratio(self) -> str:
        return units.significant(self.reading.value / self.limit.value, 2)


def parse(words: Mapping[str, object]) -> tuple[Limit, ...]:
    """Read a test's limits; raise UsageError for a name or a value that makes no sense."""
    found = []
    for name, value in words.items():
        if name not in LIMITS:
            raise unknown("limit", name, LIMITS)
        if LIMITS[name] in _BYTES and isinstance(value, str):
            value = parse_size(value, name)  # noqa: PLW2901 - the same, in bytes
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < _MOST:
            example = "'2GB'" if LIMITS[name] in _BYTES else "a number above 0"
            raise UsageError(f"{name}={value!r} is not a limit", f"give {example}")
        found.append(Limit(name=name, value=float(value)))
    return tuple(found)


def check_task(limits: Iterable[Limit], task: Task, model: str) -> None:
    """Raise UsageError for a limit on what such a model does not do."""
    for limit in limits:
        if limit.quantity in _WRITING and task == "infer":
            raise UsageError(f"{limit.name}: {model} writes no tokens", "give max_latency_ms")
        if limit.quantity == "latency_ms" and task != "infer":
            remedy = "give max_ttft_ms, max_tpot_ms or min_tokens_per_s"
            raise UsageError(f"{limit.name}: {model} writes token by token", remedy)


def levels(limits: Iterable[Limit], general: Levels) -> Levels:
    """Return what measuring goes on for until it is clear: these limits, instead of 500 ms."""
    found: dict[Quantity, float] = {}
    for limit in limits:
        found[limit.quantity] = min(limit.value, found.get(limit.quantity, limit.value))
    rate = found.get("tokens_per_s")
    tokens_ms = [ms for ms in (found.get("tpot_ms"), rate and 1000 / rate) if ms]
    most_ms = {
        "latency": found.get("latency_ms"),
        "ttft": found.get("ttft_ms"),
        "tpot": min(tokens_ms, default=None),
    }
    return replace(
        general,
        levels=tuple(
            Level(name="test", limit=name, most_ns=ms * units.NS_PER_MS)
            for name, ms in most_ms.items()
            if ms
        ),
    )


def readings(rows: Iterable[Row], general: Levels) -> dict[Quantity, Reading]:
    """Return every quantity that the rows of one model tell."""
    found: dict[Quantity, Reading] = {}
    for row in rows:
        if row.record.cell.scenario == "memory":
            peaks = [r.outcome.memory.peak_bytes for r in row.used if r.outcome.memory]
            found["rss_bytes"] = _bytes("rss_bytes", "peak RSS", peaks)
        else:
            found |= _times(row, general)
        if row.record.artifact:
            sizes = [row.record.artifact.size_bytes]
            found["size_bytes"] = _bytes("size_bytes", "model size", sizes)
    return found


def hold(
    cell: str, limits: Iterable[Limit], found: Mapping[Quantity, Reading], slowdown: float
) -> list[Finding]:
    """Hold each limit against what was measured."""
    return [
        Finding(
            cell=cell,
            limit=limit,
            reading=found[limit.quantity],
            verdict=_verdict(found[limit.quantity], limit, slowdown),
            slowdown=slowdown,
        )
        for limit in limits
    ]


def in_words(quantity: Quantity, value: float) -> str:
    """Format a value with its unit: '7.42 ms', '12.0 tokens/s', '1.20 GB'."""
    if quantity in _BYTES:
        return units.size(value)
    if quantity == "tokens_per_s":
        return f"{units.significant(value)} tokens/s"
    return units.duration(value * units.NS_PER_MS)


def _verdict(reading: Reading, limit: Limit, slowdown: float) -> Verdict:
    if reading.quantity in _BYTES:  # every process takes about the same
        return "under" if reading.value <= limit.value else "over"
    if limit.is_floor:  # turned round into the time of an item, which verdicts are about
        turned = intervals.Bound(
            centre=1 / reading.value, low=1 / reading.high, high=_inverse(reading.low)
        )
        return turned.against(1 / limit.value, slowdown)
    found = intervals.Bound(centre=reading.value, low=reading.low, high=reading.high)
    return found.against(limit.value, slowdown)


def _inverse(value: float) -> float:
    return 1 / value if value else float("inf")


def _times(row: Row, general: Levels) -> dict[Quantity, Reading]:
    def rate(series: Series) -> float:
        return series.items * len(series.values) * units.NS_PER_S / sum(series.values)

    share = f"p{100 * general.percentile:g}"
    loads = [process.outcome.load_ns / units.NS_PER_MS for process in row.used]
    rates = [rate(series) for series in _series(row, "tpot")]
    named: tuple[tuple[Quantity, str, Bound | None, int], ...] = (
        ("latency_ms", f"latency ({share})", *_tail(row, "latency", general)),
        ("ttft_ms", f"{_prompt(row)} ({share})", *_tail(row, "ttft", general)),
        ("tpot_ms", f"TPOT ({share})", *_tail(row, "tpot", general)),
        ("tokens_per_s", "decoding", *_bound(rates, general)),
        ("load_ms", "loading", *_bound([ms for ms in loads if ms > 0], general)),
    )
    return {
        quantity: Reading(
            quantity=quantity,
            label=label,
            value=bound.centre,
            low=bound.low,
            high=bound.high,
            processes=count,
        )
        for quantity, label, bound, count in named
        if bound
    }


def _tail(row: Row, name: str, general: Levels) -> tuple[Bound | None, int]:
    """Return where a duration's percentile lies, in ms, and how many processes say so."""
    every = [series.values for series in _series(row, name)]
    if not every:
        return None, 0
    found = intervals.bound_of(every, general.percentile, general.confidence, row.typical.tail)
    return found.over(units.NS_PER_MS), len(every)


def _bound(figures: Sequence[float], general: Levels) -> tuple[Bound | None, int]:
    return intervals.bound(figures, general.confidence) if figures else None, len(figures)


def _series(row: Row, name: str) -> list[Series]:
    """Return each process's series of that name, of the shortest prompt."""
    found = row.metric(name)
    return row.series_of(found) if found else []


def _prompt(row: Row) -> str:
    found = row.metric("ttft")
    return found.label if found else "TTFT"


def _bytes(quantity: Quantity, label: str, counts: Sequence[int]) -> Reading:
    return Reading(
        quantity=quantity,
        label=label,
        value=max(counts, default=0),
        low=min(counts, default=0),
        high=max(counts, default=0),
        processes=len(counts),
    )
