"""TOML files to schema: unknown keys refused, every error listed with its path in the file."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, make_dataclass
from difflib import get_close_matches
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, cast

from pydantic import TypeAdapter, ValidationError

from cpufit.errors import DataError, UsageError, unknown
from cpufit.files import check_file
from cpufit.margins import RANGE, judgeable
from cpufit.paths import data_root
from cpufit.quantities import LIMITS
from cpufit.schema import Budget, Level, Levels, Settings, Suite, Tier
from cpufit.schema.shapes import FORBID_UNKNOWN
from cpufit.units import NS_PER_MS, NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pydantic_core import ErrorDetails

T = TypeVar("T")

# What pydantic asks for, in TOML's words.
_EXPECTED = {
    "tuple_type": "must be a list",
    "dict_type": "must be a table",
    "dataclass_type": "must be a table",
    "string_type": "must be a text",
    "bool_type": "must be true or false",
}


def read_toml(path: Path) -> dict[str, Any]:
    """Parse a TOML file; raise DataError naming file, line and column."""
    check_file(path, "a TOML file")
    try:
        return tomllib.loads(path.read_bytes().decode("utf-8-sig"))
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}", "name a TOML file") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not text in UTF-8", "save it as UTF-8") from error
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise DataError(f"{path} is not valid TOML: {error}", "mend it there") from error


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
    """Read `scenarios.toml`, all but its scenarios."""
    path, data = _scenarios_toml()
    known = ("scenario", "budget", "verdicts", "level", "tier")
    extra = sorted(set(data) - set(known))
    if extra:
        raise UsageError(f"{path}: {unknown('table', extra[0], known)}")
    return Settings(
        budgets=parse_tables(Budget, data.get("budget", {}), path, "budget"),
        levels=_levels(data, path),
        tiers=tuple(parse_tables(Tier, data.get("tier", {}), path, "tier").values()),
    )


def load_tables(name: str) -> tuple[Path, dict[str, Any]]:
    """Return the path of `scenarios.toml` and its tables [NAME....], for who reads them."""
    path, data = _scenarios_toml()
    return path, data.get(name, {})


@cache
def _scenarios_toml() -> tuple[Path, dict[str, Any]]:
    path = data_root() / "scenarios.toml"
    return path, read_toml(path)


# A level of service as the file has it: what each figure may come to, such as `ttft_ms`; and `fps`,
# camera frames per second, each a level of its own.
_LevelTable: Any = make_dataclass(
    "_LevelTable",
    [
        ("name", str),
        ("title", str),
        *((f"{limit}_ms", float, 0.0) for limit in LIMITS),
        ("fps", tuple[int, ...], ()),
    ],
    namespace={"__pydantic_config__": FORBID_UNKNOWN},
    frozen=True,
    kw_only=True,
)


def _levels_of(table: Any) -> Iterator[Level]:
    for limit in LIMITS:
        if ms := getattr(table, f"{limit}_ms"):
            yield Level(name=table.name, limit=limit, most_ns=ms * NS_PER_MS)
    for rate in table.fps:
        yield Level(name=f"{rate} FPS", limit="frame", most_ns=NS_PER_S / rate)


@dataclass(frozen=True, kw_only=True)
class _Verdicts:
    """What is held against a level, and how sure one must be."""

    __pydantic_config__: ClassVar[dict[str, str]] = FORBID_UNKNOWN

    percentile: float
    confidence: float


def _levels(data: dict[str, Any], path: Path) -> Levels:
    tables = parse_tables(_LevelTable, data.get("level", {}), path, "level")
    how = parse(_Verdicts, data.get("verdicts", {}), path, ("verdicts",))
    return Levels(
        levels=tuple(level for table in tables.values() for level in _levels_of(table)),
        percentile=how.percentile,
        confidence=how.confidence,
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
    message = _EXPECTED.get(detail["type"], detail["msg"][0].lower() + detail["msg"][1:])
    return f"{where}: {message}, not {detail['input']!r}"


def _nearest(key: str, kind: type) -> str:
    """Return where a key belongs that is in the wrong table, or which one may be meant."""
    known = _names(kind)
    if key in known:
        place = f"into {known[key]!r}" if known[key] else "above all tables"
        return f" here: it belongs {place}"
    near = get_close_matches(key, known, n=1, cutoff=0.6)
    return f" (did you mean {near[0]!r}?)" if near else ""


def _names(kind: object, table: str = "") -> dict[str, str]:
    """Return the keys that a file may have, each with the table it stands in; '' is the file."""
    from dataclasses import fields, is_dataclass
    from typing import get_type_hints

    if not is_dataclass(kind):
        return {}
    hints, found = get_type_hints(kind), {field.name: table for field in fields(kind)}
    for name in tuple(found):
        for part in _parts(hints[name]):
            found = _names(part, name) | found
    return found


def _parts(hint: object) -> tuple[object, ...]:
    from typing import get_args

    return get_args(hint) or (hint,)
