"""GGUF files for llama.cpp: exact published shapes, llama.cpp's own mixtures, synthetic weights."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from cpufit.artifacts.base import Built
from cpufit.artifacts.gguf import decoders, encoders
from cpufit.artifacts.gguf.architectures import is_70b, notes
from cpufit.artifacts.gguf.mix import mix_of
from cpufit.artifacts.gguf.sight import write_sight
from cpufit.artifacts.gguf.write import file_bytes, write
from cpufit.errors import UnsupportedError
from cpufit.networks.decoder.tensors import parameters

if TYPE_CHECKING:
    from pathlib import Path

    from cpufit.artifacts.gguf.mix import Mix
    from cpufit.schema import Model, Order
    from cpufit.schema.shapes import Decoder, Encoder

NAME = "cpufit.artifacts.gguf"
VERSION = 2
_VALUES_VERSION = 3  # of Q4_K_M where the values' formats were others once


def build(order: Order, folder: Path) -> Built:
    """Write the model as one GGUF file.

    Raises UnsupportedError for other kinds of model and for cards that llama.cpp's architecture
    cannot express, UsageError where there is no such architecture.
    """
    model, mix = order.model, mix_of(order.precision)
    file = folder / f"{model.name}.gguf"
    if model.decoder and model.sense:
        seen = write_sight(model, folder)
        built = build_decoder(file, model.name, model.decoder, mix)
        recipe = f"{built.recipe}; what it sees with as F16"
        return replace(built, parameters=built.parameters + seen, recipe=recipe)
    if model.decoder:
        return build_decoder(file, model.name, model.decoder, mix)
    return _build_encoder(file, model, _encoder(model), mix)


def build_decoder(file: Path, name: str, decoder: Decoder, mix: Mix) -> Built:
    """Write a decoder in any mixture; `name` seeds the weights."""
    write(file, decoders.header(name, decoder, mix), decoders.entries(name, decoder, mix))
    return Built(
        file=file,
        parameters=parameters(decoder),
        format=mix.name,
        recipe=f"seeded synthetic weights as {mix.name}, architecture {decoder.arch}",
        kv_bytes_per_token=decoder.kv_bytes_per_token,
        notes=notes(decoder),
    )


def version_of(order: Order) -> int:
    """Return the version of its bytes."""
    decoder = order.model.decoder
    changed = order.precision == "int4" and decoder and (decoder.fused_qkv or is_70b(decoder))
    return _VALUES_VERSION if changed else VERSION


def estimate_bytes(order: Order) -> int:
    """Return the size of the file `build` would write, to within its header."""
    model, mix = order.model, mix_of(order.precision)
    if model.decoder:
        return file_bytes(decoders.entries(model.name, model.decoder, mix), model.decoder.vocab)
    encoder = _encoder(model)
    return file_bytes(encoders.entries(model, encoder, mix), encoder.vocab)


def scratch_bytes(order: Order) -> int:  # noqa: ARG001 - the Builder protocol
    """Return 0: it is written at once."""
    return 0


def packages(order: Order) -> tuple[str, ...]:  # noqa: ARG001 - the Builder protocol
    """Return the package that writes the header and rounds to the simpler formats."""
    return ("gguf",)


def _build_encoder(file: Path, model: Model, encoder: Encoder, mix: Mix) -> Built:
    entries = encoders.entries(model, encoder, mix)
    write(file, encoders.header(model.name, encoder, mix), entries)
    return Built(
        file=file,
        parameters=sum(entry.tensor.parameters for entry in entries),
        format=mix.name,
        recipe=f"seeded synthetic weights as {mix.name}, architecture bert",
        inputs=encoders.inputs(model),
        notes=("without the pooler, which llama.cpp does not compute",) if encoder.pooler else (),
    )


def _encoder(model: Model) -> Encoder:
    if model.encoder is None:
        raise UnsupportedError(
            f"{model.name} is no language model", "llama.cpp runs decoders and encoders only"
        )
    return model.encoder
