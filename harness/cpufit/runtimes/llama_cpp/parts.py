"""Which of llama.cpp's libraries llama-cpp-python was built with. Loads none of them."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from cpufit.errors import UnavailableError
from cpufit.paths import data_root

if TYPE_CHECKING:
    from cpufit.schema import Model

AGAIN = "pip install --no-cache-dir --no-deps --force-reinstall llama-cpp-python"


def check(model: Model) -> None:
    """Raise UnavailableError where the model is shown pictures and libmtmd was not built."""
    if model.sense and model.decoder:
        check_sight()


def check_sight() -> None:
    """Raise UnavailableError where llama.cpp is built without libmtmd, which shows it pictures."""
    found = find_spec("llama_cpp")
    if found and found.origin and not any(Path(found.origin).parent.glob("lib/libmtmd.*")):
        raise UnavailableError(
            "this llama.cpp is built without libmtmd, which shows it pictures",
            "make sight" if made_by_make() else AGAIN,
        )


def made_by_make() -> bool:
    """Whether this environment is the checkout's own."""
    return Path(sys.prefix) == data_root() / ".venv"
