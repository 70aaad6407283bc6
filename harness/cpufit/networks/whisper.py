"""Whisper's encoder (Radford et al. 2022): 30 seconds of sound, as 80 x 3000 mel bands, to rows."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from cpufit.networks.transformer import Attention, Block, block, gelu, layer_norm

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cpufit.networks.graph import Graph, Value

_EPS = 1e-5
_BANDS, _FRAMES = 80, 3000
_LONGEST = 10_000.0  # wavelength of the positions, in rows


def encoder(graph: Graph, hidden: int, layers: int, heads: int, lowrank: int = 0) -> Value:
    """Add the encoder with its input: 80 x 3000 -> 1500 rows of `hidden`."""
    sound = graph.input("mel", "float32", (_BANDS, _FRAMES), "normal")
    x = gelu(graph, _conv(graph, sound, "conv1", hidden, 1))
    x = gelu(graph, _conv(graph, x, "conv2", hidden, 2))
    x = graph.node("Transpose", "rows", [x], x.shape[::-1], perm=[0, 2, 1])
    places = graph.constant("positions", _sinusoids(*x.shape)[None])
    x = graph.node("Add", "placed", [x, places], x.shape)
    spec = Block(
        attention=Attention(heads=heads, biases="qv", lowrank=lowrank),
        ffn=4 * hidden,
        eps=_EPS,
        activation="gelu",
    )
    for i in range(layers):
        x = block(graph, x, f"layer.{i}", spec)
    return layer_norm(graph, x, "last_norm", _EPS)


def _conv(graph: Graph, x: Value, name: str, channels: int, stride: int) -> Value:
    """Add a convolution over time with a kernel of 3."""
    before, length = x.shape
    fan_in = 3 * before
    arrays = [
        graph.weight(f"{name}.weight", (channels, before, 3), (2 / fan_in) ** 0.5),
        graph.weight(f"{name}.bias", (channels,), 0.1),
    ]
    shape = (channels, (length - 1) // stride + 1)
    graph.work(math.prod(shape) * fan_in)
    return graph.node(
        "Conv", f"{name}/conv", [x, *arrays], shape, kernel_shape=[3], strides=[stride], pads=[1, 1]
    )


def _sinusoids(rows: int, width: int) -> NDArray[np.float32]:
    """Return the fixed positions: sines, then cosines, of wavelengths in geometric steps."""
    half = width // 2
    speed = np.exp(-math.log(_LONGEST) / (half - 1) * np.arange(half))
    angle = np.arange(rows)[:, None] * speed[None]
    return np.concatenate([np.sin(angle), np.cos(angle)], axis=1).astype(np.float32)
