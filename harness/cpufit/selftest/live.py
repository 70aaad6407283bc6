"""The method on this host: real processes, in turns, some with extra work, some beside a hog."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime
from math import exp, sqrt
from statistics import median
from typing import TYPE_CHECKING

import numpy as np

from cpufit import analysis, store, temporary
from cpufit.artifacts import cache
from cpufit.artifacts.routes import order_of
from cpufit.catalog import pick
from cpufit.errors import UnavailableError
from cpufit.measuring import procedures
from cpufit.plan.request import Request, resolve
from cpufit.run import child, flow
from cpufit.schema import Budget, Cell, Measure
from cpufit.selftest import Finding
from cpufit.selftest.peers import GENERATE, PEERS, PROMPT, REPETITIONS
from cpufit.selftest.replay import share_seen, traces
from cpufit.stats import intervals

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from cpufit.analysis import Row
    from cpufit.plan.request import Plan
    from cpufit.run.flow import Observer, Place
    from cpufit.schema import Record
    from cpufit.selftest.peers import Peer

_PAIR_S = 3.0
_EXTRA = (0.02, 0.05, 0.1, 0.25)
_FEW = 5  # processes, as a budget takes
_CELL = Cell(
    model="mobilenet-v2", precision="int8", runtime="onnxruntime", scenario="latency", threads=0
)
_HOG = "while True: pass"
_LOOP = """
import sys, time
import numpy as np, onnxruntime as ort
options = ort.SessionOptions()
options.intra_op_num_threads = options.inter_op_num_threads = 1
session = ort.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
feeds, taken = {"x": np.ones((1, 4), np.float32)}, []
for _ in range(20_000):
    start = time.perf_counter_ns()
    session.run(None, feeds)
    taken.append(time.perf_counter_ns() - start)
