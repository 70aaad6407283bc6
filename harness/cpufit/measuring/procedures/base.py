"""What a procedure is: everything that the rest of cpufit knows of a way to take samples."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Literal

from cpufit.errors import UnsupportedError
from cpufit.measuring.probe import UNLIMITED, Probe
from cpufit.measuring.sampling import time_session
from cpufit.measuring.slices import time_slices
from cpufit.runtimes.base import LoadOptions, Step
from cpufit.schema import Scenario

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cpufit.measuring.bench import Bench
    from cpufit.measuring.probe import Clock, Measured
    from cpufit.runtimes.base import Session, Work
    from cpufit.schema import Cell, Model, Task

_MODELS: Mapping[Task, str] = {
    "generate": "language models",
    "describe": "models that write about a picture or sound",
    "infer": "models of one pass",
}
_REMEDY = "measure it with --scenario latency"


class Procedure:
    """How samples are taken: by default once, of one request, without anything special."""

    scenario: type[Scenario] = Scenario  # what its tables in `scenarios.toml` hold
    goal: Literal["latency", "throughput"] = "latency"
    batched = False  # whether its tables have batches, or parallel sequences
    sliced = False  # whether two processes can take turns in slices
    watches_memory = False  # all the time: nothing is timed then

    def check(self, scenario: Scenario, model: Model) -> None:
        """Raise UnsupportedError where it cannot measure such a model."""
        if scenario.tasks and model.task not in scenario.tasks:
            wanted = ", ".join(_MODELS[task] for task in scenario.tasks)
            raise UnsupportedError(
                f"scenario {scenario.name} is for {wanted}, this is one of the "
                f"{_MODELS[model.task]}",
                _REMEDY,
            )
        longest = max(scenario.prompt_tokens) + scenario.generate_tokens
        if model.writer and longest > model.writer.positions:
            raise UnsupportedError(
                f"{longest} tokens do not fit {model.name}, which has {model.writer.positions}",
                "measure it with --scenario caption",
            )

    def check_host(self) -> None:
        """Raise UnavailableError for what this host lacks."""

    def batches(self, scenario: Scenario, task: Task) -> tuple[int, ...]:  # noqa: ARG002
        """Return the batches, or parallel sequences, that are measured: a cell each."""
        return (1,)

    def with_batches(self, scenario: Scenario, batches: tuple[int, ...]) -> Scenario:  # noqa: ARG002
        """Return the scenario with batches that somebody asked for, where it has any."""
        return scenario

    def fitted(self, scenario: Scenario, context: int) -> tuple[Scenario, tuple[str, ...]]:
        """Return what of a scenario fits into a context of so many tokens, and what was left out.

        0 is a context that nobody knows. Where no prompt fits, one of three quarters of it stands
        in for them.
        """
        after, asked = scenario.generate_tokens, scenario.prompt_tokens
        fitting = tuple(tokens for tokens in asked if tokens + after <= context)
        if not context or fitting == asked:
            return scenario, ()
        words = " and ".join(str(tokens) for tokens in asked if tokens not in fitting)
        why = f"with {after} tokens after it, the model's context of {context} has no room"
        if fitting:
            return replace(scenario, prompt_tokens=fitting), (
                f"no prompt of {words} tokens: {why}",
            )
        after = max(1, min(after, context // 4))
        prompt = max(1, context - after)
        note = f"a prompt of {prompt} tokens and {after} after it, not of {words}: {why}"
        return replace(scenario, prompt_tokens=(prompt,), generate_tokens=after), (note,)

    def options(self, cell: Cell, scenario: Scenario, task: Task, repeat: int = 0) -> LoadOptions:
        """Say how a session must be set up."""
        writes = task != "infer"
        longest = max(scenario.prompt_tokens) if writes else 0
        return LoadOptions(
            threads=cell.threads,
            precision=cell.precision,
            goal=self.goal,
            batch=cell.batch,
            prompt_tokens=longest,
            context_tokens=longest + scenario.generate_tokens if writes else 0,
            seed=repeat,
        )

    def before(self) -> object:
        """Look at the host before anything is loaded; the bench hands it on as `idle`."""
        return None

    def measure(self, bench: Bench) -> Measured:
        """Measure a loaded session."""
        raise NotImplementedError


def timed(found: Sequence[Probe], bench: Bench) -> Measured:
    """Time the probes, with the hardware counters beside them: in slices where there are turns."""
    for probe in found:
        probe.meter = bench.meter
    if bench.turns:
        return time_slices(found, bench.budget, bench.turns, bench.clock, bench.say)
    return time_session(found, bench.budget, bench.clock, bench.say, bench.move)


def requests(bench: Bench, once: str, prompt: str, token: str) -> list[Probe]:
    """Return what one request consists of, the cheapest first, as quantities of these names.

    `once` is of models of one pass, `prompt` and `token` of those that write.
    """
    session, cell, scenario = bench.session, bench.cell, bench.scenario
    if bench.model.task == "infer":
        step = Step(kind="infer")
        work = session.prepare(step)
        if work.once:
            return [Probe(once, cell.batch, work.items, partial(session.prepare, step), 1)]
        return [Probe(once, cell.batch, work.items, lambda: work, UNLIMITED)]
    found = [
        Probe(prompt, tokens, tokens, partial(_prompt, session, tokens), 1)
        for tokens in sorted(scenario.prompt_tokens)
    ]
    if bench.model.task == "describe":
        seen = session.prepare(Step(kind="encode"))
        found.append(Probe("encode", 1, 1, lambda: seen, 1))
    start = partial(_continuation, session, found[0], bench.clock)
    return [*found, Probe(token, cell.batch, cell.batch, start, scenario.generate_tokens)]


def _prompt(session: Session, tokens: int) -> Work:
    return session.prepare(Step(kind="prefill", tokens=tokens))


def _continuation(session: Session, prompt: Probe, clock: Clock) -> Work:
    """Do a request's prompt, which is a sample of its own, and get ready for its tokens."""
    prompt.values += prompt.timed(1, clock)
    return session.prepare(Step(kind="decode"))
