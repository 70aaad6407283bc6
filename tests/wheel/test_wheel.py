"""What ships: one import name, and a wheel that works beside folders named like ours."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.wheel


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    _check([sys.executable, "-m", "build", "--wheel", "--outdir", str(folder), str(ROOT)], ROOT)
    (found,) = folder.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment that holds the wheel and what it depends on, and no runtime."""
    folder = tmp_path_factory.mktemp("env")
    _check([sys.executable, "-m", "venv", str(folder)], folder)
    python = folder / "bin" / "python"
    _check([str(python), "-m", "pip", "install", "--quiet", str(wheel)], folder)
    return python


def test_the_wheel_installs_one_import_name_and_all_data(wheel: Path) -> None:
    _check([sys.executable, "-m", "check_wheel_contents", str(wheel)], ROOT)
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"cpufit"}
    for data in ("scenarios.toml", "suites/quick.toml", "reports/report.css"):
        assert f"cpufit/_data/{data}" in names
    assert "cpufit/catalog/models/llm.toml" in names


def test_the_smoke_suite_runs_in_an_empty_environment(python: Path, tmp_path: Path) -> None:
    for name in ("harness", "reports", "suites", "cpufit"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise ImportError('the wrong one')\n")
    script = python.with_name("cpufit")
    out = _check(
        [str(script), "run", "--suite", "smoke", "--runtime", "fake", "--precision", "int8",
         "--cache", "cache", "-o", "out"],
        tmp_path,
    )  # fmt: skip
    assert "[1/" in out
    assert (tmp_path / "out" / "report.html").stat().st_size > 10_000


def test_a_missing_runtime_is_a_reason_with_its_install_command(
    python: Path, tmp_path: Path
) -> None:
    script = python.with_name("cpufit")
    done = subprocess.run(
        [str(script), "run", "--suite", "smoke", "--cache", "cache", "-o", "out"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env=_environment(),
    )
    assert done.returncode == 2
    assert done.stderr.startswith("cpufit: nothing was measured: ")
    words = " ".join(done.stdout.split())
    for runtime, extra in (("llama.cpp", "llama-cpp"), ("openvino", "openvino")):
        assert f"{runtime} is not installed -> pip install 'cpufit[{extra}]'" in words
    again = _check([str(script), "report", "out"], tmp_path)
    assert "report of 3 cells" in again


def test_pytest_finds_the_plugin(wheel: Path, python: Path, tmp_path: Path) -> None:
    _check([str(python), "-m", "pip", "install", "--quiet", f"{wheel}[pytest]"], tmp_path)
    for name in ("harness", "reports"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise ImportError('the wrong one')\n")
    (tmp_path / "suites").mkdir()
    (tmp_path / "suites" / "own.toml").write_text(
        "title = 'own'\nbudget = 'rapid'\n[[cells]]\nmodels = ['yolov8n']\nruntimes = ['fake']\n"
        "precisions = ['int8']\nscenarios = ['latency']\n"
    )
    (tmp_path / "test_own.py").write_text(
        "import pytest\n"
        "@pytest.mark.cpufit('yolov8n', runtime='fake', max_latency_ms=500, max_rss='2GB')\n"
        "def test_own(cpufit_measure): ...\n"
    )
    words = ["--strict-markers", "-W", "error", "--benchmark-json=out.json"]
    own = ["suites/own.toml", "test_own.py"]
    out = _check([str(python.with_name("pytest")), *words, *own], tmp_path)
    assert "cpufit-0.1.0" in out
    assert "2 passed" in out
    (entry,) = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))["benchmarks"]
    assert entry["stats"]["rounds"] >= 3


def _check(words: list[str], cwd: Path) -> str:
    done = subprocess.run(words, cwd=cwd, capture_output=True, text=True, env=_environment())
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _environment() -> dict[str, str]:
    # Nor what tells pytest that it is one of several workers: so may be who runs these tests.
    own = [name for name in os.environ if name.startswith(("PYTHONPATH", "PYTEST_"))]
    return {name: value for name, value in os.environ.items() if name not in own}
