"""The composite GitHub Action runs as GitHub would run its steps."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

ACTION = Path(__file__).parents[2] / "action.yml"
FAKE = """#!/bin/sh
printf '%s\\n' "$@" > said
while [ $# -gt 0 ]; do
  [ "$1" = --json ] && echo '{"verdict": "regression"}' > "$2"
  shift
done
exit 1
"""


def script() -> str:
    """Return what the step `gate` runs."""
    text = ACTION.read_text(encoding="utf-8")
    lines = text[text.index("      run: |\n") :].splitlines()[1:]
    return "\n".join(line.removeprefix("        ") for line in lines)


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({"AGAINST": "onnxruntime==1.30.0"}, ["gate", "--against", "onnxruntime==1.30.0"]),
        ({"MODELS": "old.onnx new.onnx"}, ["gate", "--against-model", "old.onnx", "new.onnx"]),
        ({"AGAINST": "$(touch hacked); x"}, ["gate", "--against", "$(touch hacked); x"]),
    ],
)
def test_the_step_passes_its_inputs_on(
    tmp_path: Path, inputs: dict[str, str], words: list[str]
) -> None:
    fake = tmp_path / "cpufit"
    fake.write_text(FAKE)
    fake.chmod(0o755)
    names = {"AGAINST": "", "MODELS": "", "OPTIONS": "--max-minutes 30", **inputs}
    env = {
        **names,
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "RUNNER_TEMP": str(tmp_path),
        "GITHUB_OUTPUT": str(tmp_path / "output"),
    }
    done = subprocess.run(["bash", "-e", "-c", script()], cwd=tmp_path, env=env)
    assert done.returncode == 1
    said = (tmp_path / "said").read_text().splitlines()
    assert said[: len(words) + 2] == [*words, "--max-minutes", "30"]
    assert said[-1] == "--github"
    assert "verdict=regression" in (tmp_path / "output").read_text()
    assert not (tmp_path / "hacked").exists()


def test_no_input_is_pasted_into_a_script() -> None:
    assert re.findall(r"\$\{\{", script()) == []
