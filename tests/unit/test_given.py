"""What a user says of inputs: read, and told the same way for what means the same."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cpufit.errors import UsageError
from cpufit.given import Given, parse, read, told

NAMES = st.text(st.characters(codec="utf-8", exclude_characters="&"), min_size=1)
NUMBERS = st.one_of(st.integers().map(repr), st.floats(allow_nan=False).map(repr))


@given(
    NAMES,
    st.lists(st.integers(1, 2**31 - 1), max_size=5),
    st.lists(NUMBERS, max_size=5),
)
def test_what_is_told_reads_as_it_was(name: str, sizes: list[int], values: list[str]) -> None:
    said = Given(name, tuple(sizes), tuple(values))
    assert parse(said.words) == ((said,) if said.words else ())
    assert read(told(said.words)) == parse(said.words)


def test_the_same_in_other_words_is_the_same_cell() -> None:
    assert told(["x=01x3", "sr=+16000"]) == told(["sr=16000", "x=1x3"]) == "sr=16000&x=1x3"
    assert told([]) == ""


@pytest.mark.parametrize(
    "word", ["net.onnx", "=3", "sr=", "sr=loud", "x=0x3", "x=1x", "a&b=1", "x=1x99999999999"]
)
def test_what_cannot_be_meant_is_one_line(word: str) -> None:
    if word == "x=1x":
        assert parse([word]) == (Given("x", (1,)),)
        return
    with pytest.raises(UsageError, match=r"^--input") as raised:
        parse([word])
    assert "\n" not in str(raised.value)


def test_nothing_is_said_twice() -> None:
    assert parse(["ids=1x4", "ids=7"]) == (Given("ids", (1, 4), ("7",)),)
    with pytest.raises(UsageError, match="twice"):
        parse(["ids=1x4", "ids=1x5"])
