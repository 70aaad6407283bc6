"""A tiny language model as exporters lay it out in ONNX: past in, present out, and by numpy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

HEADS, WIDTH, VOCAB, PLACES = 2, 8, 40, 64
HIDDEN = HEADS * WIDTH
_RANDOM = np.random.default_rng(5)
_TABLES: dict[str, np.typing.NDArray[Any]] = {
    "table": _RANDOM.standard_normal((VOCAB, HIDDEN)).astype(np.float32),
    "places": _RANDOM.standard_normal((PLACES, HIDDEN)).astype(np.float32),
    "wk": _RANDOM.standard_normal((HIDDEN, HIDDEN)).astype(np.float32) / 4,
    "wv": _RANDOM.standard_normal((HIDDEN, HIDDEN)).astype(np.float32) / 4,
    "head": _RANDOM.standard_normal((HIDDEN, VOCAB)).astype(np.float32),
}


def expected(ids: Sequence[int]) -> Any:
    """Return the last token's logits."""
    x = _TABLES["table"][list(ids)] + _TABLES["places"][: len(ids)]
    k, v = ((x @ _TABLES[w]).reshape(-1, HEADS, WIDTH) for w in ("wk", "wv"))
    q = x.reshape(-1, HEADS, WIDTH)[-1]
    scores = np.einsum("hd,thd->ht", q, k)
    share = np.exp(scores - scores.max(1, keepdims=True))
    seen = np.einsum("ht,thd->hd", share / share.sum(1, keepdims=True), v)
    return seen.reshape(-1) @ _TABLES["head"]


def export(path: Path, cache: int = TensorProto.FLOAT, **changes: Any) -> Path:
    """Write it. Names and extras come from `changes`: `past`, `present`, `more` inputs, `ids`."""
    past, present = changes.get("past", "past_key_values.0."), changes.get("present", "present.0.")
    more: dict[str, tuple[int, list[Any]]] = changes.get("more", {})
    batch = changes.get("batch", "batch_size")
    shape = [batch, HEADS, changes.get("length", "past_sequence_length"), WIDTH]
    inputs = {
        "input_ids": (TensorProto.INT64, [batch, changes.get("ids", "sequence_length")]),
        "attention_mask": (TensorProto.INT64, [batch, "total"]),
        "position_ids": (TensorProto.INT64, [batch, "sequence_length"]),
        **{past + side: (cache, shape) for side in ("key", "value")},
        **more,
    }
    longer = [batch, HEADS, "total", WIDTH]
    outputs = {
        "logits": (TensorProto.FLOAT, [batch, "sequence_length", VOCAB]),
        **{present + side: (cache, longer) for side in ("key", "value")},
    }
    graph = helper.make_graph(
        _nodes(past, present, cache, more),
        "g",
        [helper.make_tensor_value_info(name, *value) for name, value in inputs.items()],
        [helper.make_tensor_value_info(name, *value) for name, value in outputs.items()],
        [
            *(numpy_helper.from_array(array, name) for name, array in _TABLES.items()),
            numpy_helper.from_array(np.array([0, 0, HEADS, WIDTH]), "split"),
            numpy_helper.from_array(np.array([0, 0, HIDDEN]), "joined"),
            numpy_helper.from_array(np.array(-1e9, np.float32), "never"),
            numpy_helper.from_array(np.array([1]), "one"),
            numpy_helper.from_array(np.array([1, 2]), "ahead"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)
    return path


def _nodes(past: str, present: str, cache: int, more: dict[str, Any]) -> list[onnx.NodeProto]:
    node = helper.make_node
    nodes = [
        node("Gather", ["table", "input_ids"], ["words"]),
        node("Gather", ["places", "position_ids"], ["at"]),
        node("Add", ["words", "at"], ["x"]),
        node("Reshape", ["x", "split"], ["q4"]),
        node("Transpose", ["q4"], ["q"], perm=[0, 2, 1, 3]),
    ]
    for side, weight in (("key", "wk"), ("value", "wv")):
        nodes += [
            node("MatMul", ["x", weight], [side]),
            node("Reshape", [side, "split"], [side + "4"]),
            node("Transpose", [side + "4"], [side + "t"], perm=[0, 2, 1, 3]),
            node("Cast", [side + "t"], [side + "c"], to=cache),
            node("Concat", [past + side, side + "c"], [present + side], axis=2),
            node("Cast", [present + side], [side + "all"], to=TensorProto.FLOAT),
        ]
    nodes += [
        node("Transpose", ["keyall"], ["keys"], perm=[0, 1, 3, 2]),
        node("MatMul", ["q", "keys"], ["scores"]),
        # What lies ahead of a token is hidden: position of each place > position of the token.
        node("CumSum", ["attention_mask", "one"], ["counted"]),
        node("Sub", ["counted", "one"], ["columns"]),
        node("Unsqueeze", ["columns", "ahead"], ["columns4"]),
        node("Unsqueeze", ["position_ids", "one"], ["rows3"]),
        node("Unsqueeze", ["rows3", "three"], ["rows4"]),
        node("Greater", ["columns4", "rows4"], ["hidden"]),
        node("Where", ["hidden", "never", "scores"], ["masked"]),
        node("Softmax", ["masked"], ["share"], axis=-1),
        node("MatMul", ["share", "valueall"], ["seen"]),
        node("Transpose", ["seen"], ["seen4"], perm=[0, 2, 1, 3]),
        node("Reshape", ["seen4", "joined"], ["seen3"]),
        node("MatMul", ["seen3", "head"], ["found"]),
    ]
    three = node("Constant", [], ["three"], value=numpy_helper.from_array(np.array([3])))
    last = "found"
    for name in more:  # read, so that a wrong type or a missing value is an error
        nodes += [
            node("Cast", [name], [name + "f"], to=TensorProto.FLOAT),
            node("ReduceMax", [name + "f"], [name + "m"], keepdims=0),
            node("Sub", [name + "m", name + "m"], [name + "0"]),
            node("Add", [last, name + "0"], [name + "out"]),
        ]
        last = name + "out"
    return [three, *nodes, node("Identity", [last], ["logits"])]
