"""One pass over fixed inputs on OpenVINO, with the hints its own benchmark tool uses."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from cpufit.errors import DataError
from cpufit.runtimes.base import Stepping, Work
from cpufit.runtimes.inputs import advice, check_batch, last_resort, make_input
from cpufit.runtimes.openvino.opening import (
    compile_model,
    copied,
    infer,
    read_model,
    reason_of,
    requests_of,
    resolved,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cpufit.runtimes.base import LoadOptions, Step
    from cpufit.runtimes.inputs import Array
    from cpufit.schema import Artifact

_ROUNDS = 4  # passes of each request in one timed work: with 1, its ragged end costs a fifth


class OpenVinoPassSession(Stepping):
    """A compiled model with inputs in place: one request for latency, several for throughput."""

    def __init__(self, core: Any, artifact: Artifact, options: LoadOptions) -> None:
        check_batch(artifact.inputs, options.batch)
        self._batch = options.batch
        self._compiled = compile_model(core, read_model(core, artifact, options), artifact, options)
        count = 1
        if options.goal == "throughput":
            count = self._compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")
        self._queue = requests_of(self._compiled, count)
        self._names = [spec.name for spec in artifact.inputs]
        for spec in artifact.inputs:
            tensor = copied(make_input(spec, options.batch, options.seed))
            for request in self._queue:
                request.set_tensor(spec.name, tensor)
        self._remedy = advice(artifact) or last_resort(artifact)
        self._throughput = options.goal == "throughput"
        self._keeps_state = bool(self._queue[0].query_state())
        self.settings: Mapping[str, str] = resolved(core, self._compiled, len(self._queue))
        self.notes: tuple[str, ...] = ()

    def infer(self, step: Step) -> Work:  # noqa: ARG002 - as of any step
        """Return one pass, or for throughput several of each request, kept busy side by side.

        What a model keeps from pass to pass is emptied, so each must be prepared.
        """
        if self._keeps_state:
            for request in self._queue:
                request.reset_state()
        if self._throughput:
            return self._many()
        run = partial(infer, self._queue[0], self._remedy)
        return Work(run=run, items=self._batch, once=self._keeps_state)

    def inputs(self) -> dict[str, Array]:
        """Return the inputs of the first request by name; what is written there is read next."""
        return {name: self._queue[0].get_tensor(name).data for name in self._names}

    def outputs(self) -> dict[str, Array]:
        """Return copies of the last pass's outputs by name."""
        request = self._queue[0]
        return {
            _name_of(output): request.get_tensor(output).data.copy()
            for output in self._compiled.outputs
        }

    def close(self) -> None:
        """Free the model; the session cannot be used afterwards."""
        del self._queue, self._compiled

    def _many(self) -> Work:
        queue = self._queue
        passes = (1 if self._keeps_state else _ROUNDS) * len(queue)

        def rounds() -> None:
            try:
                for _ in range(passes):
                    queue.start_async()
                queue.wait_all()
            except RuntimeError as error:
                reason = f"openvino cannot run the model: {reason_of(error)}"
                raise DataError(reason, self._remedy) from error

        return Work(run=rounds, items=self._batch * passes, once=self._keeps_state)


def _name_of(output: Any) -> str:
    """Return the name the file gives an output; it may share others with what it is taken from."""
    name: str = output.get_node().get_friendly_name().partition("/sink_port_")[0]
    return name if name in output.get_names() else str(output.get_any_name())
