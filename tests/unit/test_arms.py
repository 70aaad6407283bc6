"""The two sides of a gate."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TYPE_CHECKING

from cpufit.run.child import Interpreter
from cpufit.run.gate import arms

if TYPE_CHECKING:
    from pathlib import Path


def test_every_library_of_an_arm_is_dropped_from_the_page_cache(tmp_path: Path) -> None:
    here = arms.here()
    facts = tmp_path / "net-1.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: net\nVersion: 1.0\n")
    (facts / "RECORD").write_text("net/core.so.1,,\nnet/gone.so,,\nnet/readme.txt,,\n")
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "core.so.1").write_bytes(b"a library")
    more = replace(here, interpreter=Interpreter(sys.executable, str(tmp_path)))
    assert arms.evict(more) == arms.evict(here) + 1


def test_what_differs_is_named_by_package() -> None:
    before = arms.Arm(name="a", packages={"onnxruntime": "1", "numpy": "2"})
    after = arms.Arm(name="b", packages={"onnxruntime": "3", "numpy": "2", "new": "1"})
    assert before.differs(after) == {"onnxruntime": ("1", "3"), "new": ("", "1")}
    assert arms.uses(before, after, "onnxruntime")
