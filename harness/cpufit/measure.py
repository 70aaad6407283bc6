"""Times one loaded session by a scenario's procedure. Knows nothing of models, files or processes.

What is timed is exactly `Work.run` (see runtimes.base): random ids are drawn, caches cleared and
inputs filled outside the clock. Samples are kept raw and in order; none is dropped or averaged.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING

from cpufit.errors import UnsupportedError
from cpufit.runtimes.base import LoadOptions, Step
from cpufit.schema import Series
from cpufit.units import NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from cpufit.runtimes.base import Session, Work
    from cpufit.schema import Budget, Cell, Scenario, Task

    Clock = Callable[[], int]

_BURST_NS = 100_000_000  # scheduling between bursts costs less than a millionth of this
P90_SAMPLES = 64  # stats.samples_needed(0.9, 0.99), without scipy in the measuring process
_SLOW_SAMPLES = 3  # of what is too slow for p90 within the budget
_FEWEST = 2  # two samples far over the threshold are enough for a verdict
_ENERGY_WINDOWS = 5
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

    @property
    def cost_ns(self) -> float:
        """What one sample takes, preparation included, as seen so far."""
        return self.spent_ns / len(self.values) if self.values else 0.0

    def wanted(self, budget: Budget) -> int:
        """Return how many samples to aim for: fewer where p90 is out of reach anyway."""
        reachable = self.cost_ns * P90_SAMPLES <= budget.max_s * NS_PER_S
        return budget.samples if reachable else min(budget.samples, _SLOW_SAMPLES)

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


def load_options(cell: Cell, scenario: Scenario, task: Task) -> LoadOptions:
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
        valid=all(len(probe.values) >= budget.samples for probe in found),
        notes=tuple(
            f"{probe.name} at {probe.size} tokens was not sampled: one request would outlast the "
            f"cap of {budget.max_s:g} s"
            for probe in found
            if not probe.values
        ),
    )


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
    least, most = (round(s * NS_PER_S) for s in (budget.min_s, budget.max_s))
    while not found or clock() - start < (most if len(found) < budget.samples else least):
        found.append(_frame(stages, clock))
    columns = zip(*found, strict=True)
    return Measured(
        first_ns=first_ns,
        series=tuple(
            Series(name=name, unit="ns", size=1, items=1, values=tuple(map(float, values)))
            for name, values in zip((*stages, "frame"), columns, strict=True)
        ),
        stop=f"{len(found)} frames after {(clock() - start) / NS_PER_S:.1f} s",
        valid=len(found) >= budget.samples,
    )


def warm_up(found: Sequence[Probe], budget: Budget, clock: Clock) -> int:
    """Run every probe in its full shape until the warm-up time is over; return the first's ns.

    What is left when the time is over is slow, and the first run weighs little there.
    """
    end = clock() + round(budget.warmup_s * NS_PER_S)
    first_ns = take(found[0], 1, clock)[0]
    for probe in found[1:]:
        if clock() + _predict_ns(probe, first_ns, found[0]) < end:
            take(probe, 1, clock, round(budget.warmup_s * NS_PER_S))
    while clock() < end and len(found) == 1:
        take(found[0], max(1, _BURST_NS // max(first_ns, 1)), clock)
    found[0].values.clear()  # the prompts of warm-up requests
    return first_ns


def sample(found: Sequence[Probe], budget: Budget, clock: Clock) -> str:
    """Fill the probes, sharing time evenly among those that want more; return why it ended.

    A longer prompt that, by what the shortest one takes, would outlast the cap is not started.
    """
    start = clock()
    least, most = (round(s * NS_PER_S) for s in (budget.min_s, budget.max_s))
    open_probes = list(found)
    if len(found) > 1:  # generation first: its prompt is a sample too, and slow models get few
        _take_burst(found[-1], clock, most)
    while True:
        elapsed = clock() - start
        for probe in [p for p in open_probes[1:] if not p.values]:
            predicted = _predict_ns(probe, found[0].cost_ns, found[0])
            if predicted and elapsed + predicted > most:
                open_probes.remove(probe)
        short = [p for p in open_probes if len(p.values) < _FEWEST]
        if elapsed >= most and not short:
            return f"the cap of {budget.max_s:g} s was reached"
        wanting = [p for p in open_probes if len(p.values) < p.wanted(budget)]
        if not wanting and elapsed >= least:
            return f"enough samples after {elapsed / NS_PER_S:.1f} s"
        due = short if elapsed >= most else wanting or open_probes
        _take_burst(min(due, key=lambda p: p.spent_ns), clock, most)


def once(found: Sequence[Probe], clock: Clock) -> Measured:
    """Do every probe once, for what is not a time: memory."""
    durations = [take(probe, 1, clock)[0] for probe in found]
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
    window_ns = round(budget.min_s / _ENERGY_WINDOWS / len(found) * NS_PER_S)
    series = []
    for probe in found:
        take(probe, 1, clock)
        values = []
        for _ in range(_ENERGY_WINDOWS):
            joules, items = _energy_window(probe, window_ns, read_joules, idle_w, clock)
            values.append(joules / items)
        name = "energy" if probe.name in ("latency", "batch") else f"energy_{probe.name}"
        series.append(Series(name=name, unit="j", size=probe.size, items=1, values=tuple(values)))
    return tuple(series)


def take(probe: Probe, count: int, clock: Clock, most_ns: int = _UNLIMITED) -> list[int]:
    """Return at least `count` durations in ns.

    A request once started is finished, but for one that outlasts `most_ns`: it generates no more
    than a few tokens after that.
    """
    durations: list[int] = []
    while len(durations) < count:
        runs = count if probe.runs == _UNLIMITED else probe.runs
        durations += _repeat(probe.start().run, clock, runs, most_ns)
    return durations


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
    probe.values.extend(take(probe, count, clock, most_ns))
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
    prompt.values += take(prompt, 1, clock)
    return session.prepare(Step(kind="decode"))


def _predict_ns(probe: Probe, shortest_ns: float, shortest: Probe) -> float:
    """Return a lower bound of a prompt's time: linear in its tokens; 0 for what is no prompt."""
    return shortest_ns * probe.size / shortest.size if probe.name == shortest.name else 0.0
