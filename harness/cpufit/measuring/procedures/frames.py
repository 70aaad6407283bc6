"""Camera frames one by one: preprocessing, inference, postprocessing."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

from cpufit.errors import UnsupportedError
from cpufit.measuring.probe import UNLIMITED, Measured, Probe, limits_ns
from cpufit.measuring.procedures.base import Procedure, timed
from cpufit.runtimes.base import Step, Work
from cpufit.schema import Series
from cpufit.units import NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from cpufit.measuring.bench import Bench
    from cpufit.measuring.probe import Clock
    from cpufit.schema import Budget, Model, Scenario


class Frames(Procedure):
    """Times whole frames and each of their stages."""

    sliced = True

    def check(self, scenario: Scenario, model: Model) -> None:
        """Raise UnsupportedError where a model looks at no frames."""
        super().check(scenario, model)
        if not model.vision and not model.file:  # of a file its inputs tell, once it is loaded
            raise UnsupportedError(
                f"{model.name} looks at no camera frames", "measure it with --scenario latency"
            )

    def measure(self, bench: Bench) -> Measured:
        """Time frames until the budget's stop rule holds; in turns with a rival only as a whole."""
        from cpufit.measuring import camera  # Pillow must not count as memory of other cells

        around = camera.around(bench.model, bench.session)
        work = bench.session.prepare(Step(kind="infer"))
        stages = {"preprocess": around.before, "inference": work.run, "postprocess": around.after}
        if bench.turns:
            measured = timed([whole_frame(stages)], bench)
        else:
            measured = time_frames(stages, bench.budget, bench.clock, bench.say)
        return replace(measured, notes=(camera.DESCRIPTION, *around.notes))


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
    least, most = limits_ns(budget)
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

    return Probe("frame", 1, 1, lambda: Work(run=run, items=1), UNLIMITED)


def _frame(stages: Mapping[str, Callable[[], object]], clock: Clock) -> list[int]:
    """Return the duration of each stage, and of them all."""
    times = [clock()]
    for stage in stages.values():
        stage()
        times.append(clock())
    return [*(end - start for start, end in pairwise(times)), times[-1] - times[0]]


PROCEDURE = Frames()
