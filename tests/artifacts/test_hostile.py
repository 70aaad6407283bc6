"""Model files made to harm: each is refused in one line, by a parser that takes little for it."""

from __future__ import annotations

import json
import struct
import tracemalloc
from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from cpufit import errors
from cpufit.artifacts.asis import apart, reader
from cpufit.artifacts.asis.onnx_lean import lean
from cpufit.catalog import model_of_file

if TYPE_CHECKING:
    import mmap
    from pathlib import Path

_MOST = 2**64 - 1
_MIB = 1 << 20
_ESCAPES = "\x1b]0;owned\x07\x1b[31m[/b]<img src=x>|\n::error::x"


# ------------------------------------------------------------------------------------- their bytes
def _text(words: str) -> bytes:
    return struct.pack("<Q", len(words.encode())) + words.encode()


def _key(name: str, kind: int, value: bytes) -> bytes:
    return _text(name) + struct.pack("<I", kind) + value


def _tensor(axes: list[int]) -> bytes:
    shape = struct.pack(f"<I{len(axes)}Q", len(axes), *axes)
    return _text("t") + shape + struct.pack("<IQ", 0, 0)


def _gguf(keys: list[bytes], tensors: list[bytes], counts: tuple[int, int] | None = None) -> bytes:
    said = counts or (len(tensors), len(keys))
    head = b"GGUF" + struct.pack("<IQQ", 3, *said) + b"".join(keys) + b"".join(tensors)
    return head + b"\0" * (-len(head) % 32) + b"\0" * 4096


_LLAMA = _key("general.architecture", 8, _text("llama"))
_WIDE = [
    _key(f"llama.{name}", 10, struct.pack("<Q", _MOST))
    for name in ("attention.head_count", "attention.key_length", "block_count")
]
GGUF = {
    "axes": _gguf([_LLAMA], [_tensor([_MOST] * 100_000)]),
    "product": _gguf([_LLAMA], [_tensor([2**63] * 4)]),
    "cache": _gguf([_LLAMA, *_WIDE], [_tensor([32])]),
    "alignment": _gguf(
        [_LLAMA, _key("general.alignment", 10, struct.pack("<Q", _MOST))], [_tensor([32])]
    ),
    "nested": _gguf([_key("x", 9, struct.pack("<IQ", 9, 1) * 2000)], [_tensor([32])]),
    "array": _gguf([_LLAMA, _key("x", 9, struct.pack("<IQ", 0, 2**40))], [_tensor([32])]),
    "texts": _gguf([_LLAMA, _key("x", 9, struct.pack("<IQ", 8, 2**40))], [_tensor([32])]),
    "letters": _gguf([_key("x", 8, struct.pack("<Q", 2**60))], [_tensor([32])]),
    "keys": _gguf([_LLAMA], [_tensor([32])], (1, 2**60)),
    "tensors": _gguf([_LLAMA], [_tensor([32])], (2**60, 1)),
}

_INPUT = (
    '<layer id="0" name="x" type="Parameter" version="opset1">'
    '<data shape="1,4" element_type="f32"/><output>'
    '<port id="0" names="x"/></output></layer>'
)


def _ir(layers: str = "", edges: str = "", before: str = "") -> bytes:
    net = (
        f'<net name="n" version="11"><layers>{_INPUT}{layers}</layers><edges>{edges}</edges></net>'
    )
    return (before + net).encode()


def _edge(start: int, end: int) -> str:
    return f'<edge from-layer="{start}" from-port="1" to-layer="{end}" to-port="0"/>'


def _constant(shape: str, offset: int = 0, size: int = 16) -> str:
    data = f'element_type="f32" shape="{shape}" offset="{offset}" size="{size}"'
    return f'<layer id="1" name="k" type="Const" version="opset1"><data {data}/></layer>'


