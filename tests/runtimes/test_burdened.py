"""Extra work behind each request is of the size that was asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from cpufit.measuring import burdened
from cpufit.runtimes.base import Step, Work

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cpufit.runtimes.inputs import Array


class Clock:
    """Time that only work moves."""

    def __init__(self) -> None:
        self.now = 0

    def __call__(self) -> int:
        return self.now


class Model:
    """A session of a millisecond a pass."""

    settings: Mapping[str, str]
    notes: tuple[str, ...] = ()

    def __init__(self, clock: Clock) -> None:
        self.settings = {"threads": "2"}
        self._clock = clock

    def prepare(self, step: Step) -> Work:
        def run() -> None:
            self._clock.now += 1_000_000 * step.tokens

        return Work(run=run, items=step.tokens)

    def inputs(self) -> Mapping[str, Array]:
        return {}

    def outputs(self) -> Mapping[str, Array]:
        return {}

    def close(self) -> None:
        self._clock.now = -1


@pytest.mark.parametrize("share", [0.02, 0.1, 1.0])
def test_each_request_takes_longer_by_the_share(
    share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()

    def spin(loops: int) -> None:
        clock.now += 700 * loops

    monkeypatch.setattr(burdened, "_spin", spin)
    session = burdened.Burdened(Model(clock), share, clock)
    for tokens in (1, 7):
        work = session.prepare(Step(kind="prefill", tokens=tokens))
        start = clock.now
        work.run()
        assert clock.now - start == pytest.approx(1e6 * tokens * (1 + share), rel=2e-3)
        assert work.items == tokens
    assert session.settings == {"threads": "2", "extra work": f"{share:.0%}"}
    session.close()
    assert clock.now == -1