print(sorted(taken[1000:])[9_500])
"""


class _Parent:
    """An observer that draws nothing: what this process itself uses while others measure."""

    def __init__(self) -> None:
        self.cpu_s = self.wall_s = 0.0

    def planned(self, plan: Plan, done: Sequence[Record]) -> None:
        """Nothing runs yet."""

    def started(self, cell: Cell) -> None:
        """Wait for the process to load."""

    def stage(self, text: str) -> None:
        """Count from the first request to the last."""
        sign = {"warming up": -1, "unloading": 1}.get(text, 0)
        self.cpu_s += sign * time.process_time()
        self.wall_s += sign * time.monotonic()

    def finished(self, row: Row) -> None:
        """Nothing is measured any more."""

    def rounded(self) -> None:
        """Go on."""


def budget(processes: int) -> Budget:
    """Return a budget of so many short processes, whatever comes out."""
    return Budget(
        name="selftest",
        title="",
        half_width=0.0,
        processes=(processes, processes),
        samples=64,
        process_s=(0.3, 1.5),
        cell_s=1e9,
        warmup_s=1,
        timeout_s=300,
    )


def measure(plan: Plan, place: Place, observer: Observer) -> list[Row]:
    """Run a plan's cells and return them; the results stay in the place's output folder."""
    path = place.output / datetime.now(UTC).strftime("selftest-%Y%m%dT%H%M%S%fZ.parquet")
    results = store.create(path, Request(suite=("selftest",)).to_json())
    flow.go(flow.Run(plan, plan.cells, results), place, observer)
    return analysis.rows(store.read([results.path]), plan.levels)


def again(processes: int, place: Place, observer: Observer) -> list[Row]:
    """Measure the suite `selftest`, so many processes of each cell."""
    plan = replace(resolve(Request(suite=("selftest",))), budget=budget(processes))
    return measure(plan, place, observer)


def sensitivity(processes: int, place: Place, observer: Observer) -> Iterator[Finding]:
    """Put real extra work behind each request of one model and look for it."""
    base, cell = _base()
    shares = {f"{cell.model}+{share:.0%}".rstrip("%"): share for share in _EXTRA}
    plan = replace(
        base,
        cells=(cell, *(replace(cell, model=name) for name in shares)),
        models={name: replace(pick(cell.model), name=name) for name in (cell.model, *shares)},
        extra_work=shares,
        budget=budget(processes),
    )
    alone, *burdened = (trace.logs() for trace in traces(measure(plan, place, observer)))
    spread = float(np.std(np.concatenate([logs - logs.mean() for logs in (alone, *burdened)])))
    for share, logs in zip(_EXTRA, burdened, strict=True):
        low, high = intervals.ratio(logs, alone)
        sure = intervals.ratio(logs, alone, 0.99)
        promised = intervals.smallest_change(spread, min(len(logs), len(alone)))
        few = intervals.smallest_change(spread, _FEW)
        yield Finding(
            name=f"{share:.0%} of real extra work",
            value=f"{sqrt(low * high):.3f} ({low:.3f} to {high:.3f}), "
            f"{'seen' if low > 1 else 'not seen'} by {len(logs)} processes, which promise to see "
            f"{promised:.1%}; {_FEW} of them, which promise {few:.1%}, see it in "
            f"{share_seen(logs, alone, _FEW):.0%} of draws",
            asked="seen where promised; the 99 % interval holds it",
            good=sure[0] <= 1 + share <= sure[1] and (low > 1 or promised > share),
        )


def hog(processes: int, place: Place, observer: Observer) -> Finding:
    """Measure beside a program that never rests, and without it."""
    base, cell = _base()
    plan = replace(base, cells=(cell,), budget=budget(processes))
    (quiet,) = measure(plan, place, observer)
    with subprocess.Popen([sys.executable, "-P", "-c", _HOG]) as busy:
        try:
            (loud,) = measure(plan, place, observer)
        finally:
            busy.kill()
    slower = loud.metrics[0].p50 / quiet.metrics[0].p50
    sure = loud.metrics[0].estimate.interval or (0.0, float("inf"))
    unchanged = sure[0] <= quiet.metrics[0].p50 <= sure[1]
    reasons = next(iter(loud.disturbances.values()), ("none",))
    return Finding(
        name="a CPU hog beside the run",
        value=f"{slower:.2f} times as slow; {len(loud.disturbances)} of {len(loud.records)} "
        f"processes disturbed: {reasons[0]}; verdict {loud.verdict}",
        asked="disturbed or unchanged",
        good=loud.disturbed or unchanged,
    )


def overhead(processes: int, place: Place) -> Iterator[Finding]:
    """Compare an empty graph with a bare loop, and see what the parent uses of the CPU."""
    with temporary.folder() as folder:
        path = _empty_graph(folder)
        plan = resolve(_only(path, "onnxruntime"))
        parent = _Parent()
        (row,) = measure(replace(plan, budget=budget(processes)), place, parent)
        bare = [_bare_loop(path) for _ in range(processes)]
    ours, theirs = row.metrics[0].p50, median(bare)
    yield Finding(
        name="time added to each request",
        value=f"{(ours - theirs) / 1000:+.2f} us: an empty ONNX graph takes {ours / 1000:.2f} us, "
        f"in a bare loop {theirs / 1000:.2f} us",
        asked="at most 2 us",
        good=ours - theirs <= 2000,
    )
    yield Finding(
        name="CPU of the parent while processes measure",
        value=f"{parent.cpu_s / parent.wall_s:.2%} of a core",
        asked="at most 5 %",
        good=parent.cpu_s <= 0.05 * parent.wall_s,
    )
    timed = sum(sum(s.values) for r in row.records for s in r.outcome.series) / 1e9
    around = sum(record.spent_s for record in row.records) - timed
    yield Finding(
        name="time around the samples of a process",
        value=f"{around / len(row.records):.2f} s: starting, loading, warming up, probing",
        asked="",
        good=None,
    )


def fidelity(pairs: int, place: Place, observer: Observer) -> Iterator[Finding]:
    """Take turns with each runtime's own benchmark tool on the same file."""
    base, cell = _base()
    for peer in PEERS:
        cell = replace(cell, model=peer.model, precision=peer.precision, runtime=peer.runtime)
        try:
            found = list(_pairs(peer, cell, base, pairs, place, observer))
        except UnavailableError as error:
            yield Finding(name=f"beside {peer.name}", value=str(error), asked="", good=None)
            continue
        for name in found[0]:
            logs = np.log([pair[name] for pair in found])
            centre, half = intervals.student(logs, 0.95)
            yield Finding(
                name=f"{name} beside {peer.name}, {cell.card} {cell.precision}",
                value=f"{exp(centre):.3f} ({exp(centre - half):.3f} to {exp(centre + half):.3f}) "
                f"times its time, {pairs} pairs",
                asked="1 in the 99 % interval, or within 3 %",
                good=abs(centre) <= max(intervals.student(logs, 0.99)[1], 0.03),
            )


