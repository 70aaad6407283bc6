"""The composite GitHub Action runs as GitHub would run its steps."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

ACTION = Path(__file__).parents[2] / "action.yml"
INSTALL = ACTION.parent / "scripts" / "install-engines"
FILES = ["gate", "--against-model"]
OPTIONS = ["--margin", "time=5%", "--suite", "my suite.toml"]
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
        ({"MODELS": "a b/old.onnx\na b/new.onnx\n"}, [*FILES, "a b/old.onnx", "a b/new.onnx"]),
        ({"MODELS": "\"a b/old.onnx\"\n\n 'new.onnx' \n"}, [*FILES, "a b/old.onnx", "new.onnx"]),
        ({"MODELS": "it's old.onnx\r\nnew.onnx"}, [*FILES, "it's old.onnx", "new.onnx"]),
        ({"MODELS": "'a b/old.onnx' new.onnx"}, [*FILES, "a b/old.onnx", "new.onnx"]),
        ({"MODELS": "$(touch hacked)\n*"}, [*FILES, "$(touch hacked)", "*"]),
    ],
)
def test_the_step_passes_its_inputs_on(
    tmp_path: Path, inputs: dict[str, str], words: list[str]
) -> None:
    said = _said(tmp_path, {"OPTIONS": "--max-minutes 30", **inputs})
    assert said[: len(words) + 2] == [*words, "--max-minutes", "30"]
    assert said[-1] == "--github"
    assert "verdict=regression" in (tmp_path / "output").read_text()
    assert not (tmp_path / "hacked").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("--margin 'time=5%'\n--suite \"my suite.toml\"\n", OPTIONS),
        ("--margin time=5% --suite my\\ suite.toml", OPTIONS),
        ("--model *\n$(touch hacked)", ["--model", "*", "$(touch", "hacked)"]),
        ("", []),
    ],
)
def test_options_are_words_of_the_shell_over_all_lines(
    tmp_path: Path, options: str, words: list[str]
) -> None:
    said = _said(tmp_path, {"OPTIONS": options})
    assert said[1 : said.index("--json")] == words
    assert not (tmp_path / "hacked").exists()


def test_a_quote_that_stays_open_is_no_regression(tmp_path: Path) -> None:
    done = _run(tmp_path, {"OPTIONS": "--suite 'my suite"})
    assert done.returncode == 2
    assert done.stderr.startswith("cpufit: options: No closing quotation")
    assert not (tmp_path / "said").exists()


def test_modules_of_the_current_folder_are_not_run(tmp_path: Path) -> None:
    for name in ("json", "shlex", "os"):
        (tmp_path / f"{name}.py").write_text("open('hacked', 'w')")
    assert _said(tmp_path, {"MODELS": "a\nb"})
    assert not (tmp_path / "hacked").exists()


@pytest.mark.parametrize(
    ("engines", "installed"),
    [
        ("onnxruntime openvino", "[onnxruntime,openvino]"),
        ("onnxruntime,openvino", "[onnxruntime,openvino]"),
        ("openvino", "[openvino]"),
        (" ", ""),
    ],
)
def test_the_actions_own_checkout_is_installed(
    tmp_path: Path, engines: str, installed: str
) -> None:
    done = _installed(tmp_path, engines)
    assert done.returncode == 0, done.stderr
    said = (tmp_path / "said").read_text().splitlines()
    assert said == ["-P", "-m", "pip", "install", "--quiet", f"{ACTION.parent}{installed}"]


def test_llama_cpp_is_compiled_as_lightly_as_here() -> None:
    script = INSTALL.read_text(encoding="utf-8")
    assert "scripts/build-llama" in script
    assert "cpufit[" not in script + ACTION.read_text(encoding="utf-8")


def test_an_engine_that_is_none_is_named(tmp_path: Path) -> None:
    done = _installed(tmp_path, "onnxruntime *")
    assert done.returncode == 2
    assert "no engine '*'" in done.stderr
    assert not (tmp_path / "said").exists()


def _installed(folder: Path, engines: str) -> subprocess.CompletedProcess[str]:
    fake = folder / "python"
    fake.write_text("#!/bin/sh\nprintf '%s\\n' \"$@\" > said\n")
    fake.chmod(0o755)
    (folder / "pip.py").write_text("open('hacked', 'w')")
    return subprocess.run([INSTALL, fake, engines], cwd=folder, capture_output=True, text=True)


def _said(folder: Path, inputs: dict[str, str]) -> list[str]:
    done = _run(folder, inputs)
    assert done.returncode == 1, done.stderr
    return (folder / "said").read_text().splitlines()


def _run(tmp_path: Path, inputs: dict[str, str]) -> subprocess.CompletedProcess[str]:
    fake = tmp_path / "cpufit"
    fake.write_text(FAKE)
    fake.chmod(0o755)
    names = {"AGAINST": "", "MODELS": "", "OPTIONS": "", **inputs}
    env = {
        **names,
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "RUNNER_TEMP": str(tmp_path),
        "GITHUB_OUTPUT": str(tmp_path / "output"),
    }
    command = ["bash", "-e", "-o", "pipefail", "-c", script()]
    return subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)


def test_no_input_is_pasted_into_a_script() -> None:
    runs = re.findall(r"^ +run: (?:\|\n(?: {8}.*\n)+|.*)", ACTION.read_text(), re.MULTILINE)
    assert len(runs) == 2
    assert "${{" not in "".join(runs)
