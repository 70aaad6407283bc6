"""What the child process does between the parent's lines."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from cpufit.worker import from_core_to_core

if TYPE_CHECKING:
    from collections.abc import Collection

pytestmark = pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="Linux only")


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
