"""Whole files of another kind: what they are and what to do is said before anything starts."""

from __future__ import annotations

import gzip
import io
import pickle
import struct
import tarfile
import zipfile
from typing import TYPE_CHECKING, Any

import gguf as ggml
import numpy as np
import onnx
import pytest

from cpufit.artifacts import asis, cache
from cpufit.artifacts.asis import gguf_file, kinds
from cpufit.artifacts.split import parts_of
from cpufit.catalog import model_of_file
from cpufit.errors import DataError, UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from cpufit.artifacts.base import About


def about(file: Path) -> About:
    return asis.about(file, model_of_file(file))


def _zip(name: str) -> bytes:
    found = io.BytesIO()
    with zipfile.ZipFile(found, "w") as archive:
        archive.writestr(name, b"\x80\x02.")
    return found.getvalue()


def _tar() -> bytes:
    found = io.BytesIO()
    with tarfile.open(fileobj=found, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("model.onnx"), io.BytesIO())
    return found.getvalue()


WHOLE: dict[str, tuple[bytes, str]] = {
    "lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 4\n", "git lfs pull"),
    "page": (b"\n<!DOCTYPE html><html><body>Sign in</body></html>", "is a web page"),
    "checkpoint": (_zip("archive/data.pkl"), "is a PyTorch checkpoint"),
    "zip": (_zip("model.onnx"), "is a ZIP archive; unpack it"),
    "pickle": (pickle.dumps({"weight": [1.0]}), "is a Python pickle"),
    "safetensors": (struct.pack("<Q", 16) + b'{"a":{"dtype":"', r"\(safetensors\); convert it"),
    "gzip": (gzip.compress(b"model"), "is compressed"),
    "tar": (_tar(), "is a tar archive"),
    "hdf5": (b"\x89HDF\r\n\x1a\n" + bytes(64), "is an HDF5 file"),
    "tflite": (b"\x1c\0\0\0TFL3" + bytes(64), "is a TensorFlow Lite model"),
    "ort": (b"\x1c\0\0\0ORTM" + bytes(64), "ONNX Runtime's own format"),
    "json": (b'{"error": "Repository not found"}', "is JSON, not a model"),
    "ggml": (b"tjgg" + bytes(64), "GGML's format before GGUF"),
    "unfinished": (bytes(9000), "begins with zeros alone"),
}


@pytest.mark.parametrize("name", WHOLE)
def test_a_file_of_another_kind_says_what_it_is(tmp_path: Path, name: str) -> None:
    content, words = WHOLE[name]
    for suffix in (".gguf", ".onnx", ".xml"):
        file = tmp_path / f"model{suffix}"
        file.write_bytes(content)
        with pytest.raises(UnsupportedError, match=words) as caught:
            kinds.check(file)
        assert "\n" not in str(caught.value)
        assert caught.value.remedy


