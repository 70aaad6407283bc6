"""The commands: what `cpufit --help` says of each is what the command says of itself."""

from __future__ import annotations

from importlib import import_module

import pytest
from cyclopts import App

from cpufit.cli.main import COMMANDS


@pytest.mark.parametrize("place", COMMANDS)
def test_a_command_has_one_summary(place: str) -> None:
    module, name = place.split(":")
    found = getattr(import_module(f"cpufit.cli.{module}"), name)
    command = found.default_command if isinstance(found, App) else found
    assert command is not None
    said = str(command.__doc__)
    assert COMMANDS[place] == " ".join(said.split("\n\n")[0].split())
