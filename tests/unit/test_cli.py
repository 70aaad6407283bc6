"""The commands: what `cpufit --help` says of each is what the command says of itself."""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pytest
from cyclopts import App

from cpufit import store
from cpufit.cli import gate, run
from cpufit.cli.main import COMMANDS
from cpufit.paths import as_argument, cache_root
from cpufit.plan.request import Request
from cpufit.plan.selection import Selection
from cpufit.run.flow import Place
from cpufit.sizes import parse_size


@pytest.mark.parametrize("place", COMMANDS)
def test_a_command_has_one_summary(place: str) -> None:
    module, name = place.split(":")
    found = getattr(import_module(f"cpufit.cli.{module}"), name)
    command = found.default_command if isinstance(found, App) else found
    assert command is not None
    said = str(command.__doc__)
    assert COMMANDS[place] == " ".join(said.split("\n\n")[0].split())


def test_the_command_that_goes_on_names_its_folders() -> None:
    place = Place(output=Path("cpufit-results"), cache=cache_root())
    assert run._go_on(place) == "cpufit run --resume"
    place = replace(place, output=Path("my o"), cache=Path("/c"), cache_limit_bytes=10**9)
    said = "cpufit run --resume -o 'my o' --cache /c --cache-max 1000000000B"
    assert run._go_on(place) == said
    assert parse_size("1000000000B", "--cache-max") == 10**9
    assert store.go_on(Path("cpufit-results/run-1.parquet")) == "`cpufit run --resume`"
    assert store.go_on(Path("o o/run-1.parquet")) == "`cpufit run --resume -o 'o o'`"


def test_a_path_like_an_option_is_no_option() -> None:
    assert as_argument(Path("./-x.md")) == "./-x.md"
    assert as_argument(Path("a/-x.md")) == "a/-x.md"


def test_earlier_runs_are_narrowed_and_not_asked_anew(tmp_path: Path) -> None:
    asked = Request(selection=Selection(models=("bert-base",), batches=(8,), weights=("real",)))
    path = store.create(tmp_path / "run-1.parquet", asked.to_json()).path
    narrowed = gate._asked(path, (), Selection(runtimes=("openvino",)))
    assert narrowed.selection == replace(asked.selection, runtimes=("openvino",))
