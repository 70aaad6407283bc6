"""`cpufit table` and `cpufit compare` as a user calls them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.e2e.helpers import cpufit
from tests.report import samples
from tests.samples import stored

if TYPE_CHECKING:
    from pathlib import Path

MARKED = "<!-- cpufit:begin metric=ttft where=precision=int4 results=run-1.parquet -->\n"
END = "<!-- cpufit:end -->\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    stored(tmp_path / "run-1.parquet", samples.llm_records(8))
    (tmp_path / "page.md").write_text(MARKED + END)
    return tmp_path


def test_the_command_of_a_caption_makes_the_table_again(folder: Path) -> None:
    first = cpufit("table", ".", "--metric", "ttft", "--where", "precision=int4", cwd=folder)
    assert first.code == 0, first
    again = first.out.rsplit("Again: `cpufit ", 1)[1].rstrip("`\n")
    assert again.startswith("table run-1.parquet --rows model --cols runtime ")
    assert cpufit(*again.split(), cwd=folder).out == first.out


def test_several_wheres_and_formats(folder: Path) -> None:
    words = ("--metric", "tokens/s", "--where", "precision=int4", "model=mistral-7b,phi-3-mini")
    said = cpufit("table", "run-1.parquet", *words, "--format", "csv", cwd=folder)
    assert [line.split(",")[0] for line in said.out.splitlines()] == [
        "model",
        "phi-3-mini",
        "mistral-7b",
    ]


def test_update_and_check(folder: Path) -> None:
    said = cpufit("table", "--check", "page.md", cwd=folder)
    assert said.code == 1
    assert "cpufit: page.md:1: stale\n" in said.err
    assert (folder / "page.md").read_text() == MARKED + END
    said = cpufit("table", "--update", "page.md", cwd=folder)
    assert (said.code, said.out) == (0, "page.md:1: stale, updated\n")
    said = cpufit("table", "--update", "page.md", "--check", cwd=folder)
    assert (said.code, said.out) == (0, "1 table is as it should be\n")
    text = (folder / "page.md").read_text()
    (folder / "page.md").write_text(text.replace("mistral", "mistrall"))
    said = cpufit("table", "--update", "page.md", "--check", cwd=folder)
    assert said.code == 1
    assert "page.md:1: edited by hand" in said.err


def test_compare_prints_and_writes_a_page(folder: Path) -> None:
    slower = [samples.scaled(r, 2.0, 1.0, run_id="2") for r in samples.llm_records(8)]
    stored(folder / "run-2.parquet", slower)
    files = ("run-1.parquet", "run-2.parquet")
    price = ("--price", f"{samples.HOST.cpu_model}=700")
    said = cpufit("compare", *files, "--html", "c.html", *price, cwd=folder)
    assert said.code == 0, said
    assert "2.00 (no interval)" in said.out
    assert "tokens/s per USD" in said.out
    assert said.out.endswith("\npage  c.html\n")
    assert "2 runs on Intel" in (folder / "c.html").read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("table", "--metric", "ttft"), "no results in cpufit-results"),
        (("table", "run-1.parquet"), "no --metric; give one of latency"),
        (("table", "none.parquet", "--metric", "ttft"), "no file none.parquet"),
        (("table", "page.md", "--metric", "ttft"), "page.md is not a readable Parquet file"),
        (("table", "run-1.parquet", "--metric", "ttft"), "choose, such as --where precision=int4"),
        (("table", "run-1.parquet", "--metric", "ttft", "--format", "pdf"), "--format"),
        (("table", "--check"), "no Markdown file is named"),
        (("table", "--update", "page.md", "--metric", "ttft"), "name the files only"),
        (("table", "--update", "page.md", "none.md"), "no file none.md"),
        (("table", "--update", "page.md", "bad.md"), "bad.md:1: unknown metric 'tftt'"),
        (("compare", "run-1.parquet"), "there is one side only"),
        (("compare", "run-1.parquet", "none.parquet"), "no file none.parquet"),
        (("compare", "run-1.parquet", "run-1.parquet", "--price", "x"), "--price 'x' is no price"),
        (("compare", "run-1.parquet", "run-1.parquet", "--price", "x=-1"), "is no price"),
        (
            ("compare", "run-1.parquet", "--price", "x=1", "run-1.parquet"),
            "name files before --price",
        ),
        (
            ("compare", "run-1.parquet", "run-1.parquet", "--price", "x=1"),
            "unknown host of --price",
        ),
        (
            ("compare", "run-1.parquet", "run-1.parquet", "--html", "/dev/null/c.html"),
            "cannot write /dev/null/c.html",
        ),
    ],
)
def test_words_that_cannot_be_meant(folder: Path, words: tuple[str, ...], message: str) -> None:
    (folder / "bad.md").write_text(MARKED.replace("ttft", "tftt") + END)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert message in cpufit(*words, cwd=folder).mistake
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
