"""Text that came out of a file is text wherever it is written, whatever it holds."""

from __future__ import annotations

import io
from xml.etree import ElementTree as ET

from hypothesis import example, given
from hypothesis import strategies as st

from cpufit import plain
from cpufit.cli.screen import Screen

_LETTERS = "\x1b\r\n\t:#[]|`=+-@%\\<>&\u202e\u2028\ud800\ufffe a"
_Text = st.text(max_size=300) | st.text(_LETTERS, max_size=300)


@given(_Text, st.integers(1, 400))
def test_a_line_is_one_and_short(text: str, most: int) -> None:
    found = plain.line(text, most)
    assert len(found) <= most
    assert found.replace("\u200c", "").replace("\u200d", "").isprintable()
    assert plain.line(found, most) == found
    ET.fromstring(ET.tostring(_element(found)))


def _element(text: str) -> ET.Element:
    made = ET.Element("a", name=text)
    made.text = text
    return made


@given(_Text)
def test_several_lines_are_well_formed_xml(text: str) -> None:
    found = plain.lines(text, 1000)
    assert ET.fromstring(ET.tostring(_element(found))).text == (found or None)


@given(_Text)
@example("x\n::error::owned")
@example("  ::set-output name=a::b")
@example("a ##[error]b")
def test_a_console_prints_nothing_that_is_obeyed(text: str) -> None:
    out = io.StringIO()
    Screen(file=out, width=200, markup=False, emoji=False, highlight=False).print(text)
    for line in out.getvalue().split("\n"):
        assert line.replace("\u200c", "").replace("\u200d", "").isprintable()
        assert not line.strip().startswith("::")
        assert "##[" not in line


@given(_Text)
def test_a_cell_of_markdown_stays_one(text: str) -> None:
    for found in (plain.markdown(text), plain.markdown_code(text)):
        assert "\n" not in found
        assert "|" not in found.replace(r"\|", "")
    assert "<" not in plain.markdown(text).replace(r"\<", "")


@given(_Text)
def test_code_of_markdown_holds_no_fence_as_long_as_its_own(text: str) -> None:
    found = plain.markdown_code(text)
    fence = len(found) - len(found.lstrip("`"))
    inner = found[fence : len(found) - fence]
    assert "`" * fence not in inner


@given(_Text)
@example('=HYPERLINK("x")')
@example("\t-1+1")
def test_a_spreadsheet_computes_nothing(text: str) -> None:
    found = str(plain.spreadsheet(text))
    assert not found.lstrip().startswith(("=", "+", "-", "@"))


@given(_Text)
def test_a_workflow_command_has_one_line(text: str) -> None:
    assert "\n" not in plain.command(text)
    assert "\r" not in plain.command(text)
