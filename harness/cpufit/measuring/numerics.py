"""How far a precision's outputs are from float32 on this host, for the same weights and inputs.

Formats round, and so do kernels: on a CPU without VNNI the usual 8-bit product adds two neighbours
in 16 bits, where they saturate. So the very runtime that is measured computes, on the very host.

A language model is too large to compute in float32 beside it. In its place stands a sample: the
same architecture, but two layers, narrower and with a small vocabulary.
"""

from __future__ import annotations

import math
from contextlib import closing, suppress
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from cpufit import units
from cpufit.artifacts import cache
from cpufit.artifacts.routes import order_of, route_of
from cpufit.errors import DataError, UnsupportedError
from cpufit.measuring import finite
from cpufit.networks.decoder.reference import reference_logits
from cpufit.networks.decoder.tensors import macs_per_token, parameters
from cpufit.runtimes import engine_of, load_runtime
from cpufit.runtimes.base import LoadOptions, Step
from cpufit.schema import Numerics

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from cpufit.runtimes.inputs import Array
    from cpufit.schema import Artifact, Cell, Model
    from cpufit.schema.shapes import Decoder

_LAYERS = 2
_WIDEST = 1023  # of a sample's widths where that can be; most are 768, about 10M parameters
_REMAINDER = 256  # llama.cpp takes other formats for widths that are no multiple of it
_VOCAB = 1024
_PROMPT = 32  # tokens
_CONTEXT = 64
_WORDS = 4
# A detector's outputs in the order of their scores, which any rounding changes. What they are
# chosen from is an output as well.
_RANKED = {"boxes", "scores", "labels"}


def applies(cell: Cell, model: Model) -> bool:
    """Return whether there is a float32 to compare with, other than the cell itself."""
    if engine_of(cell.runtime).invented or cell.precision == "fp32" or model.file:
        return False
    return is_sampled(cell, model) or _reference_runtime(cell, model) != ""


def is_sampled(cell: Cell, model: Model) -> bool:
    """Return whether a small model stands in for this one."""
    return model.decoder is not None and cell.weights == "synthetic"


def check(cell: Cell, model: Model, artifact: Artifact, root: Path) -> Numerics:
    """Compute outputs in the cell's precision and in float32, and compare them.

    What must be built for that goes into the cache `root`; samples are of no further use there.
    Raises CpufitError where a runtime is missing or refuses.
    """
    if is_sampled(cell, model):
        return _check_sample(cell, sample(model), root)
    return _check_whole(cell, model, artifact, root)


def sample(model: Model) -> Model:
    """Return a small model of the same architecture as a language model."""
    assert model.decoder is not None
    decoder = _narrow(model.decoder)
    return replace(
        model,
        name=f"{model.name}-sample",
        parameters=parameters(decoder),
        macs=macs_per_token(decoder),
        decoder=decoder,
        sense=None,  # it is computed in float in any case
        real=None,
    )


def cosine(one: Array, other: Array) -> float:
    """Return the cosine between two arrays as vectors; 0 where one is zero.

    Only what is finite counts; where that is not the same in both the cosine is 0 as well.
    """
    x, y = (np.ravel(array).astype(np.float64) for array in (one, other))
    known = np.isfinite(x)
    if not np.array_equal(known, np.isfinite(y)):
        return 0.0
    x, y = x[known], y[known]
    length = float(np.linalg.norm(x) * np.linalg.norm(y))
    return float(x @ y) / length if np.isfinite(length) and length else 0.0


def _reference_runtime(cell: Cell, model: Model) -> str:
    """Return the runtime that has the model in float32: the cell's own where it can be."""
    for runtime in (cell.runtime, "onnxruntime"):
        with suppress(UnsupportedError):
            route_of(model, "fp32", runtime, cell.weights)
            return runtime
    return ""


# -------------------------------------------------------------------------------- language models
def _narrow(card: Decoder) -> Decoder:
    """Cut sizes down; what hangs together in the card, as some architectures ask, still does."""
    heads, kv_heads = _heads(card)
    joined = card.hidden == card.heads * card.head_dim
    hidden = heads * card.head_dim if joined else _cut(card.hidden)
    scaled = math.isclose(card.embedding_scale, math.sqrt(card.hidden))
    return replace(
        card,
        layers=_LAYERS,
        hidden=hidden,
        embedding_scale=math.sqrt(hidden) if scaled else card.embedding_scale,
        ffn=_cut(card.ffn),
        heads=heads,
        kv_heads=kv_heads,
        vocab=_VOCAB,
        context=_CONTEXT,
    )


