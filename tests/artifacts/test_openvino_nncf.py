"""Ours against NNCF, called as `optimum-cli export openvino --weight-format int8|int4` calls it."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

pytest.importorskip("openvino")

from tests.runtimes.decoders import FAMILIES, TINY

from cpufit.artifacts.openvino import decoder
from cpufit.runtimes.openvino.opening import new_core
from cpufit.schema import Model, Order

nncf = pytest.importorskip("nncf")  # after `opening`, which keeps it from calling home

if TYPE_CHECKING:
    from pathlib import Path

    from cpufit.precisions import Precision

    Consts = dict[str, Any]

pytestmark = pytest.mark.openvino

NARROW = {"tied": True, "hidden": 96, "ffn": 160, "heads": 3, "kv_heads": 1}
ODD = {"ffn": 272}  # no group divides it
SHAPES: dict[str, dict[str, Any]] = FAMILIES | {"narrow": NARROW, "odd": ODD}
ROUNDED: tuple[Precision, ...] = ("int8", "int4")
ON_THE_WAY = ("Convert", "Subtract", "Multiply", "Reshape")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@cache
def _ours(shape: str, precision: Precision, folder: Path) -> Any:
    model = Model(
        name="tiny",
        title="Tiny",
        family="llm",
        parameters=0,
        macs=0,
        source="test",
        decoder=replace(TINY, **SHAPES[shape]),
    )
    order = Order(
        builder="openvino.decoder",
        model=model,
        precision=precision,
        runtime="openvino",
        weights="synthetic",
    )
    place = folder / f"{shape}-{precision}"
    place.mkdir()
    return new_core().read_model(decoder.build(order, place).file)


@cache
def _theirs(shape: str, precision: Precision, folder: Path) -> Any:
    """Compress the float model; sources: `_DEFAULT_4BIT_WQ_CONFIG`, `to_nncf_dict` of optimum."""
    settings = {
        "int8": {"mode": nncf.CompressWeightsMode.INT8_ASYM, "group_size": -1},
        "int4": {
            "mode": nncf.CompressWeightsMode.INT4_ASYM,
            "group_size": 128,
            # As `--group-size-fallback adjust`, without which it refuses such models.
            "advanced_parameters": nncf.AdvancedCompressionParameters(
                group_size_fallback_mode=nncf.GroupSizeFallbackMode.ADJUST
            ),
        },
    }[precision]
    exported = _ours(shape, "fp32", folder).clone()
    return nncf.compress_weights(exported, ratio=1.0, all_layers=None, **settings)


def _constants(model: Any) -> Consts:
    """Return the constants of weights, their zero points and scales, by name."""
    nodes = {node.get_friendly_name(): node for node in model.get_ops()}
    return {
        name: node
        for name, node in nodes.items()
        if node.get_type_name() == "Constant" and (".weight" in name or ".bias" in name)
    }


def _form(node: Any) -> tuple[str, list[int]]:
    return node.get_element_type().get_type_name(), list(node.get_shape())


def _way(node: Any) -> tuple[str, ...]:
    """Return the operations between a constant and the product, norm or look-up that it is for."""
    found: tuple[str, ...] = ()
    while len(users := {t.get_node() for t in node.output(0).get_target_inputs()}) == 1:
        (node,) = users
        if node.get_type_name() not in ON_THE_WAY:
            break
        found = (*found, node.get_type_name())
    return found


@pytest.mark.parametrize("precision", ROUNDED)
@pytest.mark.parametrize("shape", SHAPES)
def test_types_groups_and_zero_points_are_those_of_nncf(
    folder: Path, shape: str, precision: Precision
) -> None:
    ours = _constants(_ours(shape, precision, folder))
    theirs = _constants(_theirs(shape, precision, folder))
    assert {name: _form(node) for name, node in ours.items()} == {
        name: _form(node) for name, node in theirs.items()
    }
    assert {name: _way(node) for name, node in ours.items()} == {
        name: _way(node) for name, node in theirs.items()
    }


def _numbers(node: Any) -> Any:
    """Return a constant's values, 4-bit ones unpacked: the first in a byte's lower half."""
    element = node.get_element_type().get_type_name()
    if element != "u4":
        return node.data
    raw = np.frombuffer(node.data, np.uint8)
    return np.stack([raw & 0xF, raw >> 4], axis=1).reshape(node.get_shape())


def _widened(parts: Consts, name: str) -> Any:
    codes, zeros, scales = (_numbers(parts[name + part]) for part in ("", "/zero_point", "/scale"))
    return (codes.astype(np.float32) - zeros) * scales.astype(np.float32)


@pytest.mark.parametrize("shape", ["llama", "phi3", "narrow"])
def test_codes_of_4_bits_are_those_of_nncf(folder: Path, shape: str) -> None:
    ours = _constants(_ours(shape, "int4", folder))
    theirs = _constants(_theirs(shape, "int4", folder))
    for name in (name for name, node in ours.items() if _form(node)[0] == "u4"):
        same = _numbers(ours[name]) == _numbers(theirs[name])
        assert same.mean() > 0.999  # but for a tie or two, rounded in another order
        if name + "/scale" in ours:
            mine, wanted = (_numbers(parts[name + "/scale"]) for parts in (ours, theirs))
            np.testing.assert_allclose(mine, wanted, rtol=2.0**-10)


@pytest.mark.parametrize("precision", ROUNDED)
@pytest.mark.parametrize("shape", ["llama", "gpt2"])
def test_no_more_is_lost_than_by_nncf(folder: Path, shape: str, precision: Precision) -> None:
    exact = _constants(_ours(shape, "fp32", folder))
    ours = _constants(_ours(shape, precision, folder))
    theirs = _constants(_theirs(shape, precision, folder))
    for name in (name for name in ours if name + "/scale" in ours):
        wanted = exact[name].data.reshape(-1)
        losses = []
        for parts in (ours, theirs):
            found = _widened(parts, name).reshape(-1)
            losses.append(1 - found @ wanted / np.linalg.norm(found) / np.linalg.norm(wanted))
        # All rows of 8 bits share the scale of their pool, which is wider than most rows' own.
        assert losses[0] < max(1e-4, 1.01 * losses[1])
