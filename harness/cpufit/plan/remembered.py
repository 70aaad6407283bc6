"""Where a run's own files lie: kept for this user alone, never in results, which are passed on.

A results file names them only. So no results file of somebody else makes cpufit open what it names:
`--resume` and `gate --baseline` open what this user gave to the run that lies at this very path.
"""

from __future__ import annotations

import hashlib
import os
import shlex
from contextlib import suppress
from typing import TYPE_CHECKING

from platformdirs import user_state_path

from cpufit.config import suite_names
from cpufit.errors import DataError
from cpufit.files import replacing
from cpufit.plan.request import from_json

if TYPE_CHECKING:
    from pathlib import Path

    from cpufit.plan.request import Request


def remember(results: Path, request: Request) -> None:
    """Keep what a run was asked to do, if its results do not say all of it.

    Where nothing can be written it is not kept, and the files must be named again.
    """
    if request == request.shared():
        return
    path = _place(results)
    with suppress(OSError):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with replacing(path) as file:
            file.write(request.to_json().encode())
        path.chmod(0o600)


def recall(results: Path, text: str) -> Request:
    """Return what a run was asked to do, with the paths of its files.

    `text` is what the results say. Raises DataError where that is not enough.
    """
    request = from_json(text, results)
    if not request.files and request == request.shared():
        return request
    with suppress(OSError):
        return from_json(_place(results).read_text(encoding="utf-8"), results)
    shared = request.shared()
    names = shared.files or tuple(name for name in shared.suite if name not in suite_names())
    words = shlex.join(names) if shared.files else f"--suite {shlex.join(names)}"
    raise DataError(
        f"{results} does not say where {', '.join(names)} lies, and you did not measure it here",
        f"`cpufit run {words}` measures anew, "
        f"`cpufit gate {words} --baseline {shlex.quote(str(results))}` compares",
    )


def _place(results: Path) -> Path:
    key = hashlib.sha256(os.path.realpath(results).encode(errors="surrogateescape")).hexdigest()
    return user_state_path("cpufit") / "runs" / f"{key[:32]}.json"
