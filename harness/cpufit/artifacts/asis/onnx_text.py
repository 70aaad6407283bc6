"""Language models among ONNX files, as onnxruntime-genai and optimum write them: ids and a past in,
logits and a present out.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from cpufit.errors import UnsupportedError
from cpufit.runtimes.pasts import PAST, TEXT, grown_axis, present_of

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    Axes = tuple[int | str, ...]

_CACHES = ("float32", "float16")
_EXPORT = "export it with `optimum-cli export onnx --task text-generation-with-past`"


@dataclass(frozen=True)
class Value:
    """An input or output: numpy's name of its type, and its axes, an open one by its name."""

    dtype: str
    axes: Axes


def is_text(inputs: Collection[str]) -> bool:
    """Return whether a graph with these inputs is a step of a language model."""
    return any(name.startswith(PAST) for name in inputs)


def check_text(file: str, inputs: Mapping[str, Value], outputs: Mapping[str, Value]) -> None:
    """Raise UnsupportedError where the graph asks for what cannot be given."""
    if "encoder_hidden_states" in inputs or any(".encoder." in name for name in inputs):
        raise UnsupportedError(
            f"{file} is the decoder of a model with an encoder, such as Whisper or T5",
            "name a model that writes alone; the catalog has Whisper: --model whisper-tiny",
        )
    if "inputs_embeds" in inputs:
        raise UnsupportedError(
            f"{file} takes inputs_embeds, not ids: it is part of a model that sees or hears",
            "name a language model; the catalog has such models: --suite multimodal",
        )
    strange = [name for name in inputs if not name.startswith(PAST) and name not in TEXT]
    lonely = [n for n in inputs if n.startswith(PAST) and not present_of(n, outputs)]
    if "input_ids" not in inputs or "logits" not in outputs or strange or lonely:
        words = ", ".join(strange + lonely) or "no input_ids or no logits"
        raise UnsupportedError(f"{file} is a language model of an unknown form: {words}", _EXPORT)
    for name, value in inputs.items():
        if name.startswith(PAST):
            _check_past(f"the cache {name} of {file}", value)
    if inputs["input_ids"].axes[-1:] == (1,):
        raise UnsupportedError(f"{file} takes one token at a time, and no prompt", _EXPORT)


def bytes_per_token(inputs: Mapping[str, Value]) -> int:
    """Return what the caches hold of one token of one text."""
    return sum(
        prod(axis for axis in value.axes[1:] if isinstance(axis, int))
        * np.dtype(value.dtype).itemsize
        for name, value in inputs.items()
        if name.startswith(PAST)
    )


def notes(outputs: Mapping[str, Value]) -> tuple[str, ...]:
    """Say what of the form decides the figures."""
    axes = outputs["logits"].axes
    if len(axes) == 3 and axes[1] != 1:
        return ("a prompt computes the logits of all its tokens, as the file has them",)
    return ()


def _check_past(what: str, value: Value) -> None:
    if value.dtype not in _CACHES:
        raise UnsupportedError(f"{what} holds {value.dtype}", "export it with a float cache")
    if grown_axis(value.axes) < 0:
        raise UnsupportedError(f"{what} has a fixed length, as NPUs want it", _EXPORT)
