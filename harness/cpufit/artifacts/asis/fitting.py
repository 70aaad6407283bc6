"""Whether a model runs at sizes that were guessed for it: it is loaded and run once."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

from cpufit.errors import CpufitError
from cpufit.runtimes import load_runtime
from cpufit.runtimes.base import LoadOptions, Step
from cpufit.schema import Artifact

if TYPE_CHECKING:
    from pathlib import Path

    from cpufit.artifacts.base import Built
    from cpufit.schema import Input


def chosen(built: Built, runtime: str) -> Built:
    """Return it with the first inputs that the engine runs it with; as it is where none are."""
    for inputs, notes in ((built.inputs, built.notes), *built.others):
        if _runs(built.file, runtime, inputs):
            return replace(built, inputs=inputs, notes=notes)
    return built


def _runs(file: Path, runtime: str, inputs: tuple[Input, ...]) -> bool:
    artifact = Artifact(
        key="", path=str(file), size_bytes=0, parameters=0, format="", recipe="", inputs=inputs
    )
    try:
        with closing(load_runtime(runtime).load(artifact, LoadOptions(threads=1))) as session:
            session.prepare(Step(kind="infer")).run()
    except CpufitError:
        return False
    return True
