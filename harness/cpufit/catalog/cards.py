"""Read model cards, those that ship and the user's own, and describe a file the user brings."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cache
from pathlib import Path

from cpufit import plain
from cpufit.catalog.checks import check
from cpufit.catalog.variants import named
from cpufit.config import parse_tables, read_toml
from cpufit.errors import DataError, UsageError
from cpufit.networks.counts import counts
from cpufit.schema import Model

_CARD = frozenset(("family", "decoder", "encoder", "vision", "sense"))  # one of them at least
_FOLDER = Path(__file__).parent / "models"


@cache
def load_models() -> dict[str, Model]:
    """Return every catalog card by name, smallest families first, in file order."""
    files = {path: _read(path) for path in sorted(_FOLDER.glob("*.toml"))}
    names = {name for cards in files.values() for name in cards}
    models: dict[str, Model] = {}
    for path, cards in files.items():
        check(cards, names, str(path))
        for name in cards.keys() & models.keys():
            raise UsageError(f"{path}: {name}: a card of that name exists already")
        models |= cards
    return models


def pick(name: str) -> Model:
    """Return the card, or the variant of a card, called `name`.

    Raises UsageError naming the nearest one.
    """
    return named(name, load_models())


def read_cards(path: Path) -> dict[str, Model]:
    """Read cards of the user's own, by name; parameters and MACs may be left out.

    Raises DataError where there is no such file, UsageError listing all that is wrong in it.
    """
    tables = read_toml(path)
    if "cells" in tables:
        raise UsageError(f"{path} is a suite, no model card", f"cpufit run --suite {path}")
    if not tables:
        raise UsageError(f"{path} holds no card", "describe a model in a table [NAME]")
    if not any(isinstance(table, dict) and table.keys() & _CARD for table in tables.values()):
        raise UsageError(
            f"{path} describes no model",
            "a card is a table [NAME] with its family, and its sizes in [NAME.decoder], "
            "[NAME.encoder] or [NAME.vision]",
        )
    uncounted = {
        name: {"parameters": 0, "macs": 0, **table} if isinstance(table, dict) else table
        for name, table in tables.items()
    }
    cards = parse_tables(Model, uncounted, path)
    shipped = load_models()
    check(cards, {*cards, *shipped}, str(path))
    for name, card in cards.items():
        if name in shipped:
            raise UsageError(f"{path}: {name}: a card of that name ships", "give it another name")
        if card.real:
            raise UsageError(
                f"{path}: {name}.real: cards of your own have synthetic weights",
                "leave it out, and name a file with weights on the command line instead",
            )
    return {name: _counted(card) for name, card in cards.items()}


def model_of_file(path: Path, called: str = "") -> Model:
    """Describe a user's own model file; what it is and its numbers are read when it is opened.

    `called` is the part of its path that tells it from others, where its name alone does not. A
    link counts as itself: what it leads to may have neither suffix nor neighbours.
    """
    if not path.is_file():
        raise DataError(f"no file {path}", "check the path")
    return Model(
        name=_plain(called or path.stem),
        title=called or path.name,
        family="own",
        parameters=0,
        macs=0,
        source=f"your file {path.name}",
        file=str(path.absolute()),
    )


def _plain(words: str) -> str:
    """Return a name in which nothing separates: not a variant, nor the parts of a cell's id.

    It is the plain line that results would make of it, so that a cell is found again there.
    """
    return re.sub(r"[/@?]", "-", plain.line(words.lower()))


def _read(path: Path) -> dict[str, Model]:
    return parse_tables(Model, read_toml(path), path)


def _counted(card: Model) -> Model:
    if not (card.decoder or card.encoder) or card.sense:
        return card
    parameters, macs = counts(card)
    return replace(card, parameters=parameters, macs=macs)
