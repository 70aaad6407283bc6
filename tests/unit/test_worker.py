"""What the child process does between the parent's lines, and what is said of one that died."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

from cpufit.measuring.worker import from_core_to_core
from cpufit.run.child import death

if TYPE_CHECKING:
    from collections.abc import Collection

    import pytest


def test_both_arms_visit_the_same_cores_two_turns_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """Either arm goes first once on each core, A B B A; cores it may not use are left out."""
    moves: list[Collection[int]] = []
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {5, 0, 2})
    monkeypatch.setattr(os, "sched_setaffinity", lambda _, cores: moves.append(cores))
    turns = [b"\n"] * 8

    assert list(from_core_to_core(turns)) == turns
    assert moves == [{0}, {0}, {2}, {2}, {5}, {5}, {0}, {0}]


def test_it_moves_before_the_slice_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slice is measured between two turns: it must lie on one core as a whole."""
    moves: list[Collection[int]] = []
    monkeypatch.setattr(os, "sched_setaffinity", lambda _, cores: moves.append(cores))
    for number, _ in enumerate(from_core_to_core([b"\n"] * 3), 1):
        assert len(moves) == number


def test_an_illegal_instruction_names_what_to_install() -> None:
    """A build for another CPU is the user's to replace; other signals are a runtime's bugs."""
    died = death(-signal.SIGILL, "warming up", "", 0)
    assert died.why_and_remedy.startswith(
        "crashed: died of SIGILL while warming up; install a build for"
    )
    assert not death(-signal.SIGSEGV, "warming up", "", 0).remedy
