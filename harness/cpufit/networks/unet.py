"""The UNet of Stable Diffusion 1.5 (Rombach et al. 2022), as diffusers' `UNet2DConditionModel`.

One step: a noisy picture of 4 channels, an eighth of the image's sides, and a text's 77 rows.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from cpufit.errors import UsageError
from cpufit.networks.graph import Value
from cpufit.networks.layers import Conv, activate, add, concat, conv, upsample
from cpufit.networks.transformer import Attention, attention, gelu, layer_norm, linear

if TYPE_CHECKING:
    from cpufit.networks.graph import Graph

SHRINK = 8  # pixels of the image for each of the latent picture
_CHANNELS = 4
_WIDTHS = (320, 640, 1280, 1280)
_DEEPEST = len(_WIDTHS) - 1  # has no attention, and is not halved again
_TIME = 1280
_TOKENS, _TEXT_WIDTH = 77, 768
_GROUPS = 32
_HEADS = 8
_BLOCKS = 2  # of each width on the way down, one more on the way up
_BRANCH = 0.3  # scale of a branch, so that dozens of additions do not pile up


def unet(graph: Graph, side: int) -> Value:
    """Add the network with its inputs for images of `side` pixels: 4,S/8,S/8 -> the same.

    Raises UsageError where the image does not halve as often as it must.
    """
    step = SHRINK * 2**_DEEPEST
    if side % step:
        raise UsageError(
            f"{graph.name} cannot make {side} x {side} pixels", f"use a multiple of {step}"
        )
    latent = side // SHRINK
    sample = graph.input("sample", "float32", (_CHANNELS, latent, latent), "normal")
    text = graph.input("encoder_hidden_states", "float32", (_TOKENS, _TEXT_WIDTH), "normal")
    step_of = _time(graph)
    x = conv(graph, sample, "conv_in", Conv(channels=_WIDTHS[0], kernel=3, bias=True))
    kept = [x]
    for i, width in enumerate(_WIDTHS):
        for j in range(_BLOCKS):
            x = _residual(graph, x, f"down.{i}.{2 * j}", width, step_of)
            if i != _DEEPEST:
                x = _transformer(graph, x, f"down.{i}.{2 * j + 1}", text)
            kept.append(x)
        if i != _DEEPEST:
            half = Conv(channels=width, kernel=3, stride=2, bias=True)
            x = conv(graph, x, f"down.{i}.half", half)
            kept.append(x)
    x = _residual(graph, x, "mid.0", _WIDTHS[-1], step_of)
    x = _transformer(graph, x, "mid.1", text)
    x = _residual(graph, x, "mid.2", _WIDTHS[-1], step_of)
    for i, width in reversed(list(enumerate(_WIDTHS))):
        for j in range(_BLOCKS + 1):
            x = concat(graph, [x, kept.pop()], f"up.{i}.{2 * j}/concat")
            x = _residual(graph, x, f"up.{i}.{2 * j}", width, step_of)
            if i != _DEEPEST:
                x = _transformer(graph, x, f"up.{i}.{2 * j + 1}", text)
        if i:
            x = upsample(graph, x, f"up.{i}.double")
            x = conv(graph, x, f"up.{i}.smooth", Conv(channels=width, kernel=3, bias=True))
    x = activate(graph, _group_norm(graph, x, "out.norm", 1e-5), "silu")
    return conv(graph, x, "out.conv", Conv(channels=_CHANNELS, kernel=3, bias=True))


def _time(graph: Graph) -> Value:
    """Turn the number of the step into a row of features."""
    half = _WIDTHS[0] // 2
    given = graph.input("timestep", "float32", (1,), "ones")
    speed = np.exp(-math.log(10_000) / half * np.arange(half)).astype(np.float32)[None]
    angle = graph.node("Mul", "time/angle", [given, graph.constant("time.speed", speed)], (half,))
    waves = [graph.node(op, f"time/{op}", [angle], (half,)) for op in ("Cos", "Sin")]
    x = linear(graph, concat(graph, waves, "time/waves"), "time.0", _TIME)
    return activate(graph, linear(graph, activate(graph, x, "silu"), "time.1", _TIME), "silu")


def _residual(graph: Graph, x: Value, name: str, width: int, step: Value) -> Value:
    """Add two convolutions, told in between which step it is, to what goes past them."""
    spec = Conv(channels=width, kernel=3, bias=True)
    y = activate(graph, _group_norm(graph, x, f"{name}.norm1", 1e-5), "silu")
    y = conv(graph, y, f"{name}.conv1", spec)
    told = linear(graph, step, f"{name}.time", width)
    plane = graph.constant(f"{name}.plane", np.array((0, 0, 1, 1), np.int64))
    told = graph.node("Reshape", f"{name}/told", [told, plane], (width, 1, 1))
    y = graph.node("Add", f"{name}/step", [y, told], y.shape)
    y = activate(graph, _group_norm(graph, y, f"{name}.norm2", 1e-5, _BRANCH), "silu")
    y = conv(graph, y, f"{name}.conv2", spec)
    if x.shape[0] != width:
        x = conv(graph, x, f"{name}.shortcut", Conv(channels=width, bias=True))
    return add(graph, x, y, f"{name}/add")


def _transformer(graph: Graph, x: Value, name: str, text: Value) -> Value:
    """Let every pixel attend to all pixels and to the text."""
    start, (channels, *plane) = x, x.shape
    x = _group_norm(graph, x, f"{name}.norm", 1e-6)
    x = conv(graph, x, f"{name}.proj_in", Conv(channels=channels, bias=True))
    flat = graph.constant(f"{name}.flat", np.array((0, 0, -1), np.int64))
    rows = math.prod(plane)
    x = graph.node("Reshape", f"{name}/flat", [x, flat], (channels, rows))
    x = graph.node("Transpose", f"{name}/rows", [x], (rows, channels), perm=[0, 2, 1])
    x = _attend(graph, x, f"{name}.self", None)
    x = _attend(graph, x, f"{name}.text", text)
    y = _geglu(graph, layer_norm(graph, x, f"{name}.ffn.norm", 1e-5), f"{name}.ffn")
    x = add(graph, x, y, f"{name}.ffn/add")
    x = graph.node("Transpose", f"{name}/columns", [x], (channels, rows), perm=[0, 2, 1])
    shape = graph.constant(f"{name}.shape", np.array((0, 0, *plane), np.int64))
    x = graph.node("Reshape", f"{name}/whole", [x, shape], start.shape)
    x = conv(graph, x, f"{name}.proj_out", Conv(channels=channels, bias=True))
    return add(graph, x, start, f"{name}/add")


def _attend(graph: Graph, x: Value, name: str, text: Value | None) -> Value:
    spec = Attention(heads=_HEADS, biases="")
    y = attention(graph, layer_norm(graph, x, f"{name}.norm", 1e-5), name, spec, context=text)
    return add(graph, x, y, f"{name}/add")


def _geglu(graph: Graph, x: Value, name: str) -> Value:
    """Multiply one half of four times the width by GELU of the other half, and come back."""
    width, inner = x.shape[-1], 4 * x.shape[-1]
    x = linear(graph, x, f"{name}.0", 2 * inner)
    sizes = graph.constant(f"{name}.sizes", np.array((inner, inner), np.int64))
    parts = [Value(f"{name}/half.{i}", (x.shape[0], inner)) for i in range(2)]
    graph.nodes("Split", f"{name}/split", [x, sizes], [part.name for part in parts], axis=-1)
    gate = gelu(graph, parts[1])
    x = graph.node("Mul", f"{name}/gated", [parts[0], gate], gate.shape)
    return linear(graph, x, f"{name}.1", width)


def _group_norm(graph: Graph, x: Value, name: str, eps: float, scale: float = 1.0) -> Value:
    """Norm groups of channels over the whole plane, as exporters write it for opset 17."""
    channels = x.shape[0]
    grouped = graph.constant(f"{name}.groups", np.array((0, _GROUPS, -1), np.int64))
    part = (_GROUPS, math.prod(x.shape) // _GROUPS)
    y = graph.node("Reshape", f"{name}/groups", [x, grouped], part)
    ones = graph.constant(f"{name}.ones", np.ones(_GROUPS, np.float32))
    zeros = graph.constant(f"{name}.zeros", np.zeros(_GROUPS, np.float32))
    y = graph.node("InstanceNormalization", f"{name}/norm", [y, ones, zeros], part, epsilon=eps)
    whole = graph.constant(f"{name}.whole", np.array((0, *x.shape), np.int64))
    y = graph.node("Reshape", f"{name}/whole", [y, whole], x.shape)
    weight = graph.weight(f"{name}.weight", (channels, 1, 1), 0.1 * scale, scale)
    y = graph.node("Mul", f"{name}/scaled", [y, weight], x.shape)
    bias = graph.weight(f"{name}.bias", (channels, 1, 1), 0.1 * scale)
    return graph.node("Add", f"{name}/shifted", [y, bias], x.shape)
