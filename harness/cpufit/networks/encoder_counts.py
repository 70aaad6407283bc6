"""What a BERT-like encoder's shapes add up to; `graphs/encoder.py` builds the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cpufit.networks.widths import rank

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cpufit.schema.shapes import Encoder

_ATTENTION = 4  # linear layers: queries, keys, values, output


def parameters(encoder: Encoder) -> int:
    """Count every weight."""
    hidden = encoder.hidden
    norm = 2 * hidden
    tables = (encoder.vocab + encoder.positions + encoder.types) * hidden
    biases = (_ATTENTION + 1) * hidden + encoder.ffn
    block = sum(_matrices(encoder)) + biases + 2 * norm
    pooler = hidden * hidden + hidden if encoder.pooler else 0
    return tables + norm + encoder.layers * block + pooler


def macs(encoder: Encoder) -> int:
    """Count the multiply-adds of one pass over `sequence` tokens, attention included."""
    hidden, sequence = encoder.hidden, encoder.sequence
    block = sequence * sum(_matrices(encoder)) + 2 * sequence * sequence * hidden
    return encoder.layers * block + (hidden * hidden if encoder.pooler else 0)


def _matrices(encoder: Encoder) -> Iterator[int]:
    """Yield the weights of each linear layer of a block, without its bias."""
    hidden, ffn = encoder.hidden, encoder.ffn
    for inputs, outputs in (*((hidden, hidden),) * _ATTENTION, (hidden, ffn), (ffn, hidden)):
        if encoder.lowrank:
            yield (inputs + outputs) * rank(encoder.lowrank, inputs, outputs)
        else:
            yield inputs * outputs
