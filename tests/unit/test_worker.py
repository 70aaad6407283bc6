"""What the child process does between the parent's lines, and what is said of one that died."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest

from cpufit.measuring import cores
from cpufit.probes import host
from cpufit.run.child import death

if TYPE_CHECKING:
    from collections.abc import Collection


@pytest.fixture
def moves(monkeypatch: pytest.MonkeyPatch) -> list[Collection[int]]:
    """Where the thread was put, on a host that lets it use three cores."""
    found: list[Collection[int]] = []
    monkeypatch.setattr(host, "fastest_cores", lambda: [0, 2, 5])
    monkeypatch.setattr(os, "sched_setaffinity", lambda _, cores: found.append(cores))
    return found


def test_both_arms_visit_the_same_cores_two_turns_each(moves: list[Collection[int]]) -> None:
    """Either arm goes first once on each core, A B B A."""
    turns = [b"\n"] * 9  # the first is a rehearsal
    assert list(cores.in_turns(turns, cores.mover())) == turns
    assert moves == [{0}, {2}, {5}, {0}]


def test_it_moves_before_the_slice_begins(moves: list[Collection[int]]) -> None:
    """A slice is measured between two turns: it must lie on one core as a whole."""
    for number, _ in enumerate(cores.in_turns([b"\n"] * 7, cores.mover())):
        assert len(moves) == (number + 1) // 2


def test_further_processes_begin_on_further_cores(moves: list[Collection[int]]) -> None:
    for repeat in range(4):
        cores.mover(repeat)()
    assert moves == [{0}, {2}, {5}, {0}]


@pytest.mark.parametrize(
    ("capacities", "fastest"),
    [
        ((1024, 1024, 446, 446), [0, 1]),
        ((1024, 974, 974), [0, 1, 2]),
        ((0, 0), [0, 1]),
        ((), []),
    ],
)
def test_small_cores_are_not_visited(
    monkeypatch: pytest.MonkeyPatch, capacities: tuple[int, ...], fastest: list[int]
) -> None:
    said = {f"cpu{core}": str(capacity or "") for core, capacity in enumerate(capacities)}
    monkeypatch.setattr(host, "allowed_cores", lambda: list(range(len(capacities))))
    monkeypatch.setattr(host, "read_text", lambda path: said.get(path.parent.name, ""))
    assert host.fastest_cores() == fastest


def test_an_illegal_instruction_names_what_to_install() -> None:
    """A build for another CPU is the user's to replace; other signals are a runtime's bugs."""
    died = death(-signal.SIGILL, "warming up", "", 0)
    assert died.why_and_remedy.startswith(
        "crashed: died of SIGILL while warming up; install a build for"
    )
    assert not death(-signal.SIGSEGV, "warming up", "", 0).remedy
