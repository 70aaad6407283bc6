"""`cpufit selftest`: the method, and the gate, held against themselves."""

from __future__ import annotations

import sys
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from cpufit.cli.options import Whole, cache_folder, console
from cpufit.errors import UsageError

app = App(name="selftest")


@app.default
def selftest(
    files: tuple[Path, ...] = (),
    /,
    *,
    recorded: bool = False,
    processes: Whole = 12,
    output: Annotated[Path, Parameter(name=["--output", "-o"])] = Path("cpufit-selftest"),
    cache: Path | None = None,
) -> None:
    """Test the method itself on this host: overhead, A/A, coverage, sensitivity, verdicts.

    Parameters
    ----------
    files
        Results of an earlier self-test, replayed instead of measuring.
    recorded
        Replay the processes that ship with cpufit instead of measuring: seconds, not minutes.
    processes
        How many of each cell are measured; 12 by default, which takes about ten minutes.
    output
        Folder for what is measured; ./cpufit-selftest by default.
    cache
        Folder for the models that are built; the user's cache folder by default.
    """
    from cpufit.cli import findings
    from cpufit.run import flow

    for path in files:
        if not path.exists() and get_close_matches(str(path), ["gate"]):
            raise UsageError(f"no file {path}", "did you mean `cpufit selftest gate`?")
    if processes < findings.FEWEST:
        raise UsageError(f"--processes {processes} is too few", f"give {findings.FEWEST} or more")
    place = flow.Place(output=output, cache=cache_folder(cache))
    good = findings.show(console(), files, recorded=recorded, processes=processes, place=place)
    sys.exit(0 if good else 1)


@app.command
def gate(
    folders: tuple[Path, ...] = (),
    /,
    *,
    recorded: bool = False,
    pairs: Whole = 30,
    matrices: Whole = 0,
    apart: bool = False,
    output: Annotated[Path, Parameter(name=["--output", "-o"])] = Path("cpufit-selftest"),
    cache: Path | None = None,
) -> None:
    """Test `cpufit gate` itself: false alarms, what it finds, a hog, other tools' rules.

    Parameters
    ----------
    folders
        Pairs of an earlier self-test, replayed instead of measuring.
    recorded
        Replay the pairs that ship with cpufit instead of measuring: seconds, not an hour.
    pairs
        How many of each cell are taken of equal arms, and as many with extra work in one.
    matrices
        Instead, let the gate compare the suite 'matrix' with itself so many times, each of which
        takes a quarter of an hour.
    apart
        Of matrices: compare with a second environment, made of the same wheels of ONNX Runtime.
    output
        Folder for what is measured; ./cpufit-selftest by default.
    cache
        Folder for the models that are built; the user's cache folder by default.
    """
    from cpufit.cli import findings
    from cpufit.run import flow

    if pairs < findings.FEWEST:
        raise UsageError(f"--pairs {pairs} is too few", f"give {findings.FEWEST} or more")
    if matrices < 0:
        raise UsageError(f"--matrices {matrices} cannot be taken", "give 1 or more")
    if apart and not matrices:
        raise UsageError("--apart is for --matrices", "give --matrices 1, or leave it out")
    place = flow.Place(output=output, cache=cache_folder(cache))
    replayed = recorded or bool(folders)
    good = findings.show_gate(
        console(),
        folders,
        recorded=replayed,
        pairs=pairs,
        matrices=matrices,
        apart=apart,
        place=place,
    )
    sys.exit(0 if good else 1)
