"""A file of timings: what the fake plays."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from cpufit.config import parse
from cpufit.errors import DataError
from cpufit.schema.shapes import FORBID_UNKNOWN

if TYPE_CHECKING:
    from pathlib import Path

NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


@dataclass(frozen=True, kw_only=True)
class Timings:
    """What the fake plays; a key is needed only for the kind of step it times."""

    __pydantic_config__: ClassVar[dict[str, str]] = FORBID_UNKNOWN

    load_ms: NotNegative = 0.0
    first_ms: NotNegative = 0.0  # on top of the first step after loading
    infer_ms: NotNegative = 0.0  # per sample of the batch
    prefill_ms_per_token: NotNegative = 0.0
    decode_ms: NotNegative = 0.0  # per token of every sequence: one pass over the weights
    jitter: Annotated[float, Field(ge=0, lt=1)] = 0.0  # widest deviation, as a share
    luck: Annotated[float, Field(ge=0, lt=1)] = 0.0  # the same, of a process as a whole
    memory_bytes: Annotated[int, Field(ge=0)] = 0  # really allocated while loaded
    fail: Literal["", "error", "crash", "hang", "oom"] = ""  # what the first step does


def read_timings(file: Path) -> Timings:
    """Parse a timings file; raise DataError or UsageError naming what is wrong in it."""
    try:
        data = json.loads(file.read_bytes())
    except OSError as error:
        raise DataError(f"cannot read {file}: {error.strerror}") from error
    except ValueError as error:
        raise DataError(f"{file} is not valid JSON: {error}") from error
    return parse(Timings, data, file)
