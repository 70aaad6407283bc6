"""cpufit in pytest: suites as tests and benchmarks, and limits for models of your own repository.

`pytest suites/quick.toml` measures cells (`suite`), `@pytest.mark.cpufit` and `cpufit_measure` hold
models against limits (`marked`). pytest loads this module in every run of an environment that has
cpufit, so it imports nothing more until it is asked for.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from cpufit.pytest_plugin.undecided import UndecidedWarning

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from cpufit.pytest_plugin.marked import Measure

__all__ = ["UndecidedWarning"]

# What makes a TOML file a suite, or what was meant to be one; other plugins collect TOML as well.
_SUITE = re.compile(r"^\s*\[*\s*cells?\b", re.MULTILINE)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the few options: how long to measure, and where to keep it."""
    group = parser.getgroup("cpufit", "cpufit: AI models on this CPU")
    group.addoption(
        "--cpufit-budget",
        metavar="NAME",
        default="",
        help="Time per cell: rapid, quick, full or audit; a suite's own, and rapid for limits.",
    )
    group.addoption(
        "--cpufit-output",
        metavar="DIR",
        default="",
        help="Keep what is measured in this folder as Parquet files, for `cpufit report DIR`.",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker."""
    config.addinivalue_line(
        "markers",
        "cpufit(model, runtime=..., precision=..., max_ttft_ms=..., max_rss=...): measure a model "
        "before the test and fail where it is over a limit; see docs/pytest.md of cpufit.",
    )


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Take a suite that is named on the command line; never what lies about in a project."""
    if file_path.suffix != ".toml" or not parent.session.isinitpath(file_path):
        return None
    if not _is_suite(file_path):
        return None
    from cpufit.pytest_plugin.suite import SuiteFile

    return SuiteFile.from_parent(parent, path=file_path)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Say what is wrong with a marker before fixtures do any work."""
    if item.get_closest_marker("cpufit") is not None:
        from cpufit.pytest_plugin import marked

        marked.check(item)


def pytest_runtest_call(item: pytest.Item) -> None:
    """Hold the models of a marked test against its limits before its body runs."""
    if item.get_closest_marker("cpufit") is not None:
        from cpufit.pytest_plugin import marked

        marked.hold(item)


@pytest.fixture
def cpufit_measure(request: pytest.FixtureRequest) -> Measure:
    """Measure a model file or a catalog model: `cpufit_measure("net.onnx", max_latency_ms=20)`.

    Takes what the marker `cpufit` takes, limits being optional, and returns a `Measured`.
    """
    from cpufit.pytest_plugin.marked import Measure

    return Measure(request.node)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say where the results lie, where they were to be kept."""
    from sys import modules

    if "cpufit.pytest_plugin.measuring" in modules:
        from cpufit.pytest_plugin.measuring import Measuring

        for path in Measuring.of(terminalreporter.config).kept:
            terminalreporter.write_line(f"cpufit: results in {path}")


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove results that nobody asked to keep."""
    from sys import modules

    if "cpufit.pytest_plugin.measuring" in modules:
        from cpufit.pytest_plugin.measuring import Measuring

        Measuring.of(config).close()


# ---------------------------------------------------- hooks of pytest-benchmark, where it is there
@pytest.hookimpl(optionalhook=True)
def pytest_benchmark_update_machine_info(
    config: pytest.Config, machine_info: dict[str, Any]
) -> None:
    """Add the host's facts and its fingerprint, where a suite is run."""
    if _names_a_suite(config):
        from cpufit.pytest_plugin import entry

        machine_info["cpufit"] = entry.host_facts()


@pytest.hookimpl(optionalhook=True, tryfirst=True)
def pytest_benchmark_compare_machine_info(
    machine_info: dict[str, Any], compared_benchmark: dict[str, Any]
) -> None:
    """Refuse to hold figures of two hosts against each other; raise pytest.UsageError."""
    here, there = machine_info.get("cpufit"), compared_benchmark["machine_info"].get("cpufit")
    if here and there:
        from cpufit.pytest_plugin import entry

        entry.refuse_another_host(here, there)


@pytest.hookimpl(optionalhook=True, tryfirst=True)
def pytest_benchmark_scale_unit(
    unit: str, benchmarks: Iterable[dict[str, Any]]
) -> tuple[str, float] | None:
    """Keep pytest-benchmark, which knows only seconds, from scaling and naming bytes as such."""
    units = {bench["extra_info"].get("cpufit", {}).get("unit", "s") for bench in benchmarks}
    if len(units) != 1 or units == {"s"}:
        return None
    return (f"{units.pop()}, not ", 1.0) if unit == "seconds" else ("", 1.0)


def _names_a_suite(config: pytest.Config) -> bool:
    """Return whether the command line names a suite: so early, nothing is collected yet."""
    paths = (config.invocation_params.dir / word.partition("::")[0] for word in config.args)
    return any(path.suffix == ".toml" and _is_suite(path) for path in paths)


def _is_suite(path: Path) -> bool:
    try:
        return _SUITE.search(path.read_text(encoding="utf-8-sig", errors="replace")) is not None
    except OSError:
        return False
