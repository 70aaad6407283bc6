"""Which engines a suite tries, where it leaves that to the host."""

from __future__ import annotations

import pytest

from cpufit import config
from cpufit.catalog import load_models
from cpufit.plan.cells import cells, decisive_first
from cpufit.plan.scenarios import load_scenarios
from cpufit.plan.usual import USUAL, expanded
from cpufit.runtimes import engines
from cpufit.schema import Select

MODELS = load_models()
BLOCK = Select(
    models=("qwen2.5-0.5b", "mistral-7b", "mobilenet-v2"),
    runtimes=(USUAL,),
    precisions=("int4", "int8"),
    scenarios=("latency",),
)
AVX2, VNNI = frozenset({"avx2"}), frozenset({"avx2", "avx512_vnni"})


def _tried(flags: frozenset[str]) -> set[tuple[str, str]]:
    blocks, _ = expanded([BLOCK], MODELS, flags)
    return {(block.runtimes[0], block.precisions[0]) for block in blocks}


def test_an_engine_is_tried_where_it_can_win() -> None:
    assert _tried(frozenset()) == {("llama.cpp", "int4")}
    assert _tried(AVX2) == {("llama.cpp", "int4"), ("onnxruntime", "int4")}
    assert _tried(VNNI) == {("llama.cpp", "int4"), ("onnxruntime", "int4"), ("openvino", "int8")}


def test_it_gets_the_models_it_is_usual_for_and_says_why() -> None:
    blocks, why = expanded([BLOCK], MODELS, AVX2)
    assert {block.models for block in blocks} == {("qwen2.5-0.5b", "mistral-7b")}
    assert tuple(why.values()) == (
        "llama.cpp INT4: what most people run language models with",
        "onnxruntime INT4: fastest for models of 1 to 8B parameters on CPUs with AVX2",
    )


def test_blocks_that_name_their_engines_stay_as_they_are() -> None:
    quick = config.load_suite("quick").cells
    plain = [block for block in quick if USUAL not in block.runtimes]
    assert expanded(plain, MODELS, VNNI) == (tuple(plain), {})


@pytest.mark.parametrize("engine", engines(), ids=lambda engine: engine.name)
def test_what_an_engine_is_usual_for_it_can_run(engine: object) -> None:
    found = next(one for one in engines() if one == engine)
    for usual in found.usual:
        assert any(
            set(usual.families) <= set(build.families) and usual.precision in build.precisions
            for build in found.builds
        )


def test_cells_that_decide_on_a_tier_come_first_and_models_stay_together() -> None:
    tiers = config.load_settings().tiers
    names = ("distilbert", "mistral-7b", "qwen2.5-0.5b", "mobilenet-v3-small")
    block = Select(
        models=names, runtimes=("fake",), precisions=("int4",), scenarios=("latency", "memory")
    )
    found = decisive_first(cells([block], MODELS, load_scenarios(), (1,)), tiers)
    assert [cell.model for cell in found[::2]] == [
        "qwen2.5-0.5b",
        "mobilenet-v3-small",
        "mistral-7b",
        "distilbert",
    ]
    assert all(one.model == two.model for one, two in zip(found[::2], found[1::2], strict=True))
