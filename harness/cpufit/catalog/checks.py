"""Does a card describe a model that can be built? Every mistake with its field and its mending."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

from cpufit.errors import UsageError, unknown
from cpufit.networks.counts import counts

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from cpufit.schema import Family, Model
    from cpufit.schema.shapes import Decoder, Encoder, RopeScaling, Vision, Writer

    Problems = Iterator[tuple[str, str]]  # field, and what is wrong with it

ARCHITECTURES = (  # as llama.cpp names those that are written here
    "gemma",
    "gpt2",
    "hunyuan-dense",
    "llama",
    "phi3",
    "qwen",
    "qwen2",
    "starcoder",
)

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_MOST_LAYERS = 1000
_LARGEST = 100_000_000  # of any other size: what a typing error makes of a model
_SHAPES: dict[str, Family] = {"decoder": "llm", "encoder": "encoder", "vision": "vision"}


def check(cards: Mapping[str, Model], parents: Collection[str], where: str) -> None:
    """Raise UsageError listing, after `where`, all that is wrong with cards, by the table's name.

    A card's parent must be one of `parents`. Counts of 0 mean that the shapes decide.
    """
    problems = [
        f"{name}.{field}: {problem}"
        for name, card in cards.items()
        for field, problem in _problems(name, card, parents)
    ]
    if problems:
        raise UsageError(f"{where}: " + "; ".join(problems))


def _problems(name: str, card: Model, parents: Collection[str]) -> Problems:
    yield from _labels(name, card, parents)
    wrong = list(_shape(card))
    yield from wrong
    if (card.decoder or card.encoder) and not card.sense and not wrong:
        yield from _counts(card)
    elif (card.vision or card.sense) and not (card.parameters and card.macs):
        yield "parameters", "give them and macs, only those of decoders and encoders are computed"


def _labels(name: str, card: Model, parents: Collection[str]) -> Problems:
    if card.name != name:
        yield "name", "is the table's own, leave it out"
    if not _NAME.fullmatch(name):
        yield "name", "use letters, digits, '.', '_' and '-' only"
    if not card.source.strip():
        yield "source", "is empty, say where the numbers come from"
    if card.file:
        yield "file", "leave it out, and name the file on the command line"
    if card.parent and card.parent not in parents:
        yield "parent", str(unknown("model", card.parent, parents)).replace(";", ",")


def _shape(card: Model) -> Problems:
    given = [kind for kind in _SHAPES if getattr(card, kind)]
    if card.sense:
        yield from _sensing(card)
    elif card.writer:
        yield "writer", "looks at what a sense takes in, describe that beside it"
    elif len(given) > 1:
        yield given[1], f"stands beside a {given[0]}, keep one of them"
    elif not given and not card.real:
        yield "decoder", f"missing, describe the model in one of {', '.join(_SHAPES)}"
    elif given and card.family != _SHAPES[given[0]]:
        yield "family", f"is {card.family!r}, a card with {given[0]} needs {_SHAPES[given[0]]!r}"
    for kind, problems in (
        ("decoder", _decoder(card.decoder) if card.decoder else ()),
        ("encoder", _encoder(card.encoder) if card.encoder else ()),
        ("vision", _vision(card.vision) if card.vision else ()),
        ("writer", _writer(card.writer) if card.writer else ()),
    ):
        for field, problem in problems:
            yield f"{kind}.{field}", problem


def _sensing(card: Model) -> Problems:
    if card.family != "multimodal":
        yield "family", f"is {card.family!r}, a card with sense needs 'multimodal'"
    for kind in ("encoder", "vision"):
        if getattr(card, kind):
            yield kind, "stands beside a sense, keep one of them"
    if card.decoder and card.writer:
        yield "writer", "stands beside a decoder, keep one of them"


def _writer(spec: Writer) -> Problems:
    yield from _sizes(spec, "layers hidden ffn heads vocab positions rows width")
    yield from _positive(spec, "norm_eps")
    if spec.heads > 0 and spec.hidden % spec.heads:
        yield "hidden", f"{spec.hidden} is no multiple of heads {spec.heads}, make it one"


def _decoder(spec: Decoder) -> Problems:
    yield from _sizes(spec, "layers hidden ffn heads kv_heads head_dim vocab context")
    yield from _positive(spec, "rope_base norm_eps embedding_scale")
    if spec.arch not in ARCHITECTURES:
        yield "arch", str(unknown("architecture", spec.arch, ARCHITECTURES)).replace(";", ",")
    if spec.kv_heads > 0 and spec.heads % spec.kv_heads:
        yield "heads", f"{spec.heads} is no multiple of kv_heads {spec.kv_heads}, make it one"
    if spec.position == "rope" and spec.head_dim % 2:
        yield "head_dim", f"{spec.head_dim} is odd, rotation needs an even one"
    if spec.fused_ffn and not spec.gated:
        yield "fused_ffn", "joins gate and up projection, set gated = true or leave it out"
    if not 0 <= spec.sliding_window <= _LARGEST:
        yield "sliding_window", f"{spec.sliding_window} is not a number of tokens, give 0 for none"
    if spec.rope_scaling:
        yield from _scaling(spec.rope_scaling)
    yield from _lowrank(spec)


def _scaling(spec: RopeScaling) -> Problems:
    for field, problem in _positive(spec, "factor low high original"):
        yield f"rope_scaling.{field}", problem
    if spec.low >= spec.high:
        yield "rope_scaling.low", f"{spec.low:g} is not below high {spec.high:g}, make it so"


def _encoder(spec: Encoder) -> Problems:
    yield from _sizes(spec, "layers hidden ffn heads vocab positions sequence")
    yield from _positive(spec, "norm_eps")
    if spec.heads > 0 and spec.hidden % spec.heads:
        yield "hidden", f"{spec.hidden} is no multiple of heads {spec.heads}, make it one"
    if not 0 <= spec.types <= _LARGEST:
        yield "types", f"{spec.types} is not a number of rows, give 0 for none"
    if spec.sequence > spec.positions:
        yield "sequence", f"{spec.sequence} is more than positions {spec.positions}, lower it"
    yield from _lowrank(spec)


def _vision(spec: Vision) -> Problems:
    yield from _sizes(spec, "resolution classes")


def _lowrank(spec: Decoder | Encoder) -> Problems:
    if spec.lowrank != 0 and not 2 <= spec.lowrank <= _MOST_LAYERS:
        yield "lowrank", f"{spec.lowrank} is no divisor of parameters, give 2 or more, 0 for none"


def _sizes(spec: object, fields: str) -> Problems:
    for field in fields.split():
        value, most = getattr(spec, field), _MOST_LAYERS if field == "layers" else _LARGEST
        if not 1 <= value <= most:
            yield field, f"{value} is not a size, give 1 to {most:,}"


def _positive(spec: object, fields: str) -> Problems:
    for field in fields.split():
        value = getattr(spec, field)
        if not (math.isfinite(value) and value > 0):
            yield field, f"{value:g} is not above 0, correct it"


def _counts(card: Model) -> Problems:
    found: Iterable[tuple[str, int, int]] = zip(
        ("parameters", "macs"), (card.parameters, card.macs), counts(card), strict=True
    )
    for field, given, counted in found:
        if given not in (0, counted):
            yield field, f"{given:,} given, the shapes have {counted:,}, correct one of them"
