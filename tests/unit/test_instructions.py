"""What a llama.cpp that was built for another CPU lacks, and how doctor says it."""

from __future__ import annotations

import subprocess
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cpufit.doctor import engines as doctor
from cpufit.doctor.checks import Check
from cpufit.probes import host
from cpufit.runtimes.engine import Engine
from cpufit.runtimes.llama_cpp import ENGINE, instructions

ZEN3 = "CPU : SSE3 = 1 | AVX = 1 | AVX2 = 1 | F16C = 1 | FMA = 1 | BMI2 = 1 | REPACK = 1 | "


@pytest.mark.parametrize(
    ("system_info", "flags", "missing"),
    [
        (ZEN3, "avx avx2 f16c fma sse4_1 amx_int8", []),
        (ZEN3, "avx avx2 f16c fma avx512f avx512_vnni", ["AVX512", "AVX512_VNNI"]),
        ("CPU : SSE3 = 1 | LLAMAFILE = 1", "avx avx2 f16c fma", ["AVX", "F16C", "FMA", "AVX2"]),
        ("CPU : NEON = 1 | ARM_FMA = 1", "asimd asimddp i8mm", ["DOTPROD", "MATMUL_INT8"]),
        ("CPU : NEON = 1 | SVE_CNT = 32 | SVE = 0", "asimd sve", ["SVE"]),
        ("", "avx", ["AVX"]),
    ],
)
def test_what_a_build_lacks(system_info: str, flags: str, missing: list[str]) -> None:
    assert instructions.lacking(system_info, frozenset(flags.split())) == missing


@given(st.sets(st.sampled_from(host.FLAGS)))
def test_a_build_with_all_lacks_nothing(flags: set[str]) -> None:
    everything = " | ".join(f"{name} = 1" for name in instructions._NAMES.values())
    assert instructions.lacking(everything, frozenset(flags)) == []
    assert set(instructions._NAMES) <= set(host.FLAGS)


def _answers(monkeypatch: pytest.MonkeyPatch, code: int, out: str = "", err: str = "") -> None:
    ended = subprocess.CompletedProcess([], code, out, err)
    monkeypatch.setattr(subprocess, "run", lambda *a, **k: ended)


def test_doctor_says_what_it_lacks_and_what_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    _answers(monkeypatch, 0, "CPU : AVX = 1 |")
    monkeypatch.setattr(Engine, "version", "1.0")
    found = doctor._check(ENGINE, frozenset({"avx", "avx2"}))
    assert found.level == "bad"
    assert found.value == "1.0, built without AVX2, which this CPU has"
    assert "build-llama" in found.remedy or "pip install" in found.remedy
    good = Check("llama.cpp", "good", "1.0")
    assert doctor._check(ENGINE, frozenset({"avx"})) == good
    other = replace(ENGINE, name="x", fault=Engine.fault)
    assert doctor._check(other, frozenset({"avx2"})) == Check("x", "good", "1.0")


@pytest.mark.parametrize(
    ("err", "words"), [("", "ended with -4"), ("a\nOSError: no lib\n", "OSError: no lib")]
)
def test_a_build_for_another_cpu_that_dies(
    err: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _answers(monkeypatch, -4, err=err)
    assert instructions.fault(frozenset())[0] == f"cannot be loaded: {words}"


@pytest.mark.llama_cpp
def test_the_one_that_is_installed_was_built_for_this_cpu() -> None:
    pytest.importorskip("llama_cpp")
    assert instructions.fault(host.flags()) == ("", "")
