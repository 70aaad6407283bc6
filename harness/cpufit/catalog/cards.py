"""Read the model cards that ship and describe a file the user brings."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from cpufit.config import parse_tables, read_toml
from cpufit.errors import DataError, UsageError, unknown
from cpufit.schema import Model

if TYPE_CHECKING:
    from cpufit.schema import Family

_FOLDER = Path(__file__).parent / "models"


@cache
def load_models() -> dict[str, Model]:
    """Return every catalog card by name, smallest families first, in file order."""
    models: dict[str, Model] = {}
    for path in sorted(_FOLDER.glob("*.toml")):
        for name, model in parse_tables(Model, read_toml(path), path).items():
            if name in models:
                raise UsageError(f"{path}: {name}: a card of that name exists already")
            models[name] = model
    return models


def pick(name: str) -> Model:
    """Return the card called `name`; raise UsageError naming the nearest one."""
    models = load_models()
    if name not in models:
        raise unknown("model", name, models)
    return models[name]


def model_of_file(path: Path) -> Model:
    """Describe a user's own model file; its numbers are read from the file when it is opened."""
    if not path.is_file():
        raise DataError(f"no file {path}", "check the path")
    family: Family = "llm" if path.suffix.lower() == ".gguf" else "vision"
    return Model(
        name=path.stem.lower().replace("/", "-"),
        title=path.name,
        family=family,
        parameters=0,
        macs=0,
        source=f"your file {path.name}",
        file=str(path.resolve()),
    )
