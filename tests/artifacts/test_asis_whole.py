"""Files that are not whole in a single place: each is named, and none reaches an engine."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from onnx import TensorProto, helper

from cpufit.artifacts.asis import ir_file, onnx_file
from cpufit.errors import DataError, UnsupportedError
from cpufit.schema import Model

if TYPE_CHECKING:
    from pathlib import Path

F32 = TensorProto.FLOAT
MODEL = Model(name="mine", title="m", family="vision", parameters=0, macs=0, source="test")


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ([("offset", "0")], "does not say in which file a weight is"),
        ([("location", ".")], "does not say in which file a weight is"),
        ([("location", "w" * 5000)], "does not say in which file a weight is"),
        ([("location", "w"), ("location", "w")], "does not say in which file a weight is"),
        ([("location", "w"), ("offset", "-5")], "says '-5' for the offset of a weight"),
        ([("location", "w"), ("length", "1e3")], "says '1e3' for the length of a weight"),
        ([("location", "w"), ("length", "4")], "says that 4 bytes hold a weight of 1,024"),
        ([("location", "w"), ("offset", "1")], "w, the weights of m.onnx, is cut short"),
        ([("location", "pipe")], "keeps its weights in pipe, which is no file"),
        ([("location", "w"), ("length", "1024")], ""),
    ],
)
def test_where_a_weight_is_said_to_be(
    tmp_path: Path, place: list[tuple[str, str]], words: str
) -> None:
    (tmp_path / "w").write_bytes(bytes(1024))
    os.mkfifo(tmp_path / "pipe")
    tensor = TensorProto(name="w", dims=[256], data_type=F32, data_location=TensorProto.EXTERNAL)
    for key, value in place:
        tensor.external_data.add(key=key, value=value)
    values = [helper.make_tensor_value_info(name, F32, ["batch", 256]) for name in "xy"]
    node = helper.make_node("Add", ["x", "w"], ["y"])
    graph = helper.make_graph([node], "g", values[:1], values[1:], [tensor])
    path = tmp_path / "m.onnx"
    path.write_bytes(helper.make_model(graph).SerializeToString())
    if not words:
        assert onnx_file.inspect(path, MODEL).parameters == 256
        return
    with pytest.raises(DataError, match=words):
        onnx_file.inspect(path, MODEL)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('version="11"', 'version="7"', "is an OpenVINO IR of version 7, and not 10 or 11"),
        ('type="Parameter"', "", "a layer lacks 'type'"),
        ('to-layer="1"', 'to-layer="9"', "an edge leads to a layer that is not there"),
        ('to-port="0"', 'to-port="9"', "an edge leads to a port that is not there"),
        ('from-port="0"', "", "an edge lacks 'from-port'"),
        ("<dim>4</dim>", "<dim>four</dim>", "'four' stands where a number belongs"),
        ('shape="1,4"', 'shape="-5,4"', "'-5' stands where the size of an axis belongs"),
        ('shape="1,4"', 'shape="9..2,4"', r"'9\.\.2' is no range of sizes"),
        ('shape="1,4"', 'shape="0,4"', "input x is 0 x 4, which holds nothing"),
        ('element_type="f32"', "", "a layer of type Parameter lacks 'element_type'"),
        ('id="1"', 'id="0"', "two layers have the id 0"),
        ("", "", ""),
    ],
)
def test_an_ir_is_whole(tmp_path: Path, old: str, new: str, words: str) -> None:
    port = '<port id="0" names="x"><dim>1</dim><dim>4</dim></port>'
    text = (
        '<net name="n" version="11"><layers>'
        '<layer id="0" name="x" type="Parameter" version="opset1">'
        f'<data shape="1,4" element_type="f32"/><output>{port}</output></layer>'
        f'<layer id="1" name="y" type="Result" version="opset1"><input>{port}</input></layer>'
        '</layers><edges><edge from-layer="0" from-port="0" to-layer="1" to-port="0"/></edges>'
        "</net>"
    )
    (tmp_path / "m.xml").write_text(text.replace(old, new, 1) if old else text, encoding="utf-8")
    if not words:
        assert ir_file.inspect(tmp_path / "m.xml", MODEL).inputs[0].shape == (1, 4)
        return
    with pytest.raises((DataError, UnsupportedError), match=words):
        ir_file.inspect(tmp_path / "m.xml", MODEL)
