"""What came out: a record of what one process made of its cell, and where it ran."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from cpufit.schema.asked import Cell
from cpufit.schema.models import Family

if TYPE_CHECKING:
    from cpufit.errors import CpufitError

SCHEMA_VERSION = 6

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


@dataclass(frozen=True, kw_only=True)
class Input:
    """One input tensor: axes named by a string are the batch; `fill` says what goes in.

    `fill` is 'normal' (standard normal), 'ids:V' (uniform integers below V), 'ones', 'zeros' (or
    'zeros:T' where others below T may stand as well), or 'values:A,B' (these along the last axis,
    repeated along the others).
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

    @property
    def as_it_is(self) -> bool:
        """Whether it is a file that cpufit did not make: the user's own, or a packaged one."""
        return self.recipe.startswith("as it is")


@dataclass(frozen=True, kw_only=True)
class Host:
    """Where it ran. Unknown facts are empty, never guessed."""

    fingerprint: str  # equal where two hosts are comparable
    cpu_model: str  # with microarchitecture and board, where the name does not say them
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
    microarchitecture: str = ""  # 'Zen 3 (Milan)'
    board: str = ""  # 'Raspberry Pi 5 Model B Rev 1.0'


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
    # How much the processes of this run's cells differ, as known by then: standard deviations of
    # logarithms, 'median' and 'tail' (of the percentile verdicts are about); empty: not known.
    typical: dict[str, float] = field(default_factory=dict)
    schema_version: int = SCHEMA_VERSION
