"""Injected timings on an injected clock: the whole line runs in a second, without any model."""

from __future__ import annotations

from cpufit.precisions import PRECISIONS
from cpufit.runtimes.engine import Build, Engine

ENGINE = Engine(
    name="fake",
    title="injected timings, for tests",
    packages=(),
    extra="",
    builds=(
        Build(
            families=("llm", "encoder", "vision", "ocr", "multimodal"),
            precisions=PRECISIONS,
            builder="timings",
        ),
    ),
    suffixes=(".timings",),
    invented=True,
)
