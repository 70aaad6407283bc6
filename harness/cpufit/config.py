"""TOML files to schema: unknown keys refused, every error listed with its path in the file."""

from __future__ import annotations

import tomllib
from difflib import get_close_matches
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar, cast

from pydantic import TypeAdapter, ValidationError

from cpufit.errors import DataError, UsageError, unknown
from cpufit.margins import RANGE, judgeable
from cpufit.paths import data_root
from cpufit.schema import Budget, Scenario, Settings, Suite, Thresholds, Tier

if TYPE_CHECKING:
    from pathlib import Path

    from pydantic_core import ErrorDetails

T = TypeVar("T")


def read_toml(path: Path) -> dict[str, Any]:
    """Parse a TOML file; raise DataError naming file, line and column."""
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except FileNotFoundError:
        raise DataError(f"no file {path}", "check the path") from None
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is not valid TOML: {error}") from error


def parse(kind: type[T], data: object, path: Path, prefix: tuple[str, ...] = ()) -> T:
    """Turn parsed TOML into `kind`; raise UsageError listing every wrong key of `path`."""
    try:
        found: T = _adapter(cast("Any", kind)).validate_python(data)
    except ValidationError as error:
        lines = [_explain(detail, prefix, kind) for detail in error.errors()]
        raise UsageError(f"{path}: " + "; ".join(lines)) from None
    return found


def parse_tables(
    kind: type[T], tables: dict[str, Any], path: Path, prefix: str = ""
) -> dict[str, T]:
    """Parse `[name]` tables whose key is the object's name, collecting the errors of all."""
    found: dict[str, T] = {}
    problems: list[str] = []
    for name, table in tables.items():
        where = (prefix, name) if prefix else (name,)
        if not isinstance(table, dict):
            problems.append(f"{'.'.join(where)}: must be a table")
            continue
        try:
            found[name] = parse(kind, {"name": name, **table}, path, where)
        except UsageError as error:
            problems.append(error.problem.removeprefix(f"{path}: "))
    if problems:
        raise UsageError(f"{path}: " + "; ".join(problems))
    return found


@cache
def load_settings() -> Settings:
    """Read `scenarios.toml`."""
    path = data_root() / "scenarios.toml"
    data = read_toml(path)
    extra = sorted(set(data) - {"scenario", "budget", "thresholds", "tier"})
    if extra:
        known = ("scenario", "budget", "thresholds", "tier")
        raise UsageError(f"{path}: {unknown('table', extra[0], known)}")
    return Settings(
        scenarios=parse_tables(Scenario, data.get("scenario", {}), path, "scenario"),
        budgets=parse_tables(Budget, data.get("budget", {}), path, "budget"),
        thresholds=parse(Thresholds, data.get("thresholds", {}), path, ("thresholds",)),
        tiers=tuple(parse_tables(Tier, data.get("tier", {}), path, "tier").values()),
    )


def suite_names() -> tuple[str, ...]:
    """Return the names of the suites that ship, in alphabetical order."""
    return tuple(sorted(p.stem for p in (data_root() / "suites").glob("*.toml")))


def load_suite(name: str) -> Suite:
    """Read a shipped suite by name, or any suite by the path of its TOML file."""
    from pathlib import Path

    path = Path(name) if name.endswith(".toml") else data_root() / "suites" / f"{name}.toml"
    if not name.endswith(".toml") and name not in suite_names():
        raise unknown("suite", name, suite_names())
    suite: Suite = parse(Suite, {"name": path.stem, **read_toml(path)}, path)
    for kind, share in (item for block in suite.cells for item in block.margin.items()):
        if not judgeable(share):
            raise DataError(f"{path}: cells.margin.{kind}: {share:g} cannot be judged by", RANGE)
    return suite


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    """Return the parser of a type; making one takes far longer than using it."""
    return TypeAdapter(kind)


def _explain(detail: ErrorDetails, prefix: tuple[str, ...], kind: type) -> str:
    where = ".".join((*prefix, *(str(part) for part in detail["loc"])))
    if detail["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        return f"{where}: unknown key{_nearest(str(detail['loc'][-1]), kind)}"
    if detail["type"] in ("missing", "missing_argument"):
        return f"{where}: missing"
    message = detail["msg"][0].lower() + detail["msg"][1:]
    return f"{where}: {message}, not {detail['input']!r}"


def _nearest(key: str, kind: type) -> str:
    from dataclasses import fields, is_dataclass

    def names(of: object) -> set[str]:
        if not is_dataclass(of):
            return set()
        import typing

        hints = typing.get_type_hints(of)
        nested = {n for f in fields(of) for t in _parts(hints[f.name]) for n in names(t)}
        return {f.name for f in fields(of)} | nested

    near = get_close_matches(key, names(kind), n=1, cutoff=0.6)
    return f" (did you mean {near[0]!r}?)" if near else ""


def _parts(hint: object) -> tuple[object, ...]:
    import typing

    args = typing.get_args(hint)
    return args or (hint,)
