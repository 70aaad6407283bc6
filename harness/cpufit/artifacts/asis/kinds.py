"""Whole files that are no model of the kind their names say: what they are, and what to do.

Told by how they begin, before anything is started.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from cpufit.errors import UnsupportedError

if TYPE_CHECKING:
    from pathlib import Path

_HEAD_BYTES = 4096
CONVERT = (
    "convert it: to GGUF with llama.cpp's convert_hf_to_gguf.py, or with "
    "`optimum-cli export onnx` or `optimum-cli export openvino`"
)
_UNPACK = "unpack it, and name the model in it"
_DOWNLOAD = "download the file itself; a hub's pages for models with terms need a login"
_NO_ENGINE = "no engine here reads it: export the model to ONNX"

# What files begin with, what that is, and what to do. '' is the suffix of files that may be so.
_KINDS: tuple[tuple[str, str, str, str], ...] = (
    (r"version https://git-lfs", "", "is a Git LFS pointer, not the model", "git lfs pull"),
    (r"# xet version", "", "is a Xet pointer, not the model", "download the file itself"),
    (r"\S{0,40}/annex/objects/", "", "is a git-annex pointer, not the model", "git annex get ."),
    (r"\s*(?i:<!doctype html|<html)", "", "is a web page, not a model", _DOWNLOAD),
    (r"GGUF", ".gguf", "is a GGUF file, but not called so", "name it with the ending .gguf"),
    (r"[lft]mgg|tjgg|algg", "", "is of GGML's format before GGUF, of 2023", "take a GGUF file"),
    (r"PK\x03\x04(?s:.)*data\.pkl", "", "is a PyTorch checkpoint, no graph", CONVERT),
    (r"PK\x03\x04", "", "is a ZIP archive", _UNPACK),
    (r"\x80[\x02-\x05]", "", "is a Python pickle, no graph", CONVERT),
    (r"(?s:.{8})\{\s*\"", "", "holds weights without a graph (safetensors)", CONVERT),
    (r"\x1f\x8b|BZh|\xfd7zXZ|7z\xbc\xaf|\x28\xb5\x2f\xfd|Rar!", "", "is compressed", _UNPACK),
    (r"(?s:.{257})ustar", "", "is a tar archive", _UNPACK),
    (r"\x89HDF", "", "is an HDF5 file, as Keras writes it", "export it to ONNX with tf2onnx"),
    (r"(?s:.{4})TFL3", "", "is a TensorFlow Lite model", _NO_ENGINE),
    (r"(?s:.{4})ORTM", "", "is of ONNX Runtime's own format", "name the .onnx it was made from"),
    (r"7767517\s", "", "is an ncnn model", _NO_ENGINE),
    (r"\x93NUMPY", "", "is a NumPy array", "name a model"),
    (r"\s*(<\?xml|<net)", ".xml", "is XML, but not called so", "name it with the ending .xml"),
    (r"\s*\{", ".timings", "is JSON, not a model", "name the model beside it"),
    (r"\Z", "", "is empty", "copy or download it again"),
    (r"\x00{4096}", "", "begins with zeros alone: its download did not end", "download it again"),
)


def what(file: Path) -> tuple[str, str] | None:
    """Return what a file is that is none of its suffix, and what to do; None where it may be it.

    Raises OSError where it cannot be read.
    """
    with file.open("rb") as opened:
        head = opened.read(_HEAD_BYTES).decode("latin-1")
    for begins, suffix, words, remedy in _KINDS:
        if re.match(begins, head) and file.suffix.lower() != (suffix or None):
            return words, remedy
    return None


def check(file: Path) -> None:
    """Raise UnsupportedError where the file is whole, but of another kind than its name says."""
    found = what(file)
    if found:
        raise UnsupportedError(f"{file.name} {found[0]}", found[1])
