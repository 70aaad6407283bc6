"""Real against synthetic weights: the claim that speed hardly depends on them.

The packaged SmolLM2-135M beside a file of the same shapes and formats, in fresh processes in turn.
It needs `cpufit fetch smollm2-135m`. Nothing here asserts a time: run it with `-s` on a quiet
machine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.perf.llama import medians
from tests.perf.pairs import in_turns, quote

from cpufit.artifacts.gguf import build_decoder
from cpufit.artifacts.gguf.mix import Q4_1
from cpufit.artifacts.real import locate
from cpufit.catalog import pick
from cpufit.errors import UnavailableError
from cpufit.paths import cache_root

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.llama_cpp

MODEL = "smollm2-135m"
ROUNDS = 20


def test_real_against_synthetic(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Print the time of real weights over that of synthetic ones."""
    card = pick(MODEL)
    assert card.decoder
    try:
        real = str(locate(card, cache_root()))
    except UnavailableError as error:
        pytest.skip(str(error))
    synthetic = str(build_decoder(tmp_path / "synthetic.gguf", MODEL, card.decoder, Q4_1).file)
    ratios = in_turns(lambda: medians(real), lambda: medians(synthetic), ROUNDS)
    assert set(ratios) == {"prefill", "decode"}
    for kind, values in ratios.items():
        with capsys.disabled():
            print(f"\n{MODEL} Q4_1 {kind}: {quote(values)} of the time of synthetic weights")
