"""Times one loaded session by a scenario's procedure. Knows nothing of models, files or processes.

What is timed is exactly `Work.run` (see runtimes.base): random ids are drawn, caches cleared and
inputs filled outside the clock. Samples are kept raw and in order; none is dropped or averaged.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise
from math import ceil, floor
from statistics import median
from typing import TYPE_CHECKING

from cpufit.errors import UnsupportedError
from cpufit.runtimes.base import LoadOptions, Step, Work
from cpufit.schema import Series
from cpufit.units import NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from cpufit.runtimes.base import Session
    from cpufit.schema import Budget, Cell, Scenario, Task

    Clock = Callable[[], int]
    Meter = Callable[[], dict[str, float]]  # totals of hardware counters; {} without

_BURST_NS = 100_000_000  # scheduling between bursts costs less than a millionth of this
_SLOW_SAMPLES = 3  # of what is too slow for more: other processes bring others
_COLD_RUNS = 2  # of a slice: what another process left in the caches weighs on them
_STEADY_RUNS = 5
_STEADY_NS = 50_000_000
_STEADY_CHANGE = 0.03  # of a window's median from that of the window before
_ENERGY_WINDOWS = 5
_ENERGY_S = 10.0  # the counters move about a thousand times a second, and idle power varies
_UNLIMITED = -1
_MODELS: Mapping[Task, str] = {
    "generate": "language models",
    "describe": "models that write about a picture or sound",
    "infer": "models of one pass",
}


@dataclass
class Probe:
    """One series in the making.

    `start()` gets one request ready and returns its work; that work may be run `runs` times, each
    run one sample, before the next `start()`. Only the runs are timed.
    """

    name: str
    size: int
    items: int
    start: Callable[[], Work]
    runs: int
    values: list[int] = field(default_factory=list)
    spent_ns: int = 0
    meter: Meter = field(default=dict)
    counted: dict[str, float] = field(default_factory=dict)  # by what is timed alone
    counted_runs: int = 0

    @property
    def cost_ns(self) -> float:
        """What one sample takes, preparation included, as seen so far."""
        return self.spent_ns / len(self.values) if self.values else 0.0

    def enough(self, budget: Budget, others: int) -> bool:
        """Whether this process has done its part, beside that many other probes.

        That is its share of the samples, or what fits into its time, and more until the median is
        known far better than processes differ.
        """
        n, (_, most) = len(self.values), _limits_ns(budget)
        fitting = int(most / (others + 1) / (self.cost_ns or 1))
        if n < min(budget.share, max(fitting, _SLOW_SAMPLES)):
            return False
        return n < budget.share or median_half_width(self.values) < budget.half_width / 2

    def timed(self, count: int, clock: Clock, most_ns: int = _UNLIMITED) -> list[int]:
        """Return at least `count` durations in ns.

        A request once started is finished, but for one that outlasts `most_ns`: it generates no
        more than a few tokens after that.
        """
        durations: list[int] = []
        while len(durations) < count:
            runs = count if self.runs == _UNLIMITED else self.runs
            run, before = self.start().run, self.meter()
            found = _repeat(run, clock, runs, most_ns)
            self._count(before, len(found))
            durations += found
        return durations

    def slice(self, slice_ns: int, clock: Clock) -> float:
        """Return the median duration in ns of what fits into a slice, of one run at least.

        Where getting ready takes longer than the slice, as a prompt before tokens does, the slice
        lasts as long: that is hardly dearer, and tells more.
        """
        begun = clock()
        run, before = self.start().run, self.meter()
        ready = clock()
        end = ready + max(slice_ns, ready - begun)
        durations: list[int] = []
        while not durations or (len(durations) != self.runs and clock() < end):
            start = clock()
            run()
            durations.append(clock() - start)
        self._count(before, len(durations))
        warm = durations[_COLD_RUNS:] if len(durations) > 2 * _COLD_RUNS else durations
        return median(warm)

    def _count(self, before: Mapping[str, float], runs: int) -> None:
        for name, total in self.meter().items():
            self.counted[name] = self.counted.get(name, 0.0) + total - before[name]
        self.counted_runs += runs

    def forget(self) -> None:
        """Leave warm-up requests out of samples and counts."""
        self.values.clear()
        self.counted.clear()
        self.counted_runs = 0

    def series(self) -> Series:
        """Return what was sampled."""
        values = tuple(float(value) for value in self.values)
        return Series(name=self.name, unit="ns", size=self.size, items=self.items, values=values)


@dataclass(frozen=True)
class Measured:
    """What a procedure hands back."""

    first_ns: int
    series: tuple[Series, ...]
    stop: str
    valid: bool
    notes: tuple[str, ...] = ()
    counters: dict[str, float] = field(default_factory=dict)  # of one item: 'cycles of tpot'


def load_options(cell: Cell, scenario: Scenario, task: Task, repeat: int = 0) -> LoadOptions:
    """Say how a session must be set up for this cell.

    Raises UnsupportedError where the scenario is for other models.
    """
    if scenario.tasks and task not in scenario.tasks:
        raise UnsupportedError(
            f"scenario {scenario.name} is for {', '.join(_MODELS[t] for t in scenario.tasks)}, "
            f"this is one of the {_MODELS[task]}",
            "measure it with --scenario latency",
        )
    longest = max(scenario.prompt_tokens) if task != "infer" else 0
    context = max(longest + scenario.generate_tokens, scenario.context_tokens)
    return LoadOptions(
        threads=cell.threads,
        precision=cell.precision,
        goal="throughput" if scenario.procedure == "throughput" else "latency",
        streams=scenario.streams,
        batch=cell.batch,
        prompt_tokens=longest,
        context_tokens=context if task != "infer" else 0,
        seed=repeat,
    )


def probes(
    session: Session, cell: Cell, scenario: Scenario, task: Task, clock: Clock
) -> list[Probe]:
    """Return what the scenario measures on this session, the cheapest first."""
    throughput = scenario.procedure == "throughput"
    if task == "infer":
        work = session.prepare(Step(kind="infer"))
        name = "batch" if throughput else "latency"
        return [Probe(name, cell.batch, work.items, lambda: work, _UNLIMITED)]
    prompt = "prefill" if throughput else "ttft"
    found = [
        Probe(prompt, tokens, tokens, partial(_prompt, session, tokens), 1)
        for tokens in sorted(scenario.prompt_tokens)
    ]
    if task == "describe":
        work = session.prepare(Step(kind="encode"))
        found.append(Probe("encode", 1, 1, lambda: work, 1))
    token = "decode" if throughput else "tpot"
    start = partial(_continuation, session, found[0], clock)
    return [*found, Probe(token, cell.batch, cell.batch, start, scenario.generate_tokens)]


def time_session(
    found: Sequence[Probe], budget: Budget, clock: Clock, say: Callable[[str], None]
) -> Measured:
    """Warm up, then sample until the budget's stop rule holds."""
    say("warming up")
    first_ns = warm_up(found, budget, clock)
    say("measuring")
    stop = sample(found, budget, clock)
    return Measured(
        first_ns=first_ns,
        series=tuple(probe.series() for probe in found if probe.values),
        stop=stop,
        valid=all(len(probe.values) >= budget.share for probe in found),
        notes=tuple(
            f"{probe.name} at {probe.size} tokens was not sampled: one request would outlast the "
            f"{budget.cell_s:g} s that a cell may take"
            for probe in found
            if not probe.values
        ),
        counters=_per_item(found),
    )


