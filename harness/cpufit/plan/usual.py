"""Which engines are worth trying here, where a suite says `runtimes = ["usual"]`.

What the engines say of themselves (`Engine.usual`), by kind of model, precision and the CPU's
instruction sets, comes from records.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from cpufit.precisions import label
from cpufit.runtimes import engines

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from cpufit.runtimes.engine import Engine, Usual
    from cpufit.schema import Model, Select

USUAL = "usual"


def expanded(
    blocks: Iterable[Select], models: Mapping[str, Model], flags: frozenset[str]
) -> tuple[tuple[Select, ...], dict[str, str]]:
    """Return the blocks with engines by name, and why each engine is among them, by its name.

    `flags` are the instruction sets of this CPU. An engine gets the models of the families and at
    the one precision that it is usual for, as far as the block has them.
    """
    found: list[Select] = []
    why: dict[str, str] = {}
    for block in blocks:
        if USUAL not in block.runtimes:
            found.append(block)
            continue
        for engine, usual in _holding(flags):
            chosen = _chosen(block, engine, usual, models)
            if chosen.models and chosen.precisions:
                found.append(chosen)
                why[engine.name] = f"{engine.name} {label(usual.precision)}: {usual.why}"
    return tuple(found), why


def _holding(flags: frozenset[str]) -> list[tuple[Engine, Usual]]:
    return [(engine, one) for engine in engines() for one in engine.usual if one.holds(flags)]


def _chosen(block: Select, engine: Engine, usual: Usual, models: Mapping[str, Model]) -> Select:
    fitting = tuple(
        name for name in block.models if name not in models or models[name].family in usual.families
    )
    return replace(
        block,
        runtimes=(engine.name,),
        models=fitting,
        precisions=tuple(p for p in block.precisions if p == usual.precision),
    )
