"""A user's own ONNX and IR files: what they say of themselves, and damage in words."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from cpufit.artifacts.asis import ir_file, onnx_file
from cpufit.artifacts.real import locate
from cpufit.catalog import pick
from cpufit.errors import CpufitError, DataError, UnavailableError, UnsupportedError
from cpufit.paths import cache_root
from cpufit.runtimes import load_runtime
from cpufit.runtimes.base import LoadOptions, Step
from cpufit.schema import Artifact, Input, Model, RealFile

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from cpufit.artifacts.base import Built

MODEL = Model(name="mine", title="m", family="vision", parameters=0, macs=0, source="test")
F32, I64 = TensorProto.FLOAT, TensorProto.INT64
EMBEDDING = np.ones((77, 8), np.float32)


def _onnx(
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[tuple[str, int, Sequence[int | str | None]]],
    *constants: tuple[str, np.typing.NDArray[np.generic]],
    **imports: int,
) -> onnx.ModelProto:
    graph = helper.make_graph(
        list(nodes),
        "g",
        [helper.make_tensor_value_info(name, kind, list(axes)) for name, kind, axes in inputs],
        [helper.make_tensor_value_info("y", F32, None)],
        [numpy_helper.from_array(array, name) for name, array in constants],
    )
    opsets = [helper.make_opsetid("", imports.pop("opset", 17))]
    opsets += [helper.make_opsetid(domain, version) for domain, version in imports.items()]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def _save(tmp_path: Path, model: onnx.ModelProto) -> Path:
    path = tmp_path / "m.onnx"
    onnx.save(model, path)
    return path


def _encoder() -> onnx.ModelProto:
    """Return an embedding lookup behind a Cast, masked, with types and positions looked up too."""
    kinds: list[tuple[str, int, Sequence[int | str | None]]] = [
        ("input_ids", I64, ("batch_size", "sequence_length")),
        ("attention_mask", I64, ("batch_size", "sequence_length")),
        ("token_type_ids", I64, ("batch_size", "sequence_length")),
        ("rate", I64, (1,)),
    ]
    nodes = [
        helper.make_node("Cast", ["input_ids"], ["ids32"], to=TensorProto.INT32),
        helper.make_node("Gather", ["table", "ids32"], ["found"]),
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=F32),
        helper.make_node("Mul", ["found", "mask"], ["y"]),
    ]
    return _onnx(nodes, kinds, ("table", EMBEDDING), ("shape", np.array([0, -1, 8])))


def test_an_encoder_is_read_whole(tmp_path: Path) -> None:
    built = onnx_file.inspect(_save(tmp_path, _encoder()), MODEL)
    assert built.inputs == (
        Input(name="input_ids", dtype="int64", shape=("batch", 128), fill="ids:77"),
        Input(name="attention_mask", dtype="int64", shape=("batch", 128), fill="ones"),
        Input(name="token_type_ids", dtype="int64", shape=("batch", 128), fill="zeros"),
        Input(name="rate", dtype="int64", shape=(1,), fill="ids:2"),
    )
    assert built.parameters == 77 * 8
    assert built.format == "fp32"
    assert "opset 17" in built.recipe
    assert len(built.notes) == 3
    assert built.notes[0] == (
        "input input_ids: axis 1 (sequence_length) is open in the file, measured at 128"
    )


@pytest.mark.parametrize(
    ("axes", "shape"),
    [
        (("N", 3, "H", "W"), ("batch", 3, 224, 224)),
        ((None, None, None, None), ("batch", 3, 224, 224)),
        (("n", "h", "w", 3), ("batch", 224, 224, 3)),
        ((1, 3, 640, 640), (1, 3, 640, 640)),
        ((2, "batch", 128), (2, "batch", 128)),
        (("seq_len", "batch"), (128, "batch")),
        (("time", 40), (128, 40)),
        (("rows",), ("batch",)),
        (("b", "", 80), ("batch", 128, 80)),
        ((), ()),
    ],
)
def test_open_axes(
    tmp_path: Path, axes: tuple[int | str | None, ...], shape: tuple[int | str, ...]
) -> None:
    model = _onnx([helper.make_node("Identity", ["x"], ["y"])], [("x", F32, axes)])
    built = onnx_file.inspect(_save(tmp_path, model), MODEL)
    assert built.inputs[0].shape == shape
    guessed = [b for a, b in zip(axes, shape, strict=True) if a != b and b != "batch"]
    assert len(built.notes) == len(guessed)


def _image_model(axes: Sequence[int | str | None], *, turned: bool) -> onnx.ModelProto:
    """Return a model with a convolution of one channel, behind a Transpose where `turned`."""
    turn = [helper.make_node("Transpose", ["scaled"], ["planes"], perm=[0, 3, 1, 2])]
    nodes = [
        helper.make_node("Div", ["x", "by"], ["scaled"]),
        *(turn if turned else []),
        helper.make_node("Conv", ["planes" if turned else "scaled", "w"], ["y"]),
    ]
    weight = np.ones((4, 1, 3, 3), np.float32)
    return _onnx(nodes, [("x", F32, axes)], ("w", weight), ("by", np.full(1, 255, np.float32)))


@pytest.mark.parametrize(
    ("turned", "shape"), [(False, ("batch", 1, 224, 224)), (True, ("batch", 224, 224, 1))]
)
def test_the_layout_is_that_of_the_first_convolution(
    tmp_path: Path, turned: bool, shape: tuple[int | str, ...]
) -> None:
    model = _image_model((None, None, None, None), turned=turned)
    built = onnx_file.inspect(_save(tmp_path, model), MODEL)
    assert built.inputs[0].shape == shape
    assert len(built.notes) == 3


@pytest.mark.parametrize(
    ("turned", "axes", "place"), [(False, ("n", 64, 64, 1), 1), (True, ("n", 1, 64, 64), 3)]
)
def test_a_wrong_layout_is_told_with_its_mending(
    tmp_path: Path, turned: bool, axes: tuple[int | str, ...], place: int
) -> None:
    path = _save(tmp_path, _image_model(axes, turned=turned))
    with pytest.raises(DataError, match=f"takes its channels from axis {place}: 1") as found:
        onnx_file.inspect(path, MODEL)
    assert "export the model with that layout" in found.value.remedy


@pytest.mark.parametrize("sample", [(3, 48, 320), (1, 3, 48, 320)])
def test_the_cards_sample_shape_leaves_nothing_to_guess(
    tmp_path: Path, sample: tuple[int, ...]
) -> None:
    real = RealFile(
        package="p",
        version="1",
        member="m",
        sha256="",
        licence="",
        precision="fp32",
        format="fp32",
        sample_shape=sample,
    )
    card = Model(name="ocr", title="", family="ocr", parameters=0, macs=0, source="", real=real)
    nodes = [helper.make_node("Identity", ["x"], ["y"])]
    path = _save(tmp_path, _onnx(nodes, [("x", F32, ("?", 3, "?", "?"))]))
    built = onnx_file.inspect(path, card)
    assert built.inputs[0].shape == ("batch", 3, 48, 320)
    assert built.notes == ()


def test_weights_in_constant_nodes_and_branches_count(tmp_path: Path) -> None:
    inner = helper.make_graph(
        [helper.make_node("Identity", ["v"], ["r"])],
        "branch",
        [],
        [helper.make_tensor_value_info("r", F32, None)],
        [numpy_helper.from_array(np.ones(5, np.float32), "v")],
    )
    nodes = [
        helper.make_node(
            "Constant", [], ["w"], value=numpy_helper.from_array(np.ones((3, 4), np.float32))
        ),
        helper.make_node("If", ["go"], ["z"], then_branch=inner, else_branch=inner),
        helper.make_node("MatMul", ["x", "w"], ["y"]),
    ]
    model = _onnx(nodes, [("x", F32, ("batch", 3)), ("go", TensorProto.BOOL, ())])
    built = onnx_file.inspect(_save(tmp_path, model), MODEL)
    assert built.parameters == 12 + 5 + 5
    assert built.inputs[1] == Input(name="go", dtype="bool", shape=(), fill="ones")


def test_initializers_listed_as_inputs_are_no_inputs(tmp_path: Path) -> None:
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    inputs: list[tuple[str, int, Sequence[int | str | None]]] = [
        ("x", F32, (1, 3)),
        ("w", F32, (3, 4)),
    ]
    model = _onnx(nodes, inputs, ("w", np.ones((3, 4), np.float32)))
    built = onnx_file.inspect(_save(tmp_path, model), MODEL)
    assert [spec.name for spec in built.inputs] == ["x"]


def _quantized(operator: str) -> onnx.ModelProto:
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node(operator, ["q", "w", "z", "zw"], ["i"]),
        helper.make_node("Cast", ["i"], ["y"], to=F32),
    ]
    return _onnx(
        nodes,
        [("x", F32, ("batch", 3))],
        ("s", np.ones((), np.float32)),
        ("z", np.zeros((), np.uint8)),
        ("zw", np.zeros((), np.int8)),
        ("w", np.ones((3, 4), np.int8)),
    )


def test_scales_and_zero_points_are_no_parameters(tmp_path: Path) -> None:
    path = _save(tmp_path, _quantized("MatMulInteger"))
    built = onnx_file.inspect(path, MODEL)
    assert built.parameters == 12
    assert built.format == "dynamic int8"
    assert onnx_file.about(path).precision == "int8"


@pytest.mark.parametrize(
    ("dtype", "precision"), [("float32", "fp32"), ("float16", "fp16"), ("bfloat16", "bf16")]
)
def test_the_precision_is_that_of_most_weights(tmp_path: Path, dtype: str, precision: str) -> None:
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype)) if dtype != "bfloat16" else 16
    weights = helper.make_tensor("w", kind, [3, 4], [1.0] * 12)
    model = _onnx([helper.make_node("MatMul", ["x", "w"], ["y"])], [("x", kind, ("batch", 3))])
    model.graph.initializer.append(weights)
    model.graph.initializer.append(numpy_helper.from_array(np.ones(3, np.float32), "bias"))
    path = _save(tmp_path, model)
    assert onnx_file.about(path).precision == precision
    assert onnx_file.inspect(path, MODEL).inputs[0].dtype == dtype


@pytest.mark.parametrize(("bits", "precision"), [(4, "int4"), (8, "int8")])
def test_packed_weights_count_unpacked(tmp_path: Path, bits: int, precision: str) -> None:
    node = helper.make_node(
        "MatMulNBits",
        ["x", "w", "s"],
        ["y"],
        domain="com.microsoft",
        K=64,
        N=10,
        bits=bits,
        block_size=32,
    )
    model = _onnx(
        [node],
        [("x", F32, ("batch", 64))],
        ("w", np.zeros((10, 2, 4 * bits), np.uint8)),
        ("s", np.ones(20, np.float32)),
    )
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    path = _save(tmp_path, model)
    assert onnx_file.about(path).precision == precision
    built = onnx_file.inspect(path, MODEL)
    assert built.parameters == 640
    assert built.format == f"weight-only {precision}"


def test_missing_and_short_external_weights_are_named(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(_encoder(), path, save_as_external_data=True, location="m.data", size_threshold=0)
    assert onnx_file.inspect(path, MODEL).parameters == 77 * 8
    (tmp_path / "m.data").write_bytes(b"short")
    with pytest.raises(DataError, match=r"m.data, the weights of m.onnx, is cut short"):
        onnx_file.inspect(path, MODEL)
    (tmp_path / "m.data").unlink()
    with pytest.raises(DataError, match=r"m.data, which is missing; put m.data beside m.onnx"):
        onnx_file.inspect(path, MODEL)
    onnx.save(_encoder(), path, save_as_external_data=True, location="m.data", size_threshold=0)
    path.write_bytes(path.read_bytes().replace(b"m.data", b"m\x00data"))
    with pytest.raises(DataError, match="does not say in which file a weight is"):
        onnx_file.inspect(path, MODEL)


@pytest.mark.parametrize("location", ["../w", "/etc/hostname", "a/../../w", "..", "./../w"])
@pytest.mark.parametrize("place", ["initializer", "sparse", "attribute", "function"])
def test_weights_outside_of_the_folder_are_never_looked_for(
    tmp_path: Path, location: str, place: str
) -> None:
    (tmp_path / "w").write_bytes(b"of somebody else")
    (tmp_path / "in").mkdir()
    model = _encoder()
    node = helper.make_node("Constant", [], ["c"], value=TensorProto(dims=[1], data_type=F32))
    if place == "function":
        made = model.functions.add(name="f", domain="own")
        made.node.append(node)
        tensor = made.node[0].attribute[0].t
    elif place == "attribute":
        model.graph.node.append(node)
        tensor = model.graph.node[-1].attribute[0].t
    elif place == "sparse":
        tensor = model.graph.sparse_initializer.add().values
    else:
        tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    path = tmp_path / "in" / "m.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(DataError, match=r"m\.onnx wants weights from outside of its folder"):
        onnx_file.inspect(path, MODEL)


def test_what_nobody_can_run_is_said(tmp_path: Path) -> None:
    custom = helper.make_node("Frobnicate", ["x"], ["y"], domain="my.ops")
    inputs = [("x", F32, ("batch", 3))]
    with pytest.raises(UnsupportedError, match=r"Frobnicate of 'my.ops'"):
        onnx_file.inspect(_save(tmp_path, _onnx([custom], inputs)), MODEL)
    node = helper.make_node("Identity", ["x"], ["y"])
    with pytest.raises(UnsupportedError, match="opset 99, newer than"):
        onnx_file.inspect(_save(tmp_path, _onnx([node], inputs, opset=99)), MODEL)
    text = _onnx([node], [("x", TensorProto.STRING, (1,))])
    with pytest.raises(UnsupportedError, match="input x is not a tensor of numbers"):
        onnx_file.inspect(_save(tmp_path, text), MODEL)
    unshaped = _onnx([node], inputs)
    unshaped.graph.input[0].type.tensor_type.ClearField("shape")
    with pytest.raises(UnsupportedError, match="does not say the shape of input x"):
        onnx_file.inspect(_save(tmp_path, unshaped), MODEL)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
@given(data=st.data())
def test_damaged_onnx_is_read_or_refused_in_words(tmp_path: Path, data: st.DataObject) -> None:
    whole = _encoder().SerializeToString()
    cut = data.draw(st.integers(0, len(whole)))
    place = data.draw(st.integers(0, len(whole) - 1))
    damaged = bytearray(whole)
    damaged[place] = data.draw(st.integers(0, 255))
    path = tmp_path / "m.onnx"
    path.write_bytes(bytes(damaged[:cut]))
    # Anything else that is raised is a bug.
    with suppress(CpufitError):
        onnx_file.inspect(path, MODEL)


def test_light_models_of_the_onnx_package_are_read() -> None:
    from pathlib import Path

    folder = Path(onnx.__file__).parent / "backend/test/data/light"
    for path in sorted(folder.glob("*.onnx")):
        (spec,) = onnx_file.inspect(path, MODEL).inputs
        assert spec.shape == (1, 3, 224, 224)


@pytest.mark.onnxruntime
@pytest.mark.openvino
@pytest.mark.parametrize("name", ["pp-ocrv4-det", "pp-ocrv4-rec", "pp-ocrv4-cls"])
def test_real_models_run_alike_on_both_runtimes(name: str) -> None:
    card = pick(name)
    try:
        path = locate(card, cache_root())
    except UnavailableError as error:
        pytest.skip(str(error))
    built = onnx_file.inspect(path, card)
    assert built.parameters == card.parameters
    assert built.notes == ()
    ours, theirs = (_run(runtime, built) for runtime in ("onnxruntime", "openvino"))
    assert np.isfinite(ours).all()
    assert float(np.abs(ours - theirs).max()) < 1e-3 * float(np.abs(ours).max())


def _run(runtime: str, built: Built) -> np.typing.NDArray[np.float32]:
    artifact = Artifact(
        key="",
        path=str(built.file),
        size_bytes=0,
        parameters=0,
        format="",
        recipe="",
        inputs=built.inputs,
    )
    session = load_runtime(runtime).load(artifact, LoadOptions(threads=1))
    session.prepare(Step(kind="infer")).run()
    (output,) = session.outputs().values()
    return output


# ------------------------------------------------------------------------------------- OpenVINO IR
IR = """<?xml version="1.0"?>
<net name="m" version="11"><layers>
<layer id="0" name="ids" type="Parameter" version="opset1">
 <data shape="?,?" element_type="i64"/>
 <output><port id="0" precision="I64" names="input_ids,ids"/></output></layer>
