"""What users name that is no model file: folders, names of the catalog, other files."""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path

import pytest

from cpufit.catalog import read_cards
from cpufit.errors import CpufitError
from cpufit.plan.found import found_at


def _fill(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")
    return folder


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (("net.onnx", "readme.md"), "net.onnx"),
        (("onnx/model.onnx", "config.json"), "onnx/model.onnx"),
        (("openvino_model.xml", "openvino_tokenizer.xml", "x.bin"), "openvino_model.xml"),
        (("decoder_model.onnx", "decoder_model_merged.onnx"), "decoder_model_merged.onnx"),
        (("m-00001-of-00002.gguf", "m-00002-of-00002.gguf"), "m-00001-of-00002.gguf"),
        (("mmproj-m.gguf", "m.gguf"), "m.gguf"),
    ],
)  # fmt: skip
def test_the_one_model_of_a_folder_is_meant(
    tmp_path: Path, names: tuple[str, ...], found: str
) -> None:
    assert found_at(_fill(tmp_path, *names)) == tmp_path / found


def test_a_folder_of_genai_says_its_model(tmp_path: Path) -> None:
    _fill(tmp_path, "text.onnx", "embedding.onnx")
    config = tmp_path / "genai_config.json"
    config.write_text(json.dumps({"model": {"decoder": {"filename": "text.onnx"}}}), "utf-8")
    assert found_at(tmp_path) == tmp_path / "text.onnx"
    config.write_text(json.dumps({"model": {"decoder": {"filename": "none.onnx"}}}), "utf-8")
    with pytest.raises(CpufitError, match=r"names 'none\.onnx', which is missing"):
        found_at(tmp_path)


def test_several_models_are_listed_and_the_remedy_names_one(tmp_path: Path) -> None:
    folder = _fill(tmp_path / "my models", "a.onnx", "b.onnx", "c.xml")
    with pytest.raises(CpufitError, match=r"holds 3 models: a\.onnx, b\.onnx, c\.xml") as caught:
        found_at(folder)
    command = shlex.split(caught.value.remedy.partition(": ")[2])
    assert command[:2] == ["cpufit", "run"]
    assert found_at(Path(command[2])) == folder / "a.onnx"


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.txt", b"x", r"holds no model; name a file ending in \.gguf, \.onnx, \.xml, \.toml"),
        ("a.safetensors", b"\x10\0\0\0\0\0\0\0" + b'{"a":{}', r"a\.safetensors holds weights"),
        ("a.pt", b"\x80\x02.", r"a\.pt is a Python pickle, no graph; convert it"),
    ],
)
def test_a_folder_without_models_says_so(
    tmp_path: Path, name: str, content: bytes, words: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CpufitError, match=words):
        found_at(tmp_path)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("mistral-7b", "did you mean --model mistral-7b?"),
        ("mistral7b", "did you mean --model mistral-7b?"),
        ("yolov8n?size=320", "did you mean --model yolov8n?size=320?"),
        ("quick", "did you mean --suite quick?"),
        ("model.onnx", "check the path"),
        ("nothing-like-it", "check the path"),
    ],
)
def test_a_name_without_a_file_may_be_meant_for_an_option(
    tmp_path: Path, name: str, words: str
) -> None:
    with pytest.raises(CpufitError) as caught:
        found_at(tmp_path / name)
    assert caught.value.remedy == words


def test_files_that_nobody_reads_are_called_what_they_are(tmp_path: Path) -> None:
    (tmp_path / "blob").write_bytes(b"GGUF" + bytes(20))
    with pytest.raises(CpufitError, match=r"blob is a GGUF file, but not called so"):
        found_at(tmp_path / "blob")
    (tmp_path / "m.pt").write_bytes(b"x")
    with pytest.raises(CpufitError, match=r"no runtime reads m\.pt; give a file ending in \.gguf"):
        found_at(tmp_path / "m.pt")


def test_a_toml_file_of_something_else_describes_no_model(tmp_path: Path) -> None:
    file = tmp_path / "pyproject.toml"
    file.write_text('[project]\nname = "a"\nversion = "1"\n[tool.x]\ny = 1\n', "utf-8")
    with pytest.raises(CpufitError, match=r"describes no model; a card is a table \[NAME\]"):
        read_cards(file)


def test_a_pipe_and_a_link_to_nothing_are_called_so(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.onnx")
    with pytest.raises(CpufitError, match=r"pipe\.onnx is a pipe or a device, and no file"):
        found_at(tmp_path / "pipe.onnx")
    for name, target in (("lost.onnx", "gone"), ("self.onnx", "self.onnx")):
        (tmp_path / name).symlink_to(target)
        with pytest.raises(CpufitError, match=rf"{name} is a link that leads to no file"):
            found_at(tmp_path / name)
