"""What goes into the inputs of a user's own files: found in the graph, given, or guessed."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import openvino as ov
import pytest
from onnx import TensorProto, helper, numpy_helper
from openvino import opset13 as ops

from cpufit.artifacts import asis
from cpufit.artifacts.asis import ir_file, onnx_file
from cpufit.errors import UsageError
from cpufit.given import told
from cpufit.schema import Input, Model, Order

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from cpufit.artifacts.base import Built

MODEL = Model(name="mine", title="m", family="vision", parameters=0, macs=0, source="test")
F32, I64, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL
WEIGHT = np.ones((32, 32), np.float32)
node, value = helper.make_node, helper.make_tensor_value_info


def _inspected(
    tmp_path: Path,
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[Any],
    given: Sequence[str] = (),
    **constants: Any,
) -> Built:
    path = _saved(tmp_path, nodes, inputs, **constants)
    return onnx_file.inspect(path, replace(MODEL, file=str(path), inputs=told(given)))


def _saved(
    tmp_path: Path,
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[Any],
    **constants: Any,
) -> Path:
    graph = helper.make_graph(
        list(nodes),
        "g",
        [value(name, kind, list(axes)) for name, kind, axes in inputs],
        [value("y", F32, None)],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    path = tmp_path / "m.onnx"
    opsets = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    return path


def _branch(name: str, nodes: Sequence[onnx.NodeProto], out: str) -> onnx.GraphProto:
    return helper.make_graph(list(nodes), name, [], [value(out, F32, None)])


# ------------------------------------------------------------------------------ what steers
def test_a_number_that_steers_an_if_is_noted_and_can_be_given(tmp_path: Path) -> None:
    heavy = _branch("then", [node("MatMul", ["x", "w"], ["a"])], "a")
    light = _branch("else", [node("Relu", ["x"], ["b"])], "b")
    nodes = [
        node("Equal", ["sr", "rate"], ["same"]),
        node("If", ["same"], ["y"], then_branch=heavy, else_branch=light),
    ]
    inputs = [("x", F32, (32, 32)), ("sr", I64, ())]
    constants: dict[str, Any] = {"w": WEIGHT, "rate": np.array(16000)}
    found = _inspected(tmp_path, nodes, inputs, **constants)
    assert found.inputs[1].fill == "ones"
    (note,) = found.notes
    assert note.startswith("input sr decides how much If computes, and was filled with 1")
    assert "--input sr=" in note
    given = _inspected(tmp_path, nodes, inputs, ["sr=16000"], **constants)
    assert (given.inputs[1].fill, given.notes) == ("values:16000", ())


def test_what_steers_inside_a_branch_or_a_loop_is_found(tmp_path: Path) -> None:
    inner = _branch("then", [node("Expand", ["x", "many"], ["a"])], "a")
    other = _branch("else", [node("Identity", ["x"], ["b"])], "b")
    body = helper.make_graph(
        [node("Less", ["i", "stop"], ["on"]), node("Identity", ["s"], ["t"])],
        "body",
        [value("i", I64, ()), value("c", BOOL, ()), value("s", F32, None)],
        [value("on", BOOL, ()), value("t", F32, None)],
    )
    nodes = [
        node("Cast", ["n"], ["n32"], to=TensorProto.INT32),
        node("Unsqueeze", ["n32", "zero"], ["long"]),
        node("Cast", ["long"], ["many"], to=I64),
        node("If", ["flag"], ["z"], then_branch=inner, else_branch=other),
        node("Loop", ["count", "", "z"], ["y"], body=body),
    ]
    inputs = [("x", F32, (1,)), ("n", I64, ()), ("stop", I64, ()), ("flag", BOOL, (1,))]
    constants: dict[str, Any] = {"zero": np.zeros(1, np.int64), "count": np.array(9)}
    notes = _inspected(tmp_path, nodes, inputs, **constants).notes
    assert [note.split(",")[0] for note in notes] == [
        "input n decides how much Expand computes",
        "input stop decides how much Loop computes",
        "input flag decides how much If computes",
    ]


def test_ids_and_masks_of_an_encoder_steer_nothing(tmp_path: Path) -> None:
    nodes = [
        node("Gather", ["table", "ids"], ["h"]),
        node("Cast", ["mask"], ["m"], to=F32),
        node("Unsqueeze", ["m", "last"], ["wide"]),
        node("Mul", ["h", "wide"], ["masked"]),
        node("MatMul", ["masked", "w"], ["out"]),
        node("Shape", ["ids"], ["shape"]),
        node("Concat", ["shape", "width"], ["back"], axis=0),
        node("Reshape", ["out", "back"], ["y"]),
    ]
    inputs = [("ids", I64, (1, 8)), ("mask", I64, (1, 8))]
    found = _inspected(
        tmp_path,
        nodes,
        inputs,
        table=np.ones((50, 32), np.float32),
        w=WEIGHT,
        last=np.array([-1]),
        width=np.array([32]),
    )
    assert [spec.fill for spec in found.inputs] == ["ids:50", "ones"]
    assert found.notes == ()


# ------------------------------------------------------------------------------ look-ups
def test_ids_are_drawn_below_the_least_table_on_the_axis_they_index(tmp_path: Path) -> None:
    nodes = [
        node("Gather", ["big", "ids"], ["a"]),
        node("Add", ["ids", "two"], ["shifted"]),
        node("Gather", ["turned", "shifted"], ["b"], axis=1),
        node("Mod", ["ids", "three"], ["hashed"]),
        node("Gather", ["tiny", "hashed"], ["y"]),
    ]
    constants: dict[str, Any] = {
        "big": np.ones((1000, 8), np.float32),
        "turned": np.ones((8, 60), np.float32),
        "tiny": np.ones((3, 8), np.float32),
        "two": np.array(2),
        "three": np.array(3),
    }
    found = _inspected(tmp_path, nodes, [("ids", I64, ("batch", "seq"))], **constants)
    assert found.inputs[0].fill == "ids:60"


# ------------------------------------------------------------------------------ open axes
def test_a_name_has_one_size_in_all_inputs(tmp_path: Path) -> None:
    nodes = [node("MatMul", ["x", "z"], ["y"])]
    inputs = [("x", F32, ("batch", "features")), ("z", F32, ("features", 16))]
    found = _inspected(tmp_path, nodes, inputs)
    assert [spec.shape for spec in found.inputs] == [("batch", 128), (128, 16)]
    given = _inspected(tmp_path, nodes, inputs, ["x=1x20"])
    assert [spec.shape for spec in given.inputs] == [("batch", 20), (20, 16)]
    assert given.notes == ()


@pytest.mark.parametrize(
    ("axes", "shape"),
    [
        (("N", 3, 48, "W"), ("batch", 3, 48, 320)),
        (("N", 3, 32, "W"), ("batch", 3, 32, 320)),
        (("N", 3, 640, "W"), ("batch", 3, 640, 640)),
        (("N", "samples"), ("batch", 16000)),
    ],
)
def test_first_guesses_follow_the_layout(
    tmp_path: Path, axes: Sequence[int | str], shape: tuple[int | str, ...]
) -> None:
    found = _inspected(tmp_path, [node("Identity", ["x"], ["y"])], [("x", F32, axes)])
    assert found.inputs[0].shape == shape


def test_a_guess_that_fails_gives_way_to_one_that_runs(tmp_path: Path) -> None:
    nodes = [
        node("AveragePool", ["x"], ["line"], kernel_shape=[48, 1]),
        node("Squeeze", ["line", "two"], ["y"]),
    ]
    path = _saved(tmp_path, nodes, [("x", F32, ("n", 3, "h", "w"))], two=np.array([2]))
    order = Order(
        model=replace(MODEL, file=str(path)),
        precision="fp32",
        runtime="onnxruntime",
        weights="real",
        builder="asis",
        real_file=path,
    )
    built = asis.build(order, tmp_path)
    assert built.inputs[0].shape == ("batch", 3, 48, 320)
    assert [note.split("measured at ")[1] for note in built.notes] == ["48", "320"]


# ------------------------------------------------------------------------------ what is given
@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["nothing=1"], "no input 'nothing'; it has x, sr"),
        (["x=3x48"], "x has 3 axes"),
        (["x=1x4x9"], "3 is fixed"),
        (["sr=1.5"], "sr is int64"),
        (["sr=9223372036854775808"], "sr is int64"),
        (["x=1,2"], "takes 3"),
        (["sr=1x2"], "sr has 0 axes"),
    ],
)
def test_what_cannot_be_given_is_refused_in_a_line(
    tmp_path: Path, words: list[str], says: str
) -> None:
    inputs = [("x", F32, ("n", "len", 3)), ("sr", I64, ())]
    path = _saved(tmp_path, [node("Relu", ["x"], ["y"])], inputs)
    with pytest.raises(UsageError, match="--input") as raised:
        asis.check_given(replace(MODEL, file=str(path), inputs=told(words)))
    assert says in str(raised.value)
    assert "\n" not in str(raised.value)


def test_values_run_along_the_last_axis(tmp_path: Path) -> None:
    nodes = [node("Gather", ["table", "ids"], ["y"])]
    inputs = [("ids", I64, ("batch", "seq"))]
    found = _inspected(tmp_path, nodes, inputs, ["ids=5,6,7"], table=WEIGHT)
    assert found.inputs == (
        Input(name="ids", dtype="int64", shape=("batch", 3), fill="values:5,6,7"),
    )


# ------------------------------------------------------------------------------ OpenVINO
def _ir(tmp_path: Path, model: ov.Model) -> Path:
    path = tmp_path / "m.xml"
    ov.save_model(model, path, compress_to_fp16=False)
    return path


def _parameter(name: str, kind: object, shape: Sequence[int]) -> ov.Node:
    found = ops.parameter(shape, kind, name=name)
    found.output(0).get_tensor().set_names({name})
    return found


def test_an_ir_tells_the_same(tmp_path: Path) -> None:
    ids = _parameter("ids", np.int64, [-1, 8])
    n = _parameter("n", np.int32, [])
    big = ops.gather(np.ones((500, 8), np.float32), ids, np.array(0))
    turned = ops.gather(np.ones((8, 40), np.float32), ids, np.array(1))
    many = ops.range(np.int32(0), n, np.int32(1), output_type="i32")
    model = ov.Model([big, turned, many], [ids, n], "m")
    path = _ir(tmp_path, model)
    found = ir_file.inspect(path, MODEL)
    assert [spec.fill for spec in found.inputs] == ["ids:40", "ones"]
    (note,) = found.notes
    assert note.startswith("input n decides how much Range computes")
    given = ir_file.inspect(path, replace(MODEL, inputs="n=5"))
    assert (given.inputs[1].fill, given.notes) == ("values:5", ())


def test_what_steers_inside_an_ir_is_found(tmp_path: Path) -> None:
    flag, n = _parameter("flag", np.bool_, []), _parameter("n", np.int64, [1])
    x = _parameter("x", np.float32, [1])
    a, m = ops.parameter([1], np.float32), ops.parameter([1], np.int64)
    b = ops.parameter([1], np.float32)
    then = ov.Model([ops.broadcast(a, m)], [a, m], "then")
    other = ov.Model([ops.relu(b)], [b], "else")
    both = ops.if_op(flag)
    both.set_then_body(then)
    both.set_else_body(other)
    both.set_input(x.output(0), a, b)
    both.set_input(n.output(0), m, None)
    out = both.set_output(then.results[0], other.results[0])
    path = _ir(tmp_path, ov.Model([out], [x, flag, n], "m"))
    notes = ir_file.inspect(path, MODEL).notes
    assert [note.split(",")[0] for note in notes] == [
        "input flag decides how much If computes",
        "input n decides how much Broadcast computes",
    ]
