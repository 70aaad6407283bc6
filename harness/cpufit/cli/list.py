"""`cpufit list`: what there is, as tables for people and JSON for machines."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from cpufit import config, units
from cpufit.catalog import load_models, standard
from cpufit.cli import runs
from cpufit.cli.options import console
from cpufit.errors import UnsupportedError, UsageError
from cpufit.paths import OUTPUT
from cpufit.plan.scenarios import load_scenarios
from cpufit.precisions import PRECISIONS
from cpufit.report.terminal import table
from cpufit.runtimes import engines

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from cpufit.runtimes.engine import Engine
    from cpufit.schema import Model

    Shown = tuple[Sequence[str], Sequence[Sequence[str]]]


def list_(
    what: Literal["models", "runtimes", "scenarios", "suites", "tiers", "runs"],
    /,
    *,
    variants: bool = False,
    output: Annotated[Path | None, Parameter(name=["--output", "-o"])] = None,
    json_: Annotated[bool, Parameter(name="--json")] = False,
) -> None:
    """Show what there is.

    Parameters
    ----------
    what
        Which list.
    variants
        Of models: the usual three compressed forms of each, instead of the models themselves.
    output
        Of runs: the folder they are in; ./cpufit-results by default.
    json_
        For machines.
    """
    if variants and what != "models":
        raise UsageError("--variants goes with `list models` only", "leave it out")
    if output and what != "runs":
        raise UsageError("--output goes with `list runs` only", "leave it out")
    chosen = "variants" if variants else what
    entries = (
        runs.entries(output or OUTPUT, even_none=json_) if what == "runs" else _entries(chosen)
    )
    if json_:
        print(json.dumps(entries, indent=2))
    else:
        console().print(_table(chosen, entries))


def _table(what: str, entries: list[dict[str, Any]]) -> Table:
    """Return the list for people."""
    columns, lines = _SHOWN[what](entries)
    return table("", columns, lines)


def _entries(what: str) -> list[dict[str, Any]]:
    settings = config.load_settings()
    if what in ("models", "variants"):
        cards = list(load_models().values())
        if what == "variants":
            cards = [variant for card in cards for variant in standard(card)]
        return [asdict(card) | {"runs_on": _runs_on(card)} for card in cards]
    if what == "runtimes":
        return [_engine(engine) for engine in engines() if not engine.invented]
    if what == "scenarios":
        return [asdict(scenario) for scenario in load_scenarios().values()]
    if what == "suites":
        return [asdict(config.load_suite(name)) for name in config.suite_names()]
    return [asdict(tier) for tier in settings.tiers]


def _engine(engine: Engine) -> dict[str, Any]:
    return {
        "name": engine.name,
        "title": engine.title,
        "packages": list(engine.packages),
        "install": engine.install,
        "version": engine.version,
        "reads": list(engine.suffixes),
    }


def _runs_on(model: Model) -> dict[str, list[str]]:
    """Return runtime -> precisions that can be built, 'fp32 (real)' for real weights only."""
    from cpufit.artifacts.routes import route_of

    found: dict[str, list[str]] = {}
    for runtime in (engine.name for engine in engines() if not engine.invented):
        for precision in PRECISIONS:
            for weights in model.weights:
                try:
                    route_of(model, precision, runtime, weights)
                except UnsupportedError:
                    continue
                word = precision if weights == "synthetic" else f"{precision} (real)"
                found.setdefault(runtime, []).append(word)
    return found


def _models(entries: list[dict[str, Any]]) -> Shown:
    lines = [
        (
            e["name"],
            e["family"],
            units.count(e["parameters"]),
            units.count(e["macs"]) if e["macs"] else "",
            "; ".join(f"{r}: {', '.join(p)}" for r, p in e["runs_on"].items()),
        )
        for e in entries
    ]
    return ("model", "family", ">parameters", ">MACs", "runs on"), lines


def _runtimes(entries: list[dict[str, Any]]) -> Shown:
    lines = [
        (e["name"], e["title"], e["version"] or "not installed", e["install"]) for e in entries
    ]
    return ("runtime", "", "version", "install"), lines


def _scenarios(entries: list[dict[str, Any]]) -> Shown:
    return ("scenario", "measures"), [(e["name"], e["title"]) for e in entries]


def _suites(entries: list[dict[str, Any]]) -> Shown:
    return ("suite", "budget", "for"), [(e["name"], e["budget"], e["title"]) for e in entries]


def _tiers(entries: list[dict[str, Any]]) -> Shown:
    lines = [
        (
            e["name"],
            e["title"],
            e["device"],
            f"{e['ram_gb'][0]:g} to {e['ram_gb'][1]:g} GB",
            ", ".join(f"{m['model']} {m['precision']}" for m in e["models"]),
        )
        for e in entries
    ]
    return ("tier", "holds", "typical device", "RAM", "must run"), lines


def _runs(entries: list[dict[str, Any]]) -> Shown:
    return ("run", "recorded", "suites", ">cells", ">processes"), runs.lines(entries)


_SHOWN = {
    "models": _models,
    "variants": _models,
    "runtimes": _runtimes,
    "scenarios": _scenarios,
    "suites": _suites,
    "tiers": _tiers,
    "runs": _runs,
}
