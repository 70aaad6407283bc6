"""Tables inside Markdown files: written, checked, and never half."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from cpufit.config import load_settings
from cpufit.errors import CpufitError
from cpufit.tables import markers
from tests.report import samples
from tests.samples import stored

ROOT = Path(__file__).parents[2]
BEGIN = "<!-- cpufit:begin metric=ttft where=precision=int4 results=run-1.parquet -->"
END = "<!-- cpufit:end -->"
PAIR = f"{BEGIN}\n{END}\n"


@pytest.fixture
def page(tmp_path: Path) -> Path:
    stored(tmp_path / "run-1.parquet", samples.llm_records(8))
    path = tmp_path / "page.md"
    path.write_text(f"# Before\n\n{PAIR}\nAfter\n", encoding="utf-8")
    return path


def states(*paths: Path) -> list[str]:
    return [found.state for found in markers.examine(paths, 0.99)]


def written(*paths: Path) -> None:
    markers.update(markers.examine(paths, 0.99))


def test_the_documents_of_this_project_are_fresh() -> None:
    paths = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    found = markers.examine(paths, load_settings().levels.confidence)
    assert [one.words for one in found if one.state != "as it should be"] == []
    assert {one.path.name for one in found} >= {"README.md", "models.md"}


def test_a_table_is_written_and_then_as_it_should_be(page: Path) -> None:
    assert states(page) == ["stale"]
    written(page)
    assert states(page) == ["as it should be"]
    text = page.read_text(encoding="utf-8")
    assert text.startswith("# Before\n\n<!-- cpufit:begin rows=model cols=runtime metric=ttft ")
    assert text.endswith(f"`cpufit table --update page.md`\n\n{END}\n\nAfter\n")
    assert "| mistral-7b |" in text
    before = page.stat().st_mtime_ns
    written(page)
    assert page.stat().st_mtime_ns == before


def test_an_edit_by_hand_is_seen_and_undone(page: Path) -> None:
    written(page)
    fresh = page.read_text(encoding="utf-8")
    page.write_text(fresh.replace("mistral-7b", "mistral-8b"), encoding="utf-8")
    assert states(page) == ["edited by hand"]
    written(page)
    assert page.read_text(encoding="utf-8") == fresh


def test_other_results_or_options_make_it_stale(page: Path) -> None:
    written(page)
    fresh = page.read_text(encoding="utf-8")
    page.write_text(fresh.replace("metric=ttft", "metric=tpot"), encoding="utf-8")
    assert states(page) == ["stale"]
    page.write_text(fresh, encoding="utf-8")
    faster = [samples.scaled(r, 0.5, 1.0) for r in samples.llm_records(8)]
    stored(page.parent / "run-1.parquet", faster)
    assert states(page) == ["stale"]


def test_several_tables_and_files(page: Path) -> None:
    other = page.with_name("other.md")
    second = PAIR.replace("ttft", "memory")
    other.write_text(f"{PAIR}words\n{second}", encoding="utf-8")
    written(page, other)
    assert states(page, other) == ["as it should be"] * 3
    assert "\nwords\n" in other.read_text(encoding="utf-8")


def test_line_ends_of_other_systems_stay(page: Path) -> None:
    page.write_bytes(f"# x\n\n{PAIR}".replace("\n", "\r\n").encode())
    written(page)
    assert states(page) == ["as it should be"]
    assert page.read_bytes().count(b"\n") == page.read_bytes().count(b"\r\n")


def test_markers_in_code_are_left_alone(page: Path) -> None:
    example = f"```\n{PAIR}```\n\n~~~~ text\n{BEGIN}\n~~~\n~~~~\n"
    page.write_text(example + PAIR, encoding="utf-8")
    written(page)
    assert page.read_text(encoding="utf-8").startswith(example)
    assert len(states(page)) == 1


def test_any_number_of_files_may_be_meant(page: Path) -> None:
    later = [replace(r, run_id="2", recorded_at="2027-01-01") for r in samples.llm_records(5)[:1]]
    stored(page.parent / "run-2.parquet", later)
    page.write_text(PAIR.replace("run-1", "run-*"), encoding="utf-8")
    written(page)
    assert "from 2026-11-20 to 2027-01-01" in page.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (BEGIN, "bad.md:1: no end; add <!-- cpufit:end -->"),
        (f"{BEGIN}\n{PAIR}", "bad.md:1: no end"),
        (f"x\n{END}", "bad.md:2: an end without a begin"),
        (PAIR.replace("begin", "beginn"), "bad.md:1: no marker: <!-- cpufit:beginn"),
        (PAIR.replace(" -->", "", 1), "bad.md:1: no marker"),
        (PAIR.replace("ttft", "tftt"), "bad.md:1: unknown metric 'tftt'; did you mean 'ttft'?"),
        (PAIR.replace("metric=", "metrik="), "unknown option of a marker 'metrik'"),
        (PAIR.replace("metric=ttft", "metric=a metric=b"), "metric is given 2 times"),
        (PAIR.replace("results=run-1.parquet ", ""), "bad.md:1: the marker names no results"),
        (PAIR.replace("run-1", "run-9"), "bad.md:1: no file run-9.parquet; paths are relative"),
        (PAIR.replace("=int4", "='int4"), "bad.md:1: No closing quotation"),
        (PAIR.replace("where=precision=int4 ", ""), "bad.md:1: 2 cells fall into one place"),
        ("nothing", ""),
    ],
)
def test_a_bad_marker_leaves_every_file_as_it_was(page: Path, text: str, words: str) -> None:
    bad = page.with_name("bad.md")
    bad.write_text(text, encoding="utf-8")
    before = page.read_bytes(), bad.read_bytes()
    if not words:
        with pytest.raises(CpufitError, match=r"no table in .*bad\.md; mark its place"):
            markers.examine([bad], 0.99)
        return
    with pytest.raises(CpufitError) as caught:
        written(page, bad)
    assert words in str(caught.value)
    assert (page.read_bytes(), bad.read_bytes()) == before
    assert sorted(path.name for path in page.parent.iterdir()) == [
        "bad.md",
        "page.md",
        "run-1.parquet",
    ]


def test_what_is_no_text_or_no_file(page: Path) -> None:
    other = page.with_name("other.md")
    with pytest.raises(CpufitError, match=r"no file .*other\.md"):
        written(page, other)
    other.write_bytes(b"\xff\xfe")
    with pytest.raises(CpufitError, match=r"other\.md is not text in UTF-8"):
        written(page, other)
    assert states(page) == ["stale"]


def test_a_page_named_twice_is_written_once(page: Path) -> None:
    link = page.with_name("link.md")
    link.symlink_to(page.name)
    page.chmod(0o664)
    written(page, page.parent / "." / page.name, link)
    assert states(page) == ["as it should be"]
    assert page.read_text(encoding="utf-8").endswith(f"\n\n{END}\n\nAfter\n")
    assert link.is_symlink()
    assert page.stat().st_mode & 0o777 == 0o664


@pytest.mark.parametrize(
    "before",
    [
        "- ```sh\n  cpufit run\n  ```\n",
        "> ```\n> cpufit run\n> ```\n",
        "```inline``` code begins no block\n",
        "1. ~~~\n   ```\n   ~~~\n",
    ],
)
def test_a_table_after_code_in_a_list_is_seen(page: Path, before: str) -> None:
    page.write_text(f"{before}\n{PAIR}", encoding="utf-8")
    assert states(page) == ["stale"]
    page.write_text(f"{before}\n- ```\n  {PAIR}  ```\n", encoding="utf-8")
    with pytest.raises(CpufitError, match="no table in"):
        states(page)


def test_a_byte_order_mark_is_skipped_and_kept(page: Path) -> None:
    page.write_text(PAIR, encoding="utf-8-sig")
    written(page)
    assert states(page) == ["as it should be"]
    assert page.read_bytes().startswith(b"\xef\xbb\xbf<!-- cpufit:begin ")
    assert page.read_bytes().count(b"\xef\xbb\xbf") == 1
