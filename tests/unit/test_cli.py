"""The commands: what `cpufit --help` says of each is what the command says of itself."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pytest
from cyclopts import App

from cpufit import store
from cpufit.cli import gate, main, run
from cpufit.cli.main import COMMANDS
from cpufit.config import load_settings
from cpufit.errors import DataError
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


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("run --threads 1.5", "--threads '1.5' is not a whole number; write --threads 12"),
        ("run --threads a", "--threads 'a' is not a whole number; write --threads 12"),
        ("run --threads 2 0x10", "--threads '0x10' is not a whole number; write --threads 12"),
        ("run --batch 1e3", "--batch '1e3' is not a whole number; write --batch 12"),
        ("run --threads", "requires at least 1 element. Got 0; `cpufit run --help` says"),
        ("gate --threads 2.0 --against x", "--threads '2.0' is not a whole number"),
        ("gate --max-minutes nan --against x", "--max-minutes 'nan' is not a number"),
        ("gate --max-minutes 1_0 --against x", "'1_0' is not a number; write --max-minutes 20"),
        ("selftest --processes 12.5", "--processes '12.5' is not a whole number"),
        ("selftest gate --pairs 12.5", "--pairs '12.5' is not a whole number"),
        ("run --cache-max -3GB", "--cache-max '-3GB' is not a size; give one such as 20GB"),
        ("run --cache-max=", "--cache-max '' is not a size; give one such as 20GB"),
        (f"run --cache-max {'9' * 400}GB", "is not a size; give one such as 20GB"),
        ("run --budget", "requires an argument; `cpufit run --help` says what there is"),
        ("run --precision int3", "did you mean 'int8'? known: bf16, fp16, fp32, int4, "),
        ("run --runtime foo", "unknown runtime 'foo'; known: llama.cpp, onnxruntime, openvino"),
        ("run --runtime fak", "unknown runtime 'fak'; known: llama.cpp, onnxruntime, openvino"),
        ("list runs out", "out is more than the command takes; `cpufit list --help` says"),
        ("list models -o out", "--output goes with `list runs` only; leave it out"),
        ("report -o", "requires an argument; `cpufit report --help` says what there is"),
    ],
)
def test_a_mistake_says_what_to_do(
    words: str, message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["cpufit", *words.split()])
    assert main._code() == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1


def test_an_empty_folder_is_an_empty_list(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["cpufit", "list", "runs", "--json", "-o", str(tmp_path)])
    assert main._code() is None
    assert json.loads(capsys.readouterr().out) == []


def test_cpufit_alone_tells_of_every_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["cpufit"])
    monkeypatch.setenv("COLUMNS", "200")
    assert main._code() is None
    said = capsys.readouterr().out
    for summary in COMMANDS.values():
        assert summary[:60] in said


def test_the_help_of_budgets_is_what_the_file_says() -> None:
    said = run._budgets()
    for budget in load_settings().budgets.values():
        assert f"{budget.name}: {budget.title}, {budget.cell_s:g} s" in said


def test_a_folder_that_is_a_file_is_called_one(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DataError, match="/file is a file; name another output folder"):
        store.create(tmp_path / "file" / "run-1.parquet", "{}")