_PORTS = '<input><port id="0"/></input><output><port id="1"/></output>'
_TWO = (
    f'<layer id="1" name="m" type="Multiply" version="opset1">{_PORTS}</layer>'
    f'<layer id="2" name="c" type="Convert" version="opset1">{_PORTS}</layer>'
)
IR = {
    "loop": _ir(_TWO, _edge(2, 1) + _edge(2, 2)),
    "entities": _ir(before=f'<!DOCTYPE net [<!ENTITY a "{"A" * 1000}">]>'),
    "entity of a file": _ir(before='<!DOCTYPE net [<!ENTITY x SYSTEM "file:///etc/passwd">]>'),
    "port": _ir(_TWO, '<edge from-layer="0" to-layer="1" to-port="zero"/>'),
    "fraction": _ir(_constant("1.5")),
    "before the weights": _ir(_constant("1,4", -1_000_000, 1_000_016)),
    "behind the weights": _ir(_constant("1,4", 2**64 - 8)),
    "axes": _ir(_constant(",".join(["9223372036854775807"] * 100_000))),
    "shape": _ir(_constant("1152921504606846976,1024")),
    "deep": _ir("<a>" * 100_000 + "</a>" * 100_000),
    "encoding": b'<?xml version="1.0" encoding="nonsense"?><net/>',
}

_FLOATS = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4])
_ANSWER = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4])


def _onnx(
    nodes: list[onnx.NodeProto] | None = None,
    inputs: list[onnx.ValueInfoProto] | None = None,
    weights: list[onnx.TensorProto] | None = None,
) -> bytes:
    nodes = nodes or [helper.make_node("Add", ["x", "k"], ["y"])]
    graph = helper.make_graph(nodes, "g", inputs or [_FLOATS], [_ANSWER], weights or [])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    return bytes(model.SerializeToString())


def _weight(axes: list[int], **place: str) -> onnx.TensorProto:
    made = TensorProto(dims=axes, data_type=TensorProto.FLOAT, name="k")
    if place:
        made.data_location = TensorProto.EXTERNAL
        for key, value in place.items():
            made.external_data.add(key=key, value=value)
    else:
        made.raw_data = b"1234"
    return made


def _floats(name: str, axes: list[int | str]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, axes)


def _part(number: int, payload: bytes) -> bytes:
    length, size = bytearray(), len(payload)
    while size > 127:
        length.append(size & 127 | 128)
        size >>= 7
    return bytes((number << 3 | 2, *length, size)) + payload


def _nested(depth: int) -> bytes:
    inner = b"x"
    for _ in range(depth):
        inner = _part(1, _part(5, _part(6, inner)))
    return _part(7, inner)


ONNX = {
    "product": _onnx(weights=[_weight([2**62] * 8)]),
    "axes": _onnx(weights=[_weight([2**62] * 100_000)]),
    "negative": _onnx(weights=[_weight([-5, -4])]),
    "larger than the file": _onnx(weights=[_weight([10**6])]),
    "nested": _nested(10_000),
    "trash": b"\xff" * 100_000,
    "cut": b"\x3a\xff\xff\xff\xff\x0f" + b"\0" * 100,
    "external and large": _onnx(weights=[_weight([4], location="m.bin", length=str(2**63 - 1))]),
    "external device": _onnx(weights=[_weight([4], location="/dev/zero", length="16")]),
    "inputs": _onnx(inputs=[_floats(f"x{i}", [1]) for i in range(2000)]),
    "input's axes": _onnx(inputs=[_floats("x", [2] * 1000)]),
    "input's name": _onnx(inputs=[_floats("x" * 10_000, [1])]),
    "input's escapes": _onnx(inputs=[_floats(_ESCAPES, [1])]),
    "operator": _onnx([helper.make_node("E", ["x"], ["y"], domain=_ESCAPES * 1000)]),
}
FILES = [
    *((".gguf", *each) for each in GGUF.items()),
    *((".xml", *each) for each in IR.items()),
    *((".onnx", *each) for each in ONNX.items()),
]


