"""What is asked for: how cells are measured, which ones, and what they are held against."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path  # noqa: TC003 - read by pydantic
from typing import ClassVar, Literal

from cpufit.precisions import Precision
from cpufit.schema.models import Model, Task, Weights
from cpufit.schema.shapes import FORBID_UNKNOWN

# What a gate compares; of each kind another share of change matters.
Kind = Literal["time", "memory", "load", "size", "energy", "instructions", "numerics"]


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """One table of `scenarios.toml`: what a cell does once its model is loaded.

    What only one procedure needs is a field of that procedure's own kind of scenario.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = FORBID_UNKNOWN

    name: str
    title: str
    procedure: str
    prompt_tokens: tuple[int, ...] = (128, 512)
    generate_tokens: int = 64
    tasks: tuple[Task, ...] = ()  # of the models it is for; empty: all


@dataclass(frozen=True, kw_only=True)
class Budget:
    """How long a cell may measure, and how narrow its interval should become.

    A process samples until its own median is known well enough or `process_s` is over; processes
    follow one another until the cell's interval is narrow and its verdicts are clear, or
    `processes` or `cell_s` is reached.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = FORBID_UNKNOWN

    name: str
    title: str
    half_width: float  # of the 95 % interval, as a share of the value
    processes: tuple[int, int]  # of a cell: fewest and most, disturbed ones not counted
    samples: int  # of every reported series, over all processes
    process_s: tuple[float, float]  # sampling in one process: least and most
    cell_s: float  # of a cell's processes; more than the fewest are not started beyond it
    warmup_s: float  # no further warm-up request starts after this
    timeout_s: float  # a process is killed this long after it started
    ends_early: bool = False  # a cell that is over by far, which then has hardly a ±

    @property
    def share(self) -> int:
        """How many samples of a series one process owes, where it has the time."""
        return -(-self.samples // self.processes[0])


@dataclass(frozen=True, kw_only=True)
class Level:
    """What one figure may come to at most, for one level of service."""

    name: str  # 'interactive', '30 FPS'
    limit: str  # of which quantities: those whose row names it
    most_ns: float


@dataclass(frozen=True, kw_only=True)
class Levels:
    """All levels of service, and how sure a verdict must be. The first of a quantity is its usual.

    A level is held against a percentile of all requests.
    """

    levels: tuple[Level, ...]
    percentile: float
    confidence: float

    def of(self, limit: str) -> tuple[Level, ...]:
        """Return those that a quantity is held against, by the limit its row names."""
        return tuple(level for level in self.levels if level.limit == limit)


@dataclass(frozen=True, kw_only=True)
class TierModel:
    """A model a tier promises, at the precision it is deployed with."""

    __pydantic_config__: ClassVar[dict[str, str]] = FORBID_UNKNOWN

    model: str
    precision: Precision


@dataclass(frozen=True, kw_only=True)
class Tier:
    """A class of hardware and what it is said to run; low to high in the file's order."""

    __pydantic_config__: ClassVar[dict[str, str]] = FORBID_UNKNOWN

    name: str
    title: str
    device: str
    ram_gb: tuple[float, float]  # from, to: as the guides say
    cores: int
    models: tuple[TierModel, ...]
    memory_share: float  # of the host's memory a model may take at its peak
    prompt_tokens: int  # TTFT counts at this prompt length
    min_tokens_per_s: float  # generated tokens of an LLM, one stream


@dataclass(frozen=True, kw_only=True)
class Select:
    """One block of a suite: every combination of its lists is a cell.

    `margin` says by what share a cell's time, memory and so on may be worse before the gate cares,
    where that is not the usual share.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = FORBID_UNKNOWN

    models: tuple[str, ...]
    runtimes: tuple[str, ...]
    precisions: tuple[Precision, ...]
    scenarios: tuple[str, ...]
    weights: tuple[Weights, ...] = ("synthetic",)
    margin: dict[Kind, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Suite:
    """A file of `suites/`: what is run."""

    __pydantic_config__: ClassVar[dict[str, str]] = FORBID_UNKNOWN

    name: str
    title: str
    budget: str
    cells: tuple[Select, ...]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """`scenarios.toml` without its scenarios, which procedures read (`plan/scenarios.py`)."""

    budgets: dict[str, Budget]
    levels: Levels
    tiers: tuple[Tier, ...]


@dataclass(frozen=True, kw_only=True)
class Cell:
    """The unit of measuring: model x weights x precision x runtime x scenario x settings."""

    model: str
    precision: Precision
    runtime: str
    scenario: str
    threads: int
    batch: int = 1
    weights: Weights = "synthetic"
    variant: str = ""
    size: int = 0  # pixels of a side, where another input is measured than the card's
    inputs: str = ""  # of a file: what was given of them, 'sr=16000&x=1x3x48x320'

    @cached_property
    def card(self) -> str:
        """The name its model card goes by: 'mistral-7b', 'yolov8n@prune30?size=320'."""
        variant = f"@{self.variant}" if self.variant else ""
        other = f"size={self.size}" if self.size else self.inputs
        return self.model + variant + (f"?{other}" if other else "")

    @cached_property
    def id(self) -> str:
        """A readable name, unique within a run: 'mistral-7b/int4/llama.cpp/latency/t2'."""
        model = self.card + (":real" if self.weights == "real" else "")
        tail = f"t{self.threads}" + (f"b{self.batch}" if self.batch != 1 else "")
        return "/".join((model, self.precision, self.runtime, self.scenario, tail))


@dataclass(frozen=True, kw_only=True)
class Order:
    """Make `model` at `precision` for `runtime`: a cell's artifact, decided once."""

    model: Model
    precision: Precision  # what the file holds
    runtime: str
    weights: Weights
    builder: str  # a module of `artifacts`
    real_file: Path | None = None  # the fetched file, or the user's own, where weights are real