def _cut(width: int) -> int:
    """Return the largest width up to _WIDEST that leaves the same remainder."""
    return width if width <= _WIDEST else _WIDEST - (_WIDEST - width) % _REMAINDER


def _heads(card: Decoder) -> tuple[int, int]:
    """Return fewer heads, as many of them to each key head as before: all where there is one.

    At least two remain of what is cut, and their joint width keeps its remainder.
    """
    alone = card.kv_heads == 1
    group = 1 if alone else card.heads // card.kv_heads
    units_, width = card.heads // group, group * card.head_dim
    same = [n for n in range(2, units_ + 1) if (units_ - n) * width % _REMAINDER == 0]
    narrow = [n for n in same if n * width <= _WIDEST]
    kept = max(narrow, default=min(same, default=units_))
    return kept * group, 1 if alone else kept


def _check_sample(cell: Cell, small: Model, root: Path) -> Numerics:
    assert small.decoder is not None
    ids = tuple((7 + 37 * place) % small.decoder.vocab for place in range(_PROMPT))
    order = order_of(small, cell.precision, cell.runtime, cell.weights, root)
    options = LoadOptions(threads=cell.threads, context_tokens=_CONTEXT, prompt_tokens=_PROMPT)
    step = Step(kind="prefill", tokens=_PROMPT, ids=ids)
    found = _outputs(cell.runtime, cache.make(order, root), options, step)
    exact = reference_logits(small.name, small.decoder, ids)
    return Numerics(
        cosine=cosine(found["logits"], exact),
        what=(
            f"logits after {_PROMPT} tokens of a sample of the architecture ({_LAYERS} layers, "
            f"{units.count(small.parameters)} parameters), against float32 by numpy"
        ),
    )


# ----------------------------------------------------------------------------------- other models
def _check_whole(cell: Cell, model: Model, artifact: Artifact, root: Path) -> Numerics:
    runtime = _reference_runtime(cell, model)
    load_runtime(runtime)  # before anything is built for it
    reference = cache.make(order_of(model, "fp32", runtime, cell.weights, root), root)
    step = _step(model)
    options = LoadOptions(
        threads=cell.threads,
        precision=cell.precision,
        prompt_tokens=step.tokens if model.writer else 0,
        context_tokens=step.tokens if model.writer else 0,
    )
    found = _outputs(cell.runtime, artifact, options, step)
    exact = _outputs(runtime, reference, replace(options, precision="fp32"), step)
    names = sorted((found.keys() & exact.keys()) - _RANKED)
    if not names:
        raise DataError(f"no output of {', '.join(found)} is one of {', '.join(exact)}")
    return Numerics(
        cosine=cosine(_joined(found, names), _joined(exact, names)),
        what=f"outputs of the whole model, against float32 on {runtime}{_odd(found, exact)}",
    )


def between(cell: Cell, artifact: Artifact, reference: Artifact) -> Numerics:
    """Compare the outputs of two model files of the same inputs, on the cell's runtime.

    Raises CpufitError where one has not all the outputs of the other, or other shapes.
    """
    options = LoadOptions(threads=cell.threads, precision=cell.precision)
    step = Step(kind="infer")
    one, other = (_outputs(cell.runtime, file, options, step) for file in (artifact, reference))
    names = sorted((one.keys() & other.keys()) - _RANKED)
    shapes = [{name: found[name].shape for name in names} for found in (one, other)]
    if not names or shapes[0] != shapes[1]:
        raise DataError("the two models have other outputs", "their numbers are not compared")
    return Numerics(
        cosine=cosine(_joined(one, names), _joined(other, names)),
        what=f"outputs of the one file, against the other's, on {cell.runtime}{_odd(one, other)}",
    )


def _odd(*sides: Mapping[str, Array]) -> str:
    """Say where outputs hold NaN or infinity, which no cosine counts."""
    words = dict.fromkeys(word for outputs in sides for word in finite.remarks(outputs))
    return "".join(f"; {word}" for word in words)


def _step(model: Model) -> Step:
    """Return one pass, or the first words about a picture or sound."""
    if model.writer is None:
        return Step(kind="infer")
    ids = tuple((7 + 37 * place) % model.writer.vocab for place in range(_WORDS))
    return Step(kind="prefill", tokens=_WORDS, ids=ids)


def _joined(outputs: Mapping[str, Array], names: Sequence[str]) -> Array:
    return np.concatenate([np.ravel(outputs[name]) for name in names])


def _outputs(
    runtime: str, artifact: Artifact, options: LoadOptions, step: Step
) -> Mapping[str, Array]:
    """Load, do one step, and unload; inputs are the same for the same options."""
    with closing(load_runtime(runtime).load(artifact, options)) as session:
        session.prepare(step).run()
        return session.outputs()
