"""A decoder as ONNX nodes, in the operators ONNX Runtime has its fastest CPU kernels for.

The graph is laid out as onnxruntime-genai lays its graphs out: token ids and an attention mask go
in, logits of the last token come out, and `past_key_values.N` become `present.N`, in place where
both are bound to the same memory.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np
from onnx import TensorProto, helper

from cpufit.artifacts.onnx.decoder.nodes import MICROSOFT, Nodes
from cpufit.artifacts.onnx.decoder.planes import BLOCK, CODES, FLOAT_BITS, FLOATS, SCALES
from cpufit.networks.decoder.rope import frequencies

if TYPE_CHECKING:
    from collections.abc import Sequence

    from onnx import ValueInfoProto

    from cpufit.artifacts.onnx.decoder.weights import Weights
    from cpufit.networks.decoder.tensors import Tensor
    from cpufit.schema.shapes import Decoder

IMAGE_ROWS = "image_rows"  # input and its axis: rows that take the places of tokens
MAX_POSITIONS = 32_768  # of the tables of sines and cosines
_INT8_PRODUCTS = 4  # MatMulNBits' accuracy level at which activations are rounded to int8
_TOKENS = ("batch_size", "sequence_length")


def longest(decoder: Decoder) -> int:
    """Return the most tokens a sequence of the graph can have."""
    learned = decoder.position == "learned"
    return decoder.context if learned else min(decoder.context, MAX_POSITIONS)


class OnnxEmitter:
    """Writes nodes; a value is the name of a tensor. `bits` of a weight are 4, 8 or FLOAT_BITS.

    `table_bits` are those of the embedding's.
    """

    stacks = True

    def __init__(
        self, weights: Weights, decoder: Decoder, bits: int, table_bits: int, *, sees: bool = False
    ) -> None:
        self.graph = Nodes()
        self.inputs = [_integers("input_ids", *_TOKENS)]
        self.inputs.append(_integers("attention_mask", "batch_size", "total_sequence_length"))
        self.outputs = [_floats("logits", "batch_size", 1, decoder.vocab)]
        if sees:
            rows = _floats(IMAGE_ROWS, "batch_size", IMAGE_ROWS, decoder.hidden)
            self.inputs.append(rows)
        self._sees = sees
        if decoder.position == "learned" or decoder.qk_norm:
            self.inputs.append(_integers("position_ids", *_TOKENS))
        self._weights, self._decoder, self._bits = weights, decoder, bits
        self._table_bits = table_bits
        self._lengths = self._read_mask()

    def embedding(self, table: Tensor) -> str:
        """Look up rows, and put those of a picture before them where the model sees one."""
        words = self._look_up(table, "embedding.words" if self._sees else "embedding")
        if not self._sees:
            return words
        return self.graph.add("Concat", [IMAGE_ROWS, words], "embedding", axis=1)

    def _look_up(self, table: Tensor, name: str) -> str:
        """Look up rows, of the quantised table where it is quantised."""
        bits = self._table_bits
        if bits == FLOAT_BITS:
            return self.graph.add("Gather", [self._floats([table]), "input_ids"], name)
        width, rows = table.shape
        codes = self._codes([table], [rows, width * bits // 8], "rows", bits)
        return self.graph.add(
            "GatherBlockQuantized",
            [codes, "input_ids", self._scales([table], bits)],
            name,
            domain=MICROSOFT,
            bits=bits,
            block_size=BLOCK,
            gather_axis=0,
            quantize_axis=1,
        )

    def positions(self, table: Tensor) -> str:
        """Look up rows in float32."""
        return self.graph.add("Gather", [self._floats([table]), "position_ids"], "positions")

    def linear(self, x: str, weights: Sequence[Tensor], biases: Sequence[Tensor]) -> str:
        """Multiply; a quantised product adds the biases itself."""
        name = _stem(weights) if weights[0].block >= 0 else "logits"
        added = [self._floats(biases)] if biases else []
        if self._bits < FLOAT_BITS:
            return self._quantised(x, weights, added, name)
        product = self.graph.add(
            "FusedMatMul",
            [x, self._floats(weights)],
            f"{name}.product" if added else name,
            domain=MICROSOFT,
            transB=1,
        )
        return self.graph.add("Add", [product, *added], name) if added else product

    def norm(self, x: str, weight: Tensor, bias: Tensor | None) -> str:
        """Normalise, and add up the sum that `x` may be in the same node."""
        gains = [self._floats([tensor]) for tensor in (weight, bias) if tensor]
        name, epsilon = _stem([weight]), self._decoder.norm_eps
        terms = self.graph.take_sum(x)
        if terms is None:
            op = "LayerNormalization" if bias else "RMSNormalization"
            return self.graph.add(op, [x, *gains], name, axis=-1, epsilon=epsilon)
        op = "SkipLayerNormalization" if bias else "SkipSimplifiedLayerNormalization"
        outputs = [name, "", "", x]
        self.graph.many(op, [*terms, *gains], outputs, domain=MICROSOFT, epsilon=epsilon)
        return name

    def attend(self, parts: Sequence[str], block: int, norms: Sequence[Tensor]) -> str:
        """Attend with GroupQueryAttention, which rotates unless norms come after the rotation."""
        card, name = self._decoder, f"blk.{block}.attention"
        rotates = card.position == "rope" and not norms
        if norms:
            queries, keys, values = parts
            parts = [
                self._rotate_and_norm(queries, norms[0], card.heads),
                self._rotate_and_norm(keys, norms[1], card.kv_heads),
                values,
            ]
        past, present = self._cache(block)
        self.graph.many(
            "GroupQueryAttention",
            [*parts, *[""] * (3 - len(parts)), *past, *self._lengths, *self._tables(rotates)],
            [name, *present],
            domain=MICROSOFT,
            num_heads=card.heads,
            kv_num_heads=card.kv_heads,
            do_rotary=int(rotates),
            local_window_size=card.sliding_window or -1,
        )
        return name

    def activate(self, x: str, kind: Literal["silu", "gelu"]) -> str:
        """Apply the function; ONNX Runtime makes one node of SiLU's two."""
        if kind == "silu":
            return self.graph.add("Mul", [x, self.graph.add("Sigmoid", [x])])
        return self.graph.add("Gelu", [x], approximate="tanh")

    def halves(self, x: str) -> tuple[str, str]:
        """Cut the last axis in two."""
        first, second = f"{x}.first", f"{x}.second"
        self.graph.many("Split", [x], [first, second], axis=-1, num_outputs=2)
        return first, second

    def add(self, x: str, y: str) -> str:
        """Add, in the norm that follows where there is one."""
        return self.graph.sum(x, y)

    def multiply(self, x: str, y: str) -> str:
        """Multiply element by element."""
        return self.graph.add("Mul", [x, y])

    def scale(self, x: str, factor: float) -> str:
        """Multiply by a number."""
        name = self.graph.constant("scale", np.array(factor, np.float32))
        return self.graph.add("Mul", [x, name])

    def last(self, x: str) -> str:
        """Keep the last token of every sequence."""
        return self.graph.add("Gather", [x, self._integer("last", [-1])], axis=1)

    def _read_mask(self) -> tuple[str, str]:
        """Add what GroupQueryAttention wants to know: each sequence's length less 1, the longest's.

        The mask is batch x tokens: ones from the left, as many as a sequence has tokens.
        """
        add, mask = self.graph.add, "attention_mask"
        counts = add("ReduceSum", [mask, self._integer("axis_1", [1])], "tokens", keepdims=0)
        less = add("Sub", [counts, self._integer("one", [1])], "tokens.before_last")
        shape = add("Shape", [mask], "mask.shape")
        total = add("Gather", [shape, self._integer("index_1", 1)], "tokens.longest")
        int32 = TensorProto.INT32
        return add("Cast", [less], "seqlens_k", to=int32), add("Cast", [total], "total", to=int32)

    def _quantised(self, x: str, weights: Sequence[Tensor], bias: list[str], name: str) -> str:
        width, rows = weights[0].shape[0], sum(tensor.shape[1] for tensor in weights)
        codes = self._codes(
            weights, [rows, width // BLOCK, BLOCK * self._bits // 8], "blocks", self._bits
        )
        return self.graph.add(
            "MatMulNBits",
            [x, codes, self._scales(weights, self._bits), *(["", "", *bias] if bias else [])],
            name,
            domain=MICROSOFT,
            K=width,
            N=rows,
            bits=self._bits,
            block_size=BLOCK,
            accuracy_level=_INT8_PRODUCTS,
        )

    def _rotate_and_norm(self, x: str, weight: Tensor, heads: int) -> str:
        """Rotate each head's dimensions, then apply RMSNorm to them. `x` is heads side by side."""
        size = self._decoder.head_dim
        turned = self.graph.add(
            "RotaryEmbedding",
            [x, "position_ids", *self._tables(True)],
            domain=MICROSOFT,
            interleaved=0,
        )
        apart = self._integer(f"heads_of_{size}", [0, -1, size])
        joined = self._integer(f"width_{heads * size}", [0, -1, heads * size])
        gains, epsilon = self._floats([weight]), self._decoder.norm_eps
        heads_apart = self.graph.add("Reshape", [turned, apart])
        normed = self.graph.add("RMSNormalization", [heads_apart, gains], axis=-1, epsilon=epsilon)
        return self.graph.add("Reshape", [normed, joined])

    def _cache(self, block: int) -> tuple[list[str], list[str]]:
        """Declare keys and values of a block, before and after: batch x heads x tokens x width."""
        card = self._decoder
        past = [f"past_key_values.{block}.{part}" for part in ("key", "value")]
        present = [f"present.{block}.{part}" for part in ("key", "value")]
        shape = ("batch_size", card.kv_heads)
        for before, after in zip(past, present, strict=True):
            self.inputs.append(_floats(before, *shape, "past_sequence_length", card.head_dim))
            self.outputs.append(_floats(after, *shape, "total_sequence_length", card.head_dim))
        return past, present

    def _tables(self, wanted: bool) -> list[str]:
        """Return the names of the cosines and the sines where they are wanted."""
        return list(self._angles) if wanted else []

    @cached_property
    def _angles(self) -> tuple[str, str]:
        """Place cosines and sines, each positions x head_dim / 2."""
        angles = np.arange(longest(self._decoder))[:, None] * frequencies(self._decoder)
        place = self._weights.table
        return (
            place("cos_cache", np.cos(angles).astype(np.float32)),
            place("sin_cache", np.sin(angles).astype(np.float32)),
        )

    def _floats(self, tensors: Sequence[Tensor]) -> str:
        shape = [sum(tensor.shape[-1] for tensor in tensors), *tensors[0].shape[-2::-1]]
        return self._weights.place(f"{_stem(tensors)}.{tensors[0].suffix}", tensors, FLOATS, shape)

    def _codes(self, tensors: Sequence[Tensor], shape: list[int], layout: str, bits: int) -> str:
        name = f"{_stem(tensors)}.codes.{layout}"
        return self._weights.place(name, tensors, CODES[bits], shape)

    def _scales(self, tensors: Sequence[Tensor], bits: int) -> str:
        shape = [sum(tensor.shape[1] for tensor in tensors), tensors[0].shape[0] // BLOCK]
        return self._weights.place(f"{_stem(tensors)}.scales", tensors, SCALES[bits], shape)

    def _integer(self, name: str, value: int | list[int]) -> str:
        return self.graph.constant(name, np.array(value, np.int64))


def _stem(tensors: Sequence[Tensor]) -> str:
    """Name what tensors of one block form together: 'blk.3.attn_q+attn_k+attn_v'."""
    first = tensors[0].name.removesuffix(f".{tensors[0].suffix}")
    return "+".join((first, *(tensor.role for tensor in tensors[1:])))


def _integers(name: str, *shape: int | str) -> ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.INT64, shape)


def _floats(name: str, *shape: int | str) -> ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
