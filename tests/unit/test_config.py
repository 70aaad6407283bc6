"""TOML to schema: everything wrong is said at once, with its path."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from cpufit import config
from cpufit.catalog import pick
from cpufit.errors import DataError, UsageError
from cpufit.plan.scenarios import load_scenarios
from cpufit.plan.usual import USUAL
from cpufit.runtimes import names

if TYPE_CHECKING:
    from pathlib import Path

    from cpufit.schema import Suite

GOOD = """
title = "mine"
budget = "rapid"
[[cells]]
models = ["mistral-7b"]
runtimes = ["llama.cpp"]
precisions = ["int4"]
scenarios = ["latency"]
"""


def _suite(folder: Path, text: str) -> Suite:
    path = folder / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return config.load_suite(str(path))


def test_a_suite_of_the_users_own(tmp_path: Path) -> None:
    suite = _suite(tmp_path, GOOD)
    assert suite.name == "mine"
    assert suite.cells[0].weights == ("synthetic",)


def test_every_wrong_key_is_listed_with_its_path_and_the_nearest_name(tmp_path: Path) -> None:
    wrong = GOOD.replace("scenarios", "scenario").replace('"int4"', '"int5"') + "colour = 1\n"
    with pytest.raises(UsageError) as error:
        _suite(tmp_path, wrong)
    message = str(error.value)
    assert "cells.0.scenarios: missing" in message
    assert "cells.0.scenario: unknown key (did you mean 'scenarios'?)" in message
    assert "cells.0.precisions.0" in message
    assert "'int5'" in message
    assert "cells.0.colour: unknown key" in message
    assert "\n" not in message


def test_a_key_in_the_wrong_table_is_told_where_it_belongs(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="models: unknown key here: it belongs into 'cells'"):
        _suite(tmp_path, GOOD.replace("[[cells]]", "models = 3\n[[cells]]"))
    with pytest.raises(UsageError, match=r"cells\.0\.budget: .* belongs above all tables"):
        _suite(tmp_path, GOOD + 'budget = "quick"\n')


@pytest.mark.parametrize(
    ("margin", "mistake"),
    [
        ("{ memory = 0.05 }", ""),
        ("{ memori = 0.05 }", "cells.0.margin.memori"),
        ("{ time = 0 }", r"mine.toml: cells.margin.time: 0 cannot be judged by; give 0.1% to 100%"),
        ("{ time = 2.0 }", "cells.margin.time: 2 cannot be judged by"),
        ('{ time = "soon" }', "cells.0.margin.time"),
    ],
)
def test_margins_of_a_block(tmp_path: Path, margin: str, mistake: str) -> None:
    text = f"{GOOD}margin = {margin}\n"
    if not mistake:
        assert _suite(tmp_path, text).cells[0].margin == {"memory": 0.05}
        return
    with pytest.raises((DataError, UsageError), match=mistake):
        _suite(tmp_path, text)


def test_broken_toml_names_the_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"mine.toml is not valid TOML: .*line 2"):
        _suite(tmp_path, "title = 'x'\nbudget = \n")


def test_an_unknown_suite_points_at_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean 'quick'"):
        config.load_suite("quik")


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no file"):
        config.load_suite(str(tmp_path / "none.toml"))


@pytest.mark.parametrize("name", config.suite_names())
def test_every_suite_that_ships_names_what_exists(name: str) -> None:
    suite, settings = config.load_suite(name), config.load_settings()
    assert suite.budget in settings.budgets
    for block in suite.cells:
        assert [pick(name).name for name in block.models] == list(block.models)
        assert set(block.runtimes) <= {*names(), USUAL}
        assert set(block.scenarios) <= set(load_scenarios())


def test_every_tier_names_models_that_exist() -> None:
    for tier in config.load_settings().tiers:
        for wanted in tier.models:
            assert pick(wanted.model).name == wanted.model


def test_the_quick_suite_measures_every_model_of_the_tiers() -> None:
    """Otherwise no tier could be recommended; a tier missed by a lower one may go unmeasured."""
    low, mid, _ = config.load_settings().tiers
    wanted = {(m.model, m.precision) for tier in (low, mid) for m in tier.models}
    measured = {
        (model, precision)
        for block in config.load_suite("quick").cells
        for model in block.models
        for precision in block.precisions
    }
    assert wanted <= measured


def test_settings_are_complete() -> None:
    settings = config.load_settings()
    assert list(settings.budgets) == ["rapid", "quick", "full", "audit"]
    assert [tier.name for tier in settings.tiers] == ["low", "mid", "high"]
    assert {s.procedure for s in load_scenarios().values()} == {
        "latency",
        "throughput",
        "memory",
        "energy",
        "frames",
    }
    assert {one.limit for one in settings.levels.levels} >= {"latency", "ttft", "tpot"}


def test_a_byte_order_mark_is_skipped(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(GOOD.lstrip(), encoding="utf-8-sig")
    assert config.load_suite(str(path)).budget == "rapid"


def test_what_is_no_toml_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    for data, words in (
        (b"title =", "is not valid TOML: Invalid value (at end of document); mend it there"),
        ("title = 1".encode("utf-16"), "is not text in UTF-8; save it as UTF-8"),
    ):
        path.write_bytes(data)
        with pytest.raises(DataError) as found:
            config.read_toml(path)
        assert str(found.value) == f"{path} {words}"