def time_slices(
    found: Sequence[Probe],
    budget: Budget,
    slice_s: float,
    clock: Clock,
    say: Callable[[str], None],
    turns: Iterable[object],
    turned: Callable[[Sequence[float]], None],
) -> Measured:
    """Warm up, then run each probe for a slice at every turn; a series holds the slices' medians.

    Between turns another process may run: what two processes do in turns, slice by slice, meets the
    same moods of the host. `turned` hears what each turn's slices came to, in ns. A prompt that
    would take much longer than a process may is left out.
    """
    say("warming up")
    first_ns, (_, most) = warm_up(found, budget, clock), _limits_ns(budget)
    slice_ns = slice_s * NS_PER_S
    short = [probe for probe in found if _predict_ns(probe, first_ns, found[0]) <= most]
    medians: list[list[float]] = [[] for _ in short]
    say("ready")
    for _ in turns:
        for probe, values in reversed([*zip(short, medians, strict=True)]):
            timed = probe.values  # of prompts before the tokens that were generated just now
            values.append(median(timed) if timed else probe.slice(round(slice_ns), clock))
            timed.clear()
        turned([values[-1] for values in medians])
    return Measured(
        first_ns=first_ns,
        series=tuple(
            replace(probe.series(), values=tuple(values))
            for probe, values in zip(short, medians, strict=True)
        ),
        stop=f"{len(medians[0])} slices of {slice_s:g} s",
        valid=True,
        counters=_per_item(short),
    )


