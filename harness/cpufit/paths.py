"""Where cpufit's data lies: in an installed wheel or a checkout, never the working folder."""

from __future__ import annotations

from pathlib import Path

OUTPUT = Path("cpufit-results")  # where runs go by default
_PACKAGE = Path(__file__).resolve().parent


def data_root() -> Path:
    """Return the folder of `suites/`, `reports/`, `reference_results/` and `scenarios.toml`."""
    packed = _PACKAGE / "_data"
    return packed if packed.is_dir() else _PACKAGE.parents[1]


def cache_root() -> Path:
    """Return the user's cache folder for artifacts and fetched weights (not created here)."""
    from platformdirs import user_cache_path

    return user_cache_path("cpufit")


def as_argument(path: Path) -> str:
    """Return a path as a command takes it: one that looks like an option is named from here."""
    return f"./{path}" if str(path).startswith("-") else str(path)