def test_it_is_said_before_anything_is_parsed(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(WHOLE["lfs"][0])
    with pytest.raises(UnsupportedError, match=r"model\.onnx is a Git LFS pointer"):
        about(tmp_path / "model.onnx")


@pytest.mark.parametrize("name", ["a.onnx", "a.gguf", "a.xml"])
def test_an_empty_file(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(UnsupportedError, match=rf"{name} is empty; copy or download it again"):
        about(tmp_path / name)


def test_what_is_of_its_kind_is_not_mistaken(tmp_path: Path) -> None:
    graph = onnx.helper.make_graph([onnx.helper.make_node("Relu", ["x"], ["y"])], "g", [], [])
    onnx.save(onnx.helper.make_model(graph), tmp_path / "a.onnx")
    (tmp_path / "a.xml").write_text('<?xml version="1.0"?><net/>', encoding="utf-8")
    (tmp_path / "a.timings").write_text("{}", encoding="utf-8")
    (tmp_path / "a.gguf").write_bytes(b"GGUF")
    assert not any(kinds.what(file) for file in tmp_path.iterdir())
    (tmp_path / "a.gguf").rename(tmp_path / "a.onnx")
    assert kinds.what(tmp_path / "a.onnx") == (
        "is a GGUF file, but not called so",
        "name it with the ending .gguf",
    )


# --------------------------------------------------------------------------------------------- GGUF
def write(
    file: Path, arch: str = "llama", change: Callable[[Any], object] = id, **how: Any
) -> Path:
    writer = ggml.GGUFWriter(file, arch, **how)
    writer.add_context_length(64)
    change(writer)
    for layer in range(3):
        writer.add_tensor(f"blk.{layer}.attn_q.weight", np.ones((8, 32), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


@pytest.mark.parametrize(
    ("arch", "kind", "words"),
    [
        ("llama", "adapter", "is an adapter .*merge it"),
        ("clip", "mmproj", "sees or hears with .*; name the language model beside it"),
        ("clip", "", "sees or hears with"),
        ("llama", "imatrix", "importance matrix"),
        ("t5", "", "is a T5"),
        ("flux", "", r"makes pictures \(flux\)"),
    ],
)
def test_a_gguf_file_that_is_no_model_of_texts(
    tmp_path: Path, arch: str, kind: str, words: str
) -> None:
    def typed(writer: Any) -> None:
        if kind:
            writer.add_string("general.type", kind)

    with pytest.raises(UnsupportedError, match=words):
        about(write(tmp_path / "m.gguf", arch, typed))


@pytest.mark.parametrize(
    ("at", "number", "words"),
    [
        (4, 1, "version 1, of 2023"),
        (4, 9, "version 9, newer than the 3"),
        (4, 3 << 24, "big-endian; turn it with `gguf-convert-endian .*m.gguf little`"),
        (0, 199, "in format number 199, .*; pip install --upgrade gguf"),
    ],
)
def test_a_gguf_file_of_another_age(tmp_path: Path, at: int, number: int, words: str) -> None:
    file = write(tmp_path / "m.gguf")
    content = bytearray(file.read_bytes())
    name = b"blk.1.attn_q.weight"
    place = at or content.index(name) + len(name) + 4 + 2 * 8  # behind its sizes
    content[place : place + 4] = struct.pack("<I", number)
    file.write_bytes(content)
    with pytest.raises(UnsupportedError, match=words):
        about(file)


def test_big_endian_files_are_known_as_gguf_writes_them(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="is big-endian"):
        about(write(tmp_path / "m.gguf", endianess=ggml.GGUFEndian.BIG))


def test_a_model_in_parts_is_read_from_its_first(tmp_path: Path) -> None:
    write(tmp_path / "m.gguf", split_max_tensors=1)
    parts = sorted(tmp_path.iterdir())
    assert parts_of(parts[0]) == tuple(parts)
    assert len(parts) == 3
    assert about(parts[0]).context_tokens == 64
    built = gguf_file.inspect(parts[0], model_of_file(parts[0]))
    assert built.parameters == 3 * 8 * 32
    whole = sum(part.stat().st_size for part in parts)
    assert cache._tree_bytes(parts[0]) == whole
    with pytest.raises(UnsupportedError, match=r"not the first of 3 parts; name .*-00001-of-00003"):
        about(parts[1])
    parts[1].write_bytes(parts[0].read_bytes())
    with pytest.raises(DataError, match=r"-00002-of-00003\.gguf is not part 2 of the 3"):
        gguf_file.about(parts[0])
    swapped = tmp_path / "swapped"
    swapped.mkdir()
    write(swapped / "m.gguf", split_max_tensors=1)
    first, second, _ = sorted(swapped.iterdir())
    first.write_bytes(second.read_bytes())
    with pytest.raises(DataError, match=r"is part 2 of 3, but called the first; the parts' names"):
        gguf_file.about(first)
    parts[1].write_bytes(WHOLE["lfs"][0])
    with pytest.raises(UnsupportedError, match=r"-00002-of-00003\.gguf is a Git LFS pointer"):
        gguf_file.about(parts[0])
    parts[2].unlink()
    with pytest.raises(DataError, match=r"m-00003-of-00003\.gguf is missing"):
        gguf_file.about(parts[0])
    with pytest.raises(DataError, match=r"one of 3 parts, but not called so"):
        gguf_file.about(parts[0].rename(tmp_path / "first.gguf"))