def _per_item(found: Sequence[Probe]) -> dict[str, float]:
    """Return what was counted of one inference or token."""
    return {
        f"{name} of {probe.name} at {probe.size}": total / probe.counted_runs / probe.items
        for probe in found
        for name, total in probe.counted.items()
        if probe.counted_runs
    }


def time_frames(
    stages: Mapping[str, Callable[[], object]],
    budget: Budget,
    clock: Clock,
    say: Callable[[str], None],
) -> Measured:
    """Do the stages one after another, frame after frame, until the budget's stop rule holds.

    One series is of the whole frame, one of each stage; their values belong together.
    """
    say("warming up")
    first_ns, end = _frame(stages, clock)[-1], clock() + round(budget.warmup_s * NS_PER_S)
    while clock() < end:
        _frame(stages, clock)
    say("measuring")
    start = clock()
    found: list[list[int]] = []
    least, most = _limits_ns(budget)
    while not found or clock() - start < (most if len(found) < budget.share else least):
        found.append(_frame(stages, clock))
    columns = zip(*found, strict=True)
    return Measured(
        first_ns=first_ns,
        series=tuple(
            Series(name=name, unit="ns", size=1, items=1, values=tuple(map(float, values)))
            for name, values in zip((*stages, "frame"), columns, strict=True)
        ),
        stop=f"{len(found)} frames after {(clock() - start) / NS_PER_S:.1f} s",
        valid=len(found) >= budget.share,
    )


def whole_frame(stages: Mapping[str, Callable[[], object]]) -> Probe:
    """Return a probe that does the stages one after another."""

    def run() -> None:
        for stage in stages.values():
            stage()

    return Probe("frame", 1, 1, lambda: Work(run=run, items=1), _UNLIMITED)


def warm_up(found: Sequence[Probe], budget: Budget, clock: Clock) -> int:
    """Run every probe in its full shape, one alone until it is steady; return the first run's ns.

    No further run starts once the warm-up time is over: what is left is slow, and the first run
    weighs little there.
    """
    end = clock() + round(budget.warmup_s * NS_PER_S)
    first_ns = found[0].timed(1, clock)[0]
    for probe in found[1:]:
        if clock() + _predict_ns(probe, first_ns, found[0]) < end:
            probe.timed(1, clock, round(budget.warmup_s * NS_PER_S))
    if len(found) == 1:
        _until_steady(found[0], first_ns, end, clock)
    for probe in found:  # the prompts of warm-up requests are no samples, nor are their counts
        probe.forget()
    return first_ns


