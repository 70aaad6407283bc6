"""The runtimes by name. A new one is a module of this package and a line in `RUNTIMES`."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, cast

from cpufit.errors import UnavailableError, unknown
from cpufit.paths import data_root

if TYPE_CHECKING:
    from cpufit.runtimes.base import Runtime
    from cpufit.schema import Model


@dataclass(frozen=True)
class Entry:
    """Where a runtime lives and how to get it; nothing here imports it."""

    module: str
    package: str  # what must be installed; empty for none
    install: str
    title: str
    keeps_threads: bool = True  # a session's, once it is warm: none is started for a request


RUNTIMES = {
    "llama.cpp": Entry(
        "llama_cpp",
        "llama-cpp-python",
        "pip install 'cpufit[llama-cpp]'",
        "llama.cpp (ggml)",
        keeps_threads=False,  # where it is built without OpenMP
    ),
    "onnxruntime": Entry(
        "onnxruntime", "onnxruntime", "pip install 'cpufit[onnxruntime]'", "ONNX Runtime"
    ),
    "openvino": Entry("openvino", "openvino", "pip install 'cpufit[openvino]'", "OpenVINO"),
    "fake": Entry("fake", "", "", "injected timings, for tests"),
}


def entry(name: str) -> Entry:
    """Return the entry of a runtime; raise UsageError naming the nearest one."""
    if name not in RUNTIMES:
        raise unknown("runtime", name, RUNTIMES)
    return RUNTIMES[name]


def installed_version(name: str) -> str:
    """Return the version of the runtime's package, '' where it is not installed."""
    package = entry(name).package
    if not package:
        return "built in"
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def check_installed(name: str, model: Model) -> None:
    """Raise UnavailableError for what is missing to run the model; imports no runtime."""
    if not installed_version(name):
        raise UnavailableError(f"{name} is not installed", entry(name).install)
    if name == "llama.cpp" and model.sense and model.decoder:
        check_sight()


def check_sight() -> None:
    """Raise UnavailableError where llama.cpp is built without libmtmd, which shows it pictures."""
    found = find_spec("llama_cpp")
    if found and found.origin and not any(Path(found.origin).parent.glob("lib/libmtmd.*")):
        own = Path(sys.prefix) == data_root() / ".venv"  # made by make
        again = "pip install --no-cache-dir --no-deps --force-reinstall llama-cpp-python"
        raise UnavailableError(
            "this llama.cpp is built without libmtmd, which shows it pictures",
            "make sight" if own else again,
        )


def load_runtime(name: str) -> Runtime:
    """Import a runtime; raise UnavailableError with its install command where it is missing."""
    found = entry(name)
    try:
        module = import_module(f"cpufit.runtimes.{found.module}")
    except ImportError as error:
        raise UnavailableError(f"{name} cannot be imported: {error}", found.install) from error
    return cast("Runtime", module.RUNTIME)
