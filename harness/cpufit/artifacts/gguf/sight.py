"""What a language model sees with, as the second GGUF file that llama.cpp's libmtmd reads.

A CLIP vision transformer and two linear layers, as LLaVA 1.5 has them, with the weights of the ONNX
graph. Source of keys and names: llama.cpp's `tools/mtmd/clip-impl.h` and `models/llava.cpp`.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from gguf import GGMLQuantizationType as Type

from cpufit.artifacts.gguf.formats import rounded
from cpufit.artifacts.gguf.mix import F16
from cpufit.artifacts.gguf.write import Entry, Header, write
from cpufit.artifacts.stream import cut
from cpufit.errors import UnsupportedError
from cpufit.networks import weights
from cpufit.networks.clip import VIT_B_32
from cpufit.networks.decoder.tensors import Tensor
from cpufit.networks.senses import sense_graph
from cpufit.networks.sources import Synthetic

if TYPE_CHECKING:
    from io import FileIO
    from pathlib import Path

    import gguf

    from cpufit.networks.graph import Drawn
    from cpufit.schema import Model

FILE = "sense.gguf"
_BUILDER = "clip_patches"
_WHOLE = {
    "visual.patches.weight": "v.patch_embd.weight",
    "visual.class": "v.class_embd",
    "visual.positions": "v.position_embd.weight",
    "visual.first_norm": "v.pre_ln",
    "visual.last_norm": "v.post_ln",
    "projection.0": "mm.0",
    "projection.1": "mm.2",
}
_BLOCK = {
    "norm1": "ln1",
    "norm2": "ln2",
    "attention.query": "attn_q",
    "attention.key": "attn_k",
    "attention.value": "attn_v",
    "attention.out": "attn_out",
    "ffn.0": "ffn_up",
    "ffn.1": "ffn_down",
}


def write_sight(model: Model, folder: Path) -> int:
    """Write the file beside the decoder's and return the number of its parameters.

    Raises UnsupportedError for what libmtmd has no form of.
    """
    if model.sense is None or model.sense.builder != _BUILDER or model.sense.lowrank:
        raise UnsupportedError(
            f"llama.cpp cannot see with {model.name}'s graph", "use onnxruntime or openvino"
        )
    graph = sense_graph(model, Synthetic(model.name))
    header = Header("clip", model.name, F16, 0, partial(_describe, model))
    write(folder / FILE, header, [_entry(model.name, drawn) for drawn in graph.drawn])
    return graph.parameters


def _describe(model: Model, writer: gguf.GGUFWriter) -> None:
    assert model.sense
    assert model.decoder
    writer.add_bool("clip.has_vision_encoder", True)
    writer.add_string("clip.projector_type", "mlp")
    sizes = {
        "image_size": model.sense.size,
        "patch_size": VIT_B_32.patch,
        "embedding_length": VIT_B_32.hidden,
        "feed_forward_length": VIT_B_32.block.ffn,
        "projection_dim": model.decoder.hidden,
        "block_count": VIT_B_32.layers,
        "attention.head_count": VIT_B_32.block.attention.heads,
    }
    for key, value in sizes.items():
        writer.add_uint32(f"clip.vision.{key}", value)
    writer.add_float32("clip.vision.attention.layer_norm_epsilon", VIT_B_32.block.eps)
    # Without it libmtmd leaves the last block out, as LLaVA does.
    writer.add_array("clip.vision.feature_layer", [VIT_B_32.layers])
    writer.add_array("clip.vision.image_mean", [0.5, 0.5, 0.5])
    writer.add_array("clip.vision.image_std", [0.5, 0.5, 0.5])


def _entry(model: str, drawn: Drawn) -> Entry:
    name, shape = _name(drawn.name), tuple(side for side in drawn.shape if side > 1)
    linear = len(shape) == 2 and "positions" not in drawn.name
    role, _, suffix = name.rpartition(".")
    tensor = Tensor(role, suffix, shape if linear else tuple(reversed(shape)))
    kind = Type.F16 if linear or len(shape) > 2 else Type.F32
    return Entry(tensor, kind, partial(_put, model, drawn, kind, linear))


def _name(name: str) -> str:
    if name in _WHOLE:
        return _WHOLE[name]
    path, _, suffix = name.rpartition(".")
    if path in _WHOLE:
        return f"{_WHOLE[path]}.{suffix}"
    _, _, number, role = path.split(".", 3)  # visual.layer.3.attention.query
    return f"v.blk.{number}.{_BLOCK[role]}.{suffix}"


def _put(model: str, drawn: Drawn, kind: Type, linear: bool, file: FileIO) -> None:
    values = weights.tensor(model, *drawn)
    rows = values.T if linear else values.reshape(-1, drawn.shape[-1])
    data = rounded(np.ascontiguousarray(rows), kind)
    cut(file, data.data, 0, len(data))