def _until_steady(probe: Probe, first_ns: int, end: int, clock: Clock) -> None:
    """Run in windows until the median of one is that of the window before."""
    last = float(first_ns)
    while clock() < end:
        count = max(_STEADY_RUNS, int(_STEADY_NS // max(last, 1.0)))
        now = median(probe.timed(count, clock, round(end - clock())))
        if abs(now - last) <= _STEADY_CHANGE * last:
            return
        last = now


def sample(found: Sequence[Probe], budget: Budget, clock: Clock) -> str:
    """Fill the probes, sharing time evenly among those that want more; return why it ended.

    A longer prompt that, by what the shortest one takes, would outlast the cell is not started.
    """
    start = clock()
    least, most = _limits_ns(budget)
    open_probes = list(found)
    if len(found) > 1:  # generation first: its prompt is a sample too, and slow models get few
        _take_burst(found[-1], clock, most)
    while True:
        elapsed = clock() - start
        for probe in [p for p in open_probes[1:] if not p.values]:
            predicted = _predict_ns(probe, sum(found[0].values[:1]), found[0])
            if predicted and elapsed + predicted > budget.cell_s * NS_PER_S:
                open_probes.remove(probe)
        short = [p for p in open_probes if not p.values]
        if elapsed >= most and not short:
            return f"the {budget.process_s[1]:g} s of a process were over"
        wanting = [p for p in open_probes if not p.enough(budget, len(open_probes) - 1)]
        if not wanting and elapsed >= least:
            return f"enough samples after {elapsed / NS_PER_S:.1f} s"
        due = short if elapsed >= most else wanting or open_probes
        _take_burst(min(due, key=lambda p: p.spent_ns), clock, most)


def median_half_width(values: Sequence[float]) -> float:
    """Return half the 95 % interval of the median of independent samples, as a share of it.

    By order statistics, in the normal approximation of the binomial. Samples of one process are
    hardly independent; it says when more of them would add nothing.
    """
    ordered, n = sorted(values), len(values)
    reach = 0.98 * n**0.5
    low, high = max(floor(n / 2 - reach), 0), min(ceil(n / 2 + reach), n - 1)
    return float(ordered[high] - ordered[low]) / 2 / (ordered[n // 2] or 1.0)


def once(found: Sequence[Probe], clock: Clock) -> Measured:
    """Do every probe once, for what is not a time: memory."""
    durations = [probe.timed(1, clock)[0] for probe in found]
    return Measured(first_ns=durations[0], series=(), stop="one full request", valid=True)


def energy(
    found: Sequence[Probe],
    budget: Budget,
    read_joules: Callable[[], float],
    idle_w: float,
    clock: Clock,
) -> tuple[Series, ...]:
    """Return joules per item above idle, in windows that share the budget's time evenly.

    `read_joules` is a running total. Idle power times the window is subtracted.
    """
    seconds = max(_ENERGY_S, budget.process_s[1])
    window_ns = round(seconds / _ENERGY_WINDOWS / len(found) * NS_PER_S)
    series = []
    for probe in found:
        probe.timed(1, clock)
        values = []
        for _ in range(_ENERGY_WINDOWS):
            joules, items = _energy_window(probe, window_ns, read_joules, idle_w, clock)
            values.append(joules / items)
        name = "energy" if probe.name in ("latency", "batch") else f"energy_{probe.name}"
        series.append(Series(name=name, unit="j", size=probe.size, items=1, values=tuple(values)))
    return tuple(series)


def _repeat(
    run: Callable[[], None], clock: Clock, count: int, most_ns: int = _UNLIMITED
) -> list[int]:
    """The timed loop; what it adds to each sample is one reading of the clock."""
    durations: list[int] = []
    end = clock() + most_ns
    for _ in range(count):
        start = clock()
        if start > end and len(durations) >= _SLOW_SAMPLES and most_ns != _UNLIMITED:
            break
        run()
        durations.append(clock() - start)
    return durations


def _frame(stages: Mapping[str, Callable[[], object]], clock: Clock) -> list[int]:
    """Return the duration of each stage, and of them all."""
    times = [clock()]
    for stage in stages.values():
        stage()
        times.append(clock())
    return [*(end - start for start, end in pairwise(times)), times[-1] - times[0]]


def _take_burst(probe: Probe, clock: Clock, most_ns: int) -> None:
    """Sample for about a tenth of a second, at least once."""
    count = max(1, int(_BURST_NS // probe.cost_ns)) if probe.cost_ns else 1
    start = clock()
    probe.values.extend(probe.timed(count, clock, most_ns))
    probe.spent_ns += clock() - start


def _energy_window(
    probe: Probe, window_ns: int, read_joules: Callable[[], float], idle_w: float, clock: Clock
) -> tuple[float, int]:
    """Return net joules and items of at least `window_ns`; getting ready is not counted."""
    joules, busy_ns, items = 0.0, 0, 0
    while busy_ns < window_ns:
        run, done = probe.start().run, 0
        start_j, start = read_joules(), clock()
        while done != probe.runs and busy_ns + clock() - start < window_ns:
            run()
            done += 1
        busy_ns += clock() - start
        joules += read_joules() - start_j
        items += done * probe.items
    return joules - idle_w * busy_ns / NS_PER_S, items


def _prompt(session: Session, tokens: int) -> Work:
    return session.prepare(Step(kind="prefill", tokens=tokens))


def _continuation(session: Session, prompt: Probe, clock: Clock) -> Work:
    """Do a request's prompt, which is a sample of its own, and get ready for its tokens."""
    prompt.values += prompt.timed(1, clock)
    return session.prepare(Step(kind="decode"))


def _limits_ns(budget: Budget) -> tuple[int, int]:
    least, most = (round(seconds * NS_PER_S) for seconds in budget.process_s)
    return least, most


def _predict_ns(probe: Probe, shortest_ns: float, shortest: Probe) -> float:
    """Return a lower bound of a prompt's time: linear in its tokens; 0 for what is no prompt."""
    return shortest_ns * probe.size / shortest.size if probe.name == shortest.name else 0.0
