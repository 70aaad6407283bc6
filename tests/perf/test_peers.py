"""Ours beside OpenVINO's `benchmark_app` and MLPerf LoadGen's SingleStream (ONNX Runtime).

Same file and threads, fresh processes in turn. Nothing here asserts a time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.perf.one_pass import SECONDS, THREADS, made, medians
from tests.perf.pairs import in_turns, quote

from cpufit.errors import UnavailableError
from cpufit.selftest.peers import benchmark_app, loadgen

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.perf.pairs import Figures

    from cpufit.precisions import Precision
    from cpufit.schema import Artifact

    Peer = Callable[[Artifact, int, float], Figures]

MODELS: tuple[tuple[str, Precision], ...] = (("resnet-50", "fp32"), ("mobilenet-v2", "int8"))
PEERS: tuple[tuple[Peer, str], ...] = ((benchmark_app, "openvino"), (loadgen, "onnxruntime"))
ROUNDS = 20


@pytest.mark.parametrize(("peer", "runtime"), PEERS)
@pytest.mark.parametrize(("name", "precision"), MODELS)
def test_beside_a_peer(
    peer: Peer, runtime: str, name: str, precision: Precision, capsys: pytest.CaptureFixture[str]
) -> None:
    """Print our time over theirs."""
    artifact = made(name, precision, runtime)
    try:
        peer(artifact, THREADS, 1)
    except UnavailableError as error:
        pytest.skip(str(error))

    def theirs() -> Figures:
        return {"p50": peer(artifact, THREADS, SECONDS)["latency"]}

    ratios = in_turns(lambda: medians(artifact, runtime), theirs, ROUNDS)
    with capsys.disabled():
        print(f"\n{name} {precision} p50: {quote(ratios['p50'])} of {peer.__name__}'s time")
