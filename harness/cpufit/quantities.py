"""Every figure that a process samples, a row each: what it is called, how it reads, what it is for.

A new figure is a row here and the procedure that samples it. Tables, reports, limits and the gate
ask the row; a series that has none is an error. Where several could stand for a cell, the first in
this order does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from cpufit.errors import DataError


@dataclass(frozen=True, kw_only=True)
class Quantity:
    """One figure of a cell, at a size: a prompt's length, a batch, a number of sequences."""

    name: str  # of its series in results, and of tables
    label: str
    sized: Literal["", "tokens", "times"] = ""  # how its size is told: 'at 128 tokens', 'x4'
    short: str = ""  # where there is little room; '{size}' is filled in; '' for the label
    line: str = "{label} {amount}"  # in a cell's line of the terminal
    unit: Literal["ns", "j"] = "ns"
    per_second: str = "/s"  # what its rate counts
    rate: str = ""  # what tables call its rate; '' where they show none
    rate_title: str = ""
    flow: bool = False  # shown as a rate only: nobody waits for one of it
    limits: tuple[str, ...] = ()  # by which levels name what it may come to; the first is usual
    stage_of: str = ""  # what it is a part of, which alone is judged and compared
    waited: bool = False  # somebody waits for it to see a first answer
    speed: bool = False  # its rate, or energy, may stand for the cell
    bought: bool = False  # more of it is what a dearer machine is bought for

    def label_at(self, size: int) -> str:
        """Return what a person calls it: 'TTFT at 128 tokens', 'latency', 'decode x4'."""
        if self.sized == "tokens":
            return f"{self.label} at {size} tokens"
        return f"{self.label} x{size}" if self.sized else self.label

    def short_at(self, size: int) -> str:
        """Return the same for little room: 'TTFT@128'."""
        return self.short.format(size=size) if self.short else self.label_at(size)


_TOKENS = "tokens/s"
QUANTITIES = (
    Quantity(
        name="latency", label="latency", limits=("latency",), line="p50 {amount}", waited=True,
        speed=True, bought=True,
    ),
    Quantity(
        name="ttft", label="TTFT", sized="tokens", short="TTFT@{size}", limits=("ttft",),
        line="TTFT@{size} {amount}", per_second=_TOKENS, waited=True,
    ),
    Quantity(
        name="tpot", label="TPOT", limits=("tpot",), line="{rate} tokens/s", per_second=_TOKENS,
        rate="tokens/s", rate_title="generated tokens per second", speed=True, bought=True,
    ),
    Quantity(name="encode", label="encoder alone"),
    Quantity(
        name="frame", label="frame", limits=("latency", "frame"), line="p50 {amount}",
        per_second="FPS", rate="fps", rate_title="camera frames per second", waited=True,
        speed=True, bought=True,
    ),
    Quantity(name="preprocess", label="preprocessing", stage_of="frame"),
    Quantity(name="inference", label="inference", stage_of="frame"),
    Quantity(name="postprocess", label="postprocessing", stage_of="frame"),
    Quantity(
        name="decode", label="decode", sized="times", line="{label} {rate} tokens/s",
        per_second=_TOKENS, rate="throughput", rate_title="throughput", flow=True, speed=True,
        bought=True,
    ),
    Quantity(
        name="batch", label="batch", sized="times", line="{label} {rate} items/s",
        rate="throughput", rate_title="throughput", flow=True, speed=True, bought=True,
    ),
    Quantity(
        name="prefill", label="prefill", sized="tokens", line="{label} {rate} tokens/s",
        per_second=_TOKENS, rate="prefill", rate_title="prefill", flow=True, speed=True,
    ),
    Quantity(name="energy", label="energy", unit="j", speed=True),
    Quantity(name="energy_encode", label="energy of the encoder", unit="j"),
    Quantity(name="energy_ttft", label="energy of the prompt, per token", unit="j"),
    Quantity(
        name="energy_tpot", label="energy per generated token", unit="j", speed=True,
    ),
)  # fmt: skip
# What levels of service name: every figure that somebody waits for has one.
LIMITS = tuple(dict.fromkeys(limit for one in QUANTITIES for limit in one.limits))
_BY_NAME = {quantity.name: quantity for quantity in QUANTITIES}


def quantity(name: str) -> Quantity:
    """Return the row of a series' name; raise DataError where there is none."""
    if name not in _BY_NAME:
        raise DataError(
            f"the results hold a figure called {name!r}, which this cpufit does not know",
            "upgrade: pip install -U cpufit",
        )
    return _BY_NAME[name]