# ------------------------------------------------------------------------------------------- tests
def _asked(folder: Path, suffix: str, data: bytes) -> dict[str, dict[str, str]]:
    file = folder / f"m{suffix}"
    file.write_bytes(data)
    file.with_suffix(".bin").write_bytes(b"\0" * 64)
    return json.loads(json.dumps(reader.answer(file, model_of_file(file)), default=str))  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("suffix", "data"),
    [(suffix, data) for suffix, _, data in FILES],
    ids=[f"{suffix[1:]} {name}" for suffix, name, _ in FILES],
)
def test_it_is_refused_in_one_line_for_little_memory(
    tmp_path: Path, suffix: str, data: bytes
) -> None:
    tracemalloc.start()
    found = _asked(tmp_path, suffix, data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    problem = found["built"]["problem"]
    assert problem.isprintable()
    assert len(problem) <= 500
    assert issubclass(getattr(errors, found["built"]["kind"]), errors.CpufitError)
    assert peak < 64 * _MIB


def test_what_a_file_says_is_one_plain_line(tmp_path: Path) -> None:
    keys = [_key("general.architecture", 8, _text(_ESCAPES * 1000))]
    found = _asked(tmp_path, ".gguf", _gguf(keys, [_tensor([32])]))
    assert all(note.isprintable() and len(note) <= 500 for note in found["built"]["notes"])


def test_holes_of_a_sparse_file_cost_nothing(tmp_path: Path) -> None:
    file = tmp_path / "m.gguf"
    with file.open("wb") as opened:
        opened.write(b"GGUF" + struct.pack("<IQQ", 3, 1, 2**30))
        opened.truncate(10**11)
    found = apart.look(file, model_of_file(file)).built
    assert isinstance(found, apart.Problem)
    assert "it says it has 1,073,741,824 keys" in found.problem


def test_a_reader_that_gives_no_answer_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "m.onnx"
    file.write_bytes(_onnx())
    monkeypatch.setattr(apart, "_ANSWER_S", 0.01)
    with pytest.raises(errors.DataError, match="takes longer to read than any model of its size"):
        apart.look(file, model_of_file(file))


class _Mapped(bytes):
    """Bytes that stand in for a file's map."""


@settings(max_examples=200, deadline=None)
@given(data=st.binary(max_size=300))
def test_bytes_that_are_no_model_are_left_out_or_refused(data: bytes) -> None:
    mapped: mmap.mmap = _Mapped(data)  # type: ignore[assignment]
    with suppress(ValueError):
        assert lean(mapped) == data  # nothing here is large


def test_a_description_holds_no_weights() -> None:
    large = numpy_helper.from_array(np.zeros(100_000, np.float32), "large")
    small = numpy_helper.from_array(np.arange(4, dtype=np.int64), "small")
    inner = helper.make_graph([helper.make_node("Relu", ["large"], ["y"])], "i", [], [_ANSWER])
    inner.initializer.append(large)
    nodes = [
        helper.make_node("If", ["x"], ["y"], then_branch=inner, else_branch=inner),
        helper.make_node("Constant", [], ["c"], value=large),
    ]
    whole = onnx.ModelProto.FromString(_onnx(nodes, weights=[large, small]))
    mapped: mmap.mmap = _Mapped(whole.SerializeToString())  # type: ignore[assignment]
    slim = onnx.ModelProto.FromString(lean(mapped))
    assert slim.ByteSize() < 10_000
    for tensor in (
        whole.graph.initializer[0],
        whole.graph.node[0].attribute[0].g.initializer[0],
        whole.graph.node[0].attribute[1].g.initializer[0],
        whole.graph.node[1].attribute[0].t,
    ):
        assert len(tensor.raw_data) == 400_000
        tensor.ClearField("raw_data")
    assert slim == whole


_VALID = {
    ".gguf": _gguf([_LLAMA, *_WIDE[:1]], [_tensor([32])]),
    ".xml": _ir(_constant("1,4"), _edge(0, 1)),
    ".onnx": _onnx(weights=[_weight([1])]),
}


@pytest.mark.parametrize("suffix", _VALID)
@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
)
@given(data=st.data())
def test_changed_bytes_are_read_or_refused(
    tmp_path: Path, suffix: str, data: st.DataObject
) -> None:
    changed = bytearray(_VALID[suffix])
    places = st.integers(0, min(len(changed), 400) - 1)
    for place in data.draw(st.lists(places, min_size=1, max_size=8)):
        changed[place] = data.draw(st.integers(0, 255))
    tracemalloc.start()
    found = _asked(tmp_path, suffix, bytes(changed[: data.draw(st.integers(0, len(changed)))]))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 64 * _MIB
    assert set(found) == {"about", "built"}
