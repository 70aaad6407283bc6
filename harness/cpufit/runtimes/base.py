"""The small Protocol every runtime stands behind.

A runtime loads an artifact into a session; a session turns a step into work whose `run` is exactly
the timed region. Everything that is not inference (drawing random ids, clearing the KV cache,
filling inputs) happens in `prepare`, outside the clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, get_args

from cpufit.errors import UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from cpufit.precisions import Precision
    from cpufit.runtimes.inputs import Array
    from cpufit.schema import Artifact


Kind = Literal["infer", "encode", "prefill", "decode"]


@dataclass(frozen=True, kw_only=True)
class LoadOptions:
    """How a session is to be set up; a runtime refuses what it cannot do."""

    threads: int
    precision: Precision = "fp32"  # to compute in, where the file leaves it open
    goal: Literal["latency", "throughput"] = "latency"
    streams: bool = False  # for throughput: as many requests at once as there are threads
    batch: int = 1  # samples per pass, or parallel sequences of a language model
    context_tokens: int = 0  # longest sequence a language model will hold, prompt and generation
    prompt_tokens: int = 0  # longest prompt in one prefill
    seed: int = 0  # of inputs and token ids


@dataclass(frozen=True, kw_only=True)
class Step:
    """One request: a pass over fixed inputs, a prompt of `tokens`, or one more token.

    'encode' is what a model that writes about a picture or sound does first, alone; its 'prefill'
    has it inside.

    'prefill' starts from an empty cache and ends when the first next-token logits can be read.
    'decode' appends one token to each of the batch's sequences.
    """

    kind: Kind
    tokens: int = 1
    ids: tuple[int, ...] = ()  # the very tokens; empty: random ones


@dataclass(frozen=True, kw_only=True)
class Work:
    """A prepared step: `run()` does it once, blocking; it covers `items` inferences or tokens."""

    run: Callable[[], None]
    items: int
    once: bool = False  # it must be prepared anew before it is run again


class Stepping:
    """A session whose methods are called as the kinds of steps it does: `prefill`, `decode`, ..."""

    def prepare(self, step: Step) -> Work:
        """Get ready to do `step`; raise UnsupportedError for a kind that such a model does not."""
        if step.kind not in self.kinds:
            raise UnsupportedError(
                f"this model does no {step.kind} step", f"it does {' and '.join(self.kinds)}"
            )
        work: Work = getattr(self, step.kind)(step)
        return work

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of steps it does."""
        return tuple(kind for kind in get_args(Kind) if hasattr(self, kind))


class Session(Protocol):
    """A loaded model."""

    settings: Mapping[str, str]  # every resolved setting, as the runtime reports it
    notes: tuple[str, ...]

    def prepare(self, step: Step) -> Work:
        """Get ready to do `step`; 'decode' work may be run again and again."""

    def inputs(self) -> Mapping[str, Array]:
        """Return the very memory that the next 'infer' reads, by input name; empty for none."""

    def outputs(self) -> Mapping[str, Array]:
        """Return copies of the last step's outputs by name; a language model's are 'logits'.

        Logits are sequences x vocabulary.
        """

    def close(self) -> None:
        """Free the model."""


class Runtime(Protocol):
    """One inference engine, imported. Each has one, as the `RUNTIME` of its module `runtime`."""

    clock: Callable[[], int]  # nanoseconds; the fake runtime brings its own

    def versions(self) -> Mapping[str, str]:
        """Return package name -> version of all that decides this runtime's speed."""

    def load(self, artifact: Artifact, options: LoadOptions) -> Session:
        """Load `artifact`; raise DataError where the file is not a model this runtime reads."""
