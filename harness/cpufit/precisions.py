"""Every precision, a row each. The exact formats behind them (Q4_K_M, QDQ) are the engines' own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

# 'q4_0' is llama.cpp's plain 4-bit format, told apart from its usual 'int4', the mixture Q4_K_M;
# 'int4_all' is ONNX Runtime's with a 4-bit embedding too, which its usual 'int4' has in float.
Precision = Literal["fp32", "fp16", "bf16", "int8", "int4", "int4_all", "q4_0"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)  # from many bits to few


@dataclass(frozen=True, kw_only=True)
class Row:
    """What the program knows of a precision."""

    bits: int  # of a weight
    # Cosine to float32 below which more is lost than by rounding. Rounding alone leaves samples of
    # the catalog's language models 0.86 to 0.99 at 4 bits (groups of 32 to 128) and 0.999 at 8;
    # random weights suffer more from it than trained ones. Saturating 8-bit products can cost far
    # more.
    lowest_cosine: float

    @property
    def bytes(self) -> float:
        """Of a weight."""
        return self.bits / 8


_ROWS: dict[Precision, Row] = {
    "fp32": Row(bits=32, lowest_cosine=0.9999),
    "fp16": Row(bits=16, lowest_cosine=0.999),
    "bf16": Row(bits=16, lowest_cosine=0.999),
    "int8": Row(bits=8, lowest_cosine=0.99),
    "int4": Row(bits=4, lowest_cosine=0.8),
    "int4_all": Row(bits=4, lowest_cosine=0.8),
    "q4_0": Row(bits=4, lowest_cosine=0.8),
}


def precision(name: Precision) -> Row:
    """Return the row of a precision."""
    return _ROWS[name]


def label(name: Precision) -> str:
    """Return it as people write it: 'INT8'."""
    return name.upper()


def order(name: Precision) -> int:
    """Return what sorts precisions from few bits to many."""
    return -PRECISIONS.index(name)
