"""Rounding to the number formats of GGUF: errors, ranges, and ggml's own quantiser beside ours."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from gguf import GGMLQuantizationType as Type
from gguf.quants import dequantize
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from cpufit.artifacts.gguf.formats import rounded, stored_bytes
from cpufit.networks.decoder import pools

if TYPE_CHECKING:
    import numpy.typing as npt

# Relative root mean square error of rounding bell-shaped weights.
ERRORS = {
    Type.F32: 0.0,
    Type.F16: 0.0004,
    Type.BF16: 0.003,
    Type.Q8_0: 0.007,
    Type.Q6_K: 0.021,
    Type.Q5_K: 0.04,
    Type.Q5_1: 0.05,
    Type.Q5_0: 0.06,
    Type.Q4_K: 0.08,
    Type.Q4_1: 0.1,
    Type.Q4_0: 0.1,
}
K_QUANTS = (Type.Q4_K, Type.Q5_K, Type.Q6_K)


def name_of(kind: Type) -> str:
    return str(kind.name)


def error(found: npt.NDArray[np.float32], exact: npt.NDArray[np.float32]) -> float:
    return float(np.sqrt(((found - exact) ** 2).mean()) / exact.std())


@pytest.mark.parametrize("fan_in", [256, 2048, 16_384])
@pytest.mark.parametrize("kind", list(ERRORS)[1:], ids=name_of)
def test_rounded_weights_are_near(kind: Type, fan_in: int) -> None:
    exact = pools.pool("tiny", "weight", fan_in).reshape(-1, pools.UNIT)
    raw = rounded(exact, kind)
    assert len(raw) == stored_bytes(exact.size, kind)
    found = dequantize(raw, kind).reshape(exact.shape)
    assert error(found, exact) < ERRORS[kind]
    assert abs(found.mean()) < 0.01 * exact.std()


def scales(kind: Type, raw: npt.NDArray[np.uint8]) -> npt.NDArray[np.float16]:
    """Return every f16 scale of the blocks that is a factor of weights."""
    block = raw.reshape(-1, stored_bytes(256 if kind in K_QUANTS else 32, kind))
    fields = {Type.Q6_K: (208,), Type.Q4_K: (0, 2), Type.Q5_K: (0, 2)}.get(kind, (0,))
    return np.concatenate([block[:, i : i + 2].copy().view("<f2") for i in fields])


@pytest.mark.parametrize("kind", list(ERRORS)[3:], ids=name_of)
def test_scales_are_normal_numbers_that_vary(kind: Type) -> None:
    widest = pools.pool("tiny", "weight", 16_384).reshape(-1, pools.UNIT)
    found = abs(scales(kind, rounded(widest, kind))).astype(np.float64)
    assert np.isfinite(found).all()
    assert found.min() >= np.finfo(np.float16).smallest_normal
    narrow = pools.pool("tiny", "weight", 4).reshape(-1, pools.UNIT)
    assert len(np.unique(scales(kind, rounded(narrow, kind)))) > 100


@pytest.mark.llama_cpp
@pytest.mark.parametrize("kind", K_QUANTS, ids=name_of)
def test_k_quants_are_nearly_as_good_as_ggmls(kind: Type) -> None:
    package = pytest.importorskip("llama_cpp")
    library = Path(package.__file__).parent / "lib" / "libggml-base.so"
    if not library.is_file():
        pytest.skip("no shared library of ggml")
    quantize = ctypes.CDLL(str(library)).ggml_quantize_chunk
    quantize.argtypes = [
        ctypes.c_int,
        *2 * [ctypes.c_void_p],
        *3 * [ctypes.c_int64],
        ctypes.c_void_p,
    ]
    quantize.restype = ctypes.c_size_t
    exact = pools.pool("tiny", "weight", 2048).reshape(-1, pools.UNIT)[:1024].copy()
    ours = rounded(exact, kind)
    theirs = np.empty_like(ours)
    written = quantize(int(kind), exact.ctypes.data, theirs.ctypes.data, 0, *exact.shape, None)
    assert written == len(ours)
    found, best = (
        error(dequantize(raw, kind).reshape(exact.shape), exact) for raw in (ours, theirs)
    )
    assert found < 1.15 * best


@given(
    arrays(
        np.float32,
        (2, 256),
        elements=st.floats(-1000, 1000, width=32),
        fill=st.just(np.float32(0.0)),
    ),
    st.sampled_from([(Type.Q4_K, 0.06), (Type.Q5_K, 0.04), (Type.Q6_K, 0.04)]),
)
def test_k_quants_of_anything_err_by_less_than_a_step(
    exact: npt.NDArray[np.float32], case: tuple[Type, float]
) -> None:
    kind, share = case
    found = dequantize(rounded(exact, kind), kind).reshape(exact.shape)
    spans = np.maximum(exact.max(axis=1), 0) - np.minimum(exact.min(axis=1), 0)
    assert (abs(found - exact).max(axis=1) <= share * spans + 2.0**-13).all()
