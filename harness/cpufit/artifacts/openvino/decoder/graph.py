"""A decoder as a stateful OpenVINO graph, with the inputs and outputs that optimum-intel exports.

The KV cache is a pair of variables per block, reordered by `beam_idx` as beam search would. Which
operation is taken where one of several would do follows the patterns that OpenVINO's CPU plugin
fuses: decompression into the matrix products, rotation, RMSNorm, attention with its cache. Sources:
`stateful_sdpa_fusion.cpp` of the plugin, `fuse_rotary_positional_embeddings.cpp` beside it.

Weights are not here: each is a Parameter of its final shape and type, for `write` to fill.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from cpufit.artifacts.openvino.decoder.formats import cache_type, constants
from cpufit.networks.decoder.network import logits
from cpufit.networks.decoder.rope import frequencies

# Without that package OpenVINO sends no usage statistics and starts no thread for them.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
import openvino as ov  # noqa: E402
from openvino import opset13 as op  # noqa: E402
from openvino.op.util import Variable, VariableInfo  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from cpufit.artifacts.openvino.decoder.formats import Constant
    from cpufit.networks.decoder.tensors import Tensor
    from cpufit.precisions import Precision
    from cpufit.schema.shapes import Decoder

DECOMPRESSION = "/decompression"  # ends the names of conversions that only serve storage
_MASKED = np.float32(-65504)  # lowest float16: e to its power is 0, and no sum of two overflows


@dataclass(frozen=True)
class Graph:
    """`model` lacks the values of `weights`, which are Parameters of those names."""

    model: Any
    weights: tuple[Constant, ...]

    @property
    def parameters(self) -> int:
        """How many weights it has, scales and zero points apart."""
        return sum({c.tensor.name: c.tensor.parameters for c in self.weights}.values())

    def save(self, file: Path) -> None:
        """Write `file` (.xml) and the .bin beside it as they are, with weights as inputs."""
        ov.serialize(self.model, file, file.with_suffix(".bin"))


def build_graph(name: str, decoder: Decoder, precision: Precision, *, sees: bool = False) -> Graph:
    """Return the graph of a model: token ids in, logits of the last token out.

    Inputs are `input_ids`, `attention_mask`, `position_ids` (int64, batch x tokens, the mask with
    those of the cache) and `beam_idx` (int32, batch); the output is `logits`, batch x 1 x vocab.
    A model that sees has `image_rows` (float32, batch x rows x width) before its tokens, which mask
    and positions count like tokens.
    """
    emitter = _Emitter(decoder, precision, sees=sees)
    found = op.result(logits(emitter, decoder), name="logits")
    found.output(0).set_names({"logits"})
    parameters = [*emitter.inputs.values(), *emitter.weights.values()]
    model = ov.Model([found], emitter.assigns, parameters, name)
    model.set_rt_info(str(decoder.context), ["cpufit", "context"])
    model.set_rt_info(cache_type(precision), ["runtime_options", "KV_CACHE_PRECISION"])
    return Graph(model, tuple(emitter.weights))


class _Emitter:
    """Writes a decoder's operations; `weights` are those taken so far and their Parameters."""

    stacks = False

    def __init__(self, decoder: Decoder, precision: Precision, *, sees: bool) -> None:
        self._decoder, self._precision = decoder, precision
        self.weights: dict[Constant, Any] = {}
        self._taken: dict[str, Any] = {}
        self.assigns: list[Any] = []
        self.inputs = {
            name: _input(name, "i64", 2) for name in ("input_ids", "attention_mask", "position_ids")
        }
        self.inputs["beam_idx"] = _input("beam_idx", "i32", 1)
        if sees:
            self.inputs["image_rows"] = _rows(decoder.hidden)
        lengths = op.shape_of(self.inputs["input_ids"])
        self._batch = op.gather(lengths, _ints([0]), _ints(0))
        self._mask = self._make_mask()
        self._turns = self._make_turns() if decoder.position == "rope" else None

    def embedding(self, table: Tensor) -> Any:
        ids = op.convert(self.inputs["input_ids"], "i32")
        words = op.gather(self._take(table), ids, _ints(0))
        rows = self.inputs.get("image_rows")
        return words if rows is None else op.concat([rows, words], 1)

    def positions(self, table: Tensor) -> Any:
        places = op.convert(self.inputs["position_ids"], "i32")
        return op.gather(self._take(table), places, _ints(0))

    def linear(self, x: Any, weights: Sequence[Tensor], biases: Sequence[Tensor]) -> Any:
        (weight,) = weights
        x = op.matmul(x, self._take(weight), transpose_a=False, transpose_b=True)
        return op.add(x, self._take(biases[0])) if biases else x

    def norm(self, x: Any, weight: Tensor, bias: Tensor | None) -> Any:
        if bias is None:
            return self._rms(x, weight)
        eps = self._decoder.norm_eps
        x = op.mvn(x, _ints([-1]), normalize_variance=True, eps=eps, eps_mode="inside_sqrt")
        return op.add(op.multiply(x, self._take(weight)), self._take(bias))

    def attend(self, parts: Sequence[Any], block: int, norms: Sequence[Tensor]) -> Any:
        q, k, v = (self._heads(part) for part in self._split(parts))
        if self._turns:
            q, k = self._rotate(q, self._turns), self._rotate(k, self._turns)
        if norms:
            q, k = self._rms(q, norms[0]), self._rms(k, norms[1])
        k, v = self._remember(k, f"{block}.key"), self._remember(v, f"{block}.value")
        x = op.scaled_dot_product_attention(q, self._repeat(k), self._repeat(v), self._mask)
        x = op.transpose(x, _ints([0, 2, 1, 3]))
        width = self._decoder.heads * self._decoder.head_dim
        return op.reshape(x, _ints([0, 0, width]), special_zero=True)

    def activate(self, x: Any, kind: Literal["silu", "gelu"]) -> Any:
        return op.swish(x) if kind == "silu" else op.gelu(x, "tanh")

    def halves(self, x: Any) -> tuple[Any, Any]:
        both = op.split(x, _ints(-1), 2)
        return both.output(0), both.output(1)

    def add(self, x: Any, y: Any) -> Any:
        return op.add(x, y)

    def multiply(self, x: Any, y: Any) -> Any:
        return op.multiply(x, y)

    def scale(self, x: Any, factor: float) -> Any:
        return op.multiply(x, _float(factor))

    def last(self, x: Any) -> Any:
        return op.gather(x, _ints([-1]), _ints(1))

    def _take(self, tensor: Tensor) -> Any:
        """Return a tensor in float32; a tied head is the embedding, decompression included."""
        if tensor.name not in self._taken:
            self._taken[tensor.name] = self._decompressed(tensor)
        return self._taken[tensor.name]

    def _decompressed(self, tensor: Tensor) -> Any:
        """Return a weight as it is stored, and what NNCF writes behind it to make it float32."""
        parts = [self._parameter(constant) for constant in constants(tensor, self._precision)]
        if len(parts) == 1:
            return parts[0] if parts[0].get_element_type() == ov.Type.f32 else self._widen(parts[0])
        codes, zeros, scales = parts
        x = op.subtract(op.convert(codes, "f16"), op.convert(zeros, "f16"))
        x = op.multiply(x, scales)
        if len(codes.shape) > 2:
            x = op.reshape(x, _ints(tuple(reversed(tensor.shape))), special_zero=False)
        return _f32(x)

    def _widen(self, x: Any) -> Any:
        """Convert plain weights to float32; the name tells `write` that this is decompression."""
        widened = _f32(x)
        widened.set_friendly_name(x.get_friendly_name() + DECOMPRESSION)
        return widened

    def _parameter(self, constant: Constant) -> Any:
        node = op.parameter(constant.shape, getattr(ov.Type, constant.element))
        node.set_friendly_name(constant.name)
        self.weights[constant] = node
        return node

    def _rms(self, x: Any, weight: Tensor) -> Any:
        power = op.reduce_mean(op.power(x, _float(2)), _ints([-1]), keep_dims=True)
        root = op.sqrt(op.add(power, _float(self._decoder.norm_eps)))
        return op.multiply(op.multiply(x, op.divide(_float(1), root)), self._take(weight))

    def _split(self, parts: Sequence[Any]) -> Sequence[Any]:
        if len(parts) > 1:
            return parts
        card = self._decoder
        widths = [count * card.head_dim for count in (card.heads, card.kv_heads, card.kv_heads)]
        return list(op.variadic_split(parts[0], _ints(-1), _ints(widths)).outputs())

    def _heads(self, x: Any) -> Any:
        """Make batch x tokens x width into batch x heads x tokens x head_dim."""
        x = op.reshape(x, _ints([0, 0, -1, self._decoder.head_dim]), special_zero=True)
        return op.transpose(x, _ints([0, 2, 1, 3]))

    def _make_turns(self) -> tuple[Any, Any]:
        """Return cosines and sines of every position, batch x 1 x tokens x head_dim."""
        speeds = op.constant(frequencies(self._decoder).astype(np.float32).reshape(1, 1, -1))
        places = _f32(op.unsqueeze(self.inputs["position_ids"], _ints(2)))
        angles = op.multiply(places, speeds)
        angles = op.unsqueeze(op.concat([angles, angles], -1), _ints(1))
        return op.cos(angles), op.sin(angles)

    def _rotate(self, x: Any, turns: tuple[Any, Any]) -> Any:
        cos, sin = turns
        half = self._decoder.head_dim // 2
        # Any other kind of split, or the last axis by another number, would not be fused.
        both = op.variadic_split(x, _ints(3), _ints([half, half]))
        turned = op.concat([op.multiply(both.output(1), _float(-1)), both.output(0)], -1)
        return op.add(op.multiply(x, cos), op.multiply(turned, sin))

    def _remember(self, x: Any, name: str) -> Any:
        """Append to the cache of that name and return it whole."""
        heads, width = self._decoder.kv_heads, self._decoder.head_dim
        info = VariableInfo()
        info.data_shape = ov.PartialShape([-1, heads, -1, width])
        info.data_type = ov.Type.f32
        info.variable_id = f"past_key_values.{name}"
        variable = Variable(info)
        empty = op.concat([self._batch, _ints([heads, 0, width])], 0)
        past = op.read_value(op.broadcast(_float(0), empty), variable)
        whole = op.concat([op.gather(past, self.inputs["beam_idx"], _ints(0)), x], 2)
        self.assigns.append(op.assign(whole, variable))
        return whole

    def _repeat(self, x: Any) -> Any:
        """Give every query its key or value: batch x heads x all tokens x head_dim."""
        card = self._decoder
        times = card.heads // card.kv_heads
        if times == 1:
            return x
        shape = _ints([1, 1, times, 1, 1])  # fixed: asking x for its shape would prevent fusion
        many = op.broadcast(op.unsqueeze(x, _ints(2)), shape, broadcast_spec="BIDIRECTIONAL")
        return op.reshape(many, _ints([0, card.heads, -1, card.head_dim]), special_zero=True)

    def _make_mask(self) -> Any:
        """Return 0 where a token may see another, else a large negative: batch x 1 x tokens x all.

        Places of the cache are counted by the attention mask, as positions are when a padded
        prompt is left out of it.
        """
        mask = self.inputs["attention_mask"]
        places = op.subtract(op.cumsum(mask, _ints(1)), _ints(1))
        before = op.subtract(
            op.unsqueeze(self.inputs["position_ids"], _ints(2)), op.unsqueeze(places, _ints(1))
        )
        seen = op.logical_and(
            op.greater_equal(before, _ints(0)),
            op.not_equal(op.unsqueeze(mask, _ints(1)), _ints(0)),
        )
        if self._decoder.sliding_window:
            seen = op.logical_and(seen, op.less(before, _ints(self._decoder.sliding_window)))
        return op.unsqueeze(op.select(seen, _float(0), op.constant(_MASKED)), _ints(1))


def _input(name: str, element: str, axes: int) -> Any:
    node = op.parameter([-1] * axes, getattr(ov.Type, element), name=name)
    node.output(0).set_names({name})
    return node


def _rows(width: int) -> Any:
    node = op.parameter([-1, -1, width], ov.Type.f32, name="image_rows")
    node.output(0).set_names({"image_rows"})
    return node


def _ints(values: Any) -> Any:
    return op.constant(np.asarray(values, np.int64))


def _float(value: float) -> Any:
    return op.constant(np.float32(value))


def _f32(x: Any) -> Any:
    return op.convert(x, "f32")
