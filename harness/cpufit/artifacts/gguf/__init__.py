"""GGUF files for llama.cpp: a decoder's exact shapes, llama.cpp's own mixtures, random weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cpufit.artifacts.base import Built
from cpufit.artifacts.gguf.layout import tensors
from cpufit.artifacts.gguf.mix import mix_of
from cpufit.artifacts.gguf.write import estimate, write
from cpufit.errors import UnsupportedError

if TYPE_CHECKING:
    from pathlib import Path

    from cpufit.artifacts.base import Request
    from cpufit.schema import Decoder, Model

VERSION = 1


def build(request: Request, folder: Path) -> Built:
    """Write the model as one GGUF file; raise UnsupportedError for other kinds of model."""
    decoder, mix = _decoder(request.model), mix_of(request.precision)
    file = folder / f"{request.model.name}.gguf"
    write(file, request.model.name, decoder, mix)
    return Built(
        file=file,
        parameters=sum(tensor.parameters for tensor in tensors(decoder)),
        format=mix.name,
        recipe=f"random {mix.name} blocks seeded by the name, architecture {decoder.arch}",
        kv_bytes_per_token=decoder.kv_bytes_per_token,
    )


def estimate_bytes(request: Request) -> int:
    """Return the size of the file `build` would write, to within its header."""
    return estimate(_decoder(request.model), mix_of(request.precision))


def packages(request: Request) -> tuple[str, ...]:  # noqa: ARG001 - the Builder protocol
    """Return the package that writes the header."""
    return ("gguf",)


def _decoder(model: Model) -> Decoder:
    if model.decoder is None:
        raise UnsupportedError(f"{model.name} is no language model", "llama.cpp runs those only")
    return model.decoder