def _pairs(
    peer: Peer, cell: Cell, base: Plan, pairs: int, place: Place, observer: Observer
) -> Iterator[dict[str, float]]:
    """Yield our time over theirs by series, of pairs of fresh processes in alternating order."""
    model = pick(cell.model)
    order = order_of(model, cell.precision, cell.runtime, cell.weights, place.cache)
    artifact = cache.make(order, place.cache)
    seconds = _PAIR_S if model.task == "infer" else 0.0
    scenario = replace(base.scenarios["latency"], prompt_tokens=(PROMPT,), generate_tokens=GENERATE)
    short = replace(budget(1), samples=REPETITIONS, process_s=(seconds, max(seconds, 1.0)))
    job = Measure(
        cell=cell,
        model=model,
        scenario=procedures.to_wire(scenario),
        budget=short,
        cache=str(place.cache),
        artifact=artifact,
    )
    for index in range(pairs):
        observer.started(cell)
        theirs = peer.measure(artifact, cell.threads, seconds) if index % 2 else {}
        outcome = child.ask(job, short.timeout_s, observer.stage).outcome
        theirs = theirs or peer.measure(artifact, cell.threads, seconds)
        series = outcome.series if outcome else ()
        yield {s.name: median(s.values) / theirs[s.name] for s in series if s.name in theirs}


def guards() -> Finding:
    """Time what the noise guards do around a measurement."""
    from cpufit.probes import micro, noise

    start = time.process_time()
    for _ in range(20):
        before, _ = noise.snapshot(), micro.probe()
        noise.difference(before, noise.snapshot())
        micro.probe()
    each = (time.process_time() - start) / 20
    return Finding(
        name="noise guards",
        value=f"{each * 1000:.1f} ms of CPU a process: {each / 3:.2%} of a core for one of 3 s",
        asked="at most 0.5 %",
        good=each / 3 <= 0.005,
    )


def _base() -> tuple[Plan, Cell]:
    """Return the plan of the suite `selftest`, and the cell whose variations are tried on it."""
    plan = resolve(Request(suite=("selftest",)))
    return plan, replace(_CELL, threads=plan.cells[0].threads)


def _only(path: Path, runtime: str) -> Request:
    from cpufit.plan.selection import Selection

    chosen = Selection(runtimes=(runtime,), scenarios=("latency",), threads=(1,))
    return Request(files=(str(path),), selection=chosen)


def _empty_graph(folder: Path) -> Path:
    """Write a graph that does nothing."""
    from onnx import TensorProto, helper, save

    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, (1, 4)) for n in ("x", "y")]
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])], "empty", ends[:1], ends[1:]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    save(model, folder / "empty.onnx")
    return folder / "empty.onnx"


def _bare_loop(path: Path) -> float:
    command: Sequence[str] = [sys.executable, "-P", "-c", _LOOP, str(path)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return float(done.stdout)