<layer id="1" name="c" type="Const" version="opset1">
 <data element_type="KIND" shape="77, 8" offset="0" size="SIZE"/>
 <output><port id="0"/></output></layer>
<layer id="2" name="v" type="Convert" version="opset1"><input><port id="0"/></input>
 <output><port id="1"/></output></layer>
<layer id="3" name="axis" type="Const" version="opset1">
 <data element_type="i64" shape="" offset="0" size="8"/>
 <output><port id="0"/></output></layer>
<layer id="4" name="g" type="Gather" version="opset8">
 <input><port id="0"/><port id="1"/><port id="2"/></input></layer>
<layer id="5" name="s" type="Const" version="opset1">
 <data element_type="f32" shape="77, 1" offset="0" size="308"/>
 <output><port id="0"/></output></layer>
<layer id="6" name="scaled" type="Multiply" version="opset1">
 <input><port id="0"/><port id="1"/></input></layer>
EXTRA
</layers><edges>
<edge from-layer="0" from-port="0" to-layer="4" to-port="1"/>
<edge from-layer="1" from-port="0" to-layer="2" to-port="0"/>
<edge from-layer="2" from-port="1" to-layer="4" to-port="0"/>
<edge from-layer="3" from-port="0" to-layer="4" to-port="2"/>
<edge from-layer="1" from-port="0" to-layer="6" to-port="0"/>
<edge from-layer="5" from-port="0" to-layer="6" to-port="1"/>
</edges></net>
"""


def _ir(tmp_path: Path, kind: str = "f32", size: int = 2464, extra: str = "") -> Path:
    path = tmp_path / "m.xml"
    text = IR.replace("KIND", kind).replace("SIZE", str(size)).replace("EXTRA", extra)
    path.write_text(text, encoding="utf-8")
    path.with_suffix(".bin").write_bytes(b"\0" * 2464)
    return path


def test_an_ir_is_read_whole(tmp_path: Path) -> None:
    built = ir_file.inspect(_ir(tmp_path), MODEL)
    assert built.inputs == (
        Input(name="input_ids", dtype="int64", shape=("batch", 128), fill="ids:77"),
    )
    assert built.parameters == 77 * 8 + 77
    assert built.format == "IR fp32"
    assert built.notes == ("input input_ids: axis 1 is open in the file, measured at 128",)


@pytest.mark.parametrize(
    ("kind", "precision"),
    [("f32", "fp32"), ("f16", "fp16"), ("bf16", "bf16"), ("i8", "int8"), ("u4", "int4")],
)
def test_the_precision_of_an_ir(tmp_path: Path, kind: str, precision: str) -> None:
    path = _ir(tmp_path, kind)
    assert ir_file.about(path).precision == precision
    scale = 0 if precision.startswith("int") else 77
    assert ir_file.inspect(path, MODEL).parameters == 77 * 8 + scale


def test_a_quantized_ir_is_int8_whatever_its_weights(tmp_path: Path) -> None:
    path = _ir(tmp_path, extra='<layer id="9" type="FakeQuantize" version="opset1"/>')
    assert ir_file.about(path).precision == "int8"
    assert ir_file.inspect(path, MODEL).format == "IR FakeQuantize int8"


def test_missing_and_short_weights_of_an_ir_are_named(tmp_path: Path) -> None:
    path = _ir(tmp_path, size=2465)
    with pytest.raises(DataError, match=r"m.bin, the weights of m.xml, is cut short"):
        ir_file.inspect(path, MODEL)
    path.with_suffix(".bin").unlink()
    with pytest.raises(DataError, match=r"m.bin is missing; put the whole m.bin beside m.xml"):
        ir_file.inspect(path, MODEL)


@pytest.mark.parametrize(
    ("content", "words"),
    [("<net><layers", "not a whole OpenVINO IR"), ("<html/>", "XML, but not an OpenVINO IR")],
)
def test_other_xml_is_refused(tmp_path: Path, content: str, words: str) -> None:
    path = tmp_path / "m.xml"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=words):
        ir_file.about(path)


def test_inputs_without_name_or_rank_are_refused(tmp_path: Path) -> None:
    path = _ir(tmp_path)
    whole = path.read_text(encoding="utf-8")
    path.write_text(whole.replace('names="input_ids,ids"', ""), encoding="utf-8")
    with pytest.raises(UnsupportedError, match="input ids has no tensor name"):
        ir_file.inspect(path, MODEL)
    path.write_text(whole.replace('shape="?,?"', 'shape="..."'), encoding="utf-8")
    with pytest.raises(UnsupportedError, match="cannot be filled in"):
        ir_file.inspect(path, MODEL)


@pytest.mark.openvino
def test_a_saved_ir_says_the_same_as_its_onnx(tmp_path: Path) -> None:
    import openvino as ov

    path = _save(tmp_path, _encoder())
    ir = tmp_path / "saved.xml"
    ov.save_model(ov.Core().read_model(path), ir, compress_to_fp16=False)
    ours, theirs = ir_file.inspect(ir, MODEL), onnx_file.inspect(path, MODEL)
    named = {spec.name: spec for spec in theirs.inputs}
    assert {spec.name: spec for spec in ours.inputs} == named
    assert ours.parameters == theirs.parameters
