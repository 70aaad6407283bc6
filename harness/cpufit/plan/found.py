"""What a path leads to that a user names: a model file, or the one that a folder holds."""

from __future__ import annotations

import shlex
from contextlib import suppress
from difflib import get_close_matches
from typing import TYPE_CHECKING

from cpufit.artifacts.asis import kinds
from cpufit.artifacts.asis.beside import GENAI, settings
from cpufit.artifacts.split import parts_of
from cpufit.catalog import load_models
from cpufit.catalog.names import split
from cpufit.config import suite_names
from cpufit.errors import DataError, UnsupportedError, UsageError
from cpufit.files import check_file
from cpufit.runtimes import reading, suffixes

if TYPE_CHECKING:
    from pathlib import Path

CARDS = ".toml"
_BESIDE = ("openvino_tokenizer.xml", "openvino_detokenizer.xml")  # what OpenVINO keeps by a model
_MERGED = "decoder_model_merged.onnx"
_IN_MERGED = ("decoder_model.onnx", "decoder_with_past_model.onnx")
_SHOWN = 5


def found_at(path: Path) -> Path:
    """Return the file that is meant.

    Raises UsageError where a folder holds none, or several; where it is a name of something else;
    where no runtime reads it. DataError where there is no such file.
    """
    if path.is_dir():
        try:
            return _in_folder(path)
        except OSError as error:
            raise DataError(f"cannot read {path}: {error.strerror}", "check the path") from error
    if not path.exists() and not path.is_symlink():
        raise _missing(path)
    if path.exists() and path.suffix.lower() != CARDS and not reading(path.suffix):
        raise _other(path)
    check_file(path, "a model file")
    return path


def _in_folder(folder: Path) -> Path:
    named = _named_by_genai(folder)
    if named:
        return named
    # Hubs keep ONNX files one folder below.
    found = _models(folder) or _models(*sorted(each for each in folder.iterdir() if each.is_dir()))
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(str(file.relative_to(folder)) for file in found[:_SHOWN])
        more = f" and {len(found) - _SHOWN} more" * (len(found) > _SHOWN)
        raise UsageError(
            f"{folder} holds {len(found)} models: {names}{more}",
            f"name what to measure: cpufit run {shlex.quote(str(found[0]))}",
        )
    for file in sorted(folder.iterdir()):
        told = kinds.what(file) if file.is_file() else None
        if told and told[1] == kinds.CONVERT:
            raise UnsupportedError(f"of {folder}, {file.name} {told[0]}", told[1])
    raise UsageError(f"{folder} holds no model", f"name a file {_ending()}")


def _named_by_genai(folder: Path) -> Path | None:
    """Return the model of a folder of onnxruntime-genai; None where it is no such folder."""
    model = settings(folder / GENAI).get("model")
    decoder = model.get("decoder") if isinstance(model, dict) else None
    name = decoder.get("filename") if isinstance(decoder, dict) else None
    if not isinstance(name, str):
        return None
    if "/" in name or not (folder / name).is_file():
        raise DataError(f"{folder / GENAI} names {name!r}, which is missing", "put it beside it")
    return folder / name


def _models(*folders: Path) -> list[Path]:
    """Return the models that lie in folders: those that an engine reads, but not their parts."""
    files = [file for folder in folders for file in sorted(folder.iterdir()) if file.is_file()]
    files = [file for file in files if file.suffix.lower() in suffixes()]
    files = [file for file in files if parts_of(file)[0] == file and file.name not in _BESIDE]
    if any(file.name == _MERGED for file in files):
        files = [file for file in files if file.name not in _IN_MERGED]
    alone = [file for file in files if not file.name.lower().startswith("mmproj")]
    return alone or files


def _missing(path: Path) -> UsageError | DataError:
    """Return the error for a name without a file; it may be meant for an option."""
    for option, known in (("--model", load_models()), ("--suite", suite_names())):
        base = split(path.name).model if option == "--model" else path.name
        near = [path.name] if base in known else get_close_matches(path.name, known, 1, 0.8)
        if near and not reading(path.suffix):
            return UsageError(f"no file {path.name}", f"did you mean {option} {near[0]}?")
    return DataError(f"no file {path}", "check the path")


def _other(path: Path) -> UsageError | UnsupportedError:
    told = None
    if path.is_file():  # and no pipe, which would be waited for
        with suppress(OSError):
            told = kinds.what(path)
    if told:
        return UnsupportedError(f"{path.name} {told[0]}", told[1])
    return UsageError(f"no runtime reads {path.name}", f"give a file {_ending()}")


def _ending() -> str:
    return f"ending in {', '.join((*suffixes(), CARDS))}"
