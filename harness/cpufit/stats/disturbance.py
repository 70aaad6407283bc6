"""Was a process disturbed while it measured? Pure, over the noise that its record keeps.

A disturbed process is measured again while the budget lasts, and stays in the results. The limits
are fixed beforehand, so that nobody can choose them by what comes out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    Noise = Mapping[str, float]

STEAL_SHARE = 0.02  # of all cores' time; a dedicated host has none
# Two processes that take turns in slices share what is stolen: pairs with 2 to 8 % of it differ by
# as much as pairs with none (1.7 and 1.9 %, 53 and 367 pairs; docs/gate.md).
SHARED_STEAL_SHARE = 0.08
FOREIGN_SHARE = 0.05  # likewise; a desktop that is left alone stays below
QUOTA_SHARE = 0.02  # of its periods
SLOWER_PROBE = 1.3  # hashing after over before; single readings vary by a tenth
SLOWER_CLOCK = 0.9  # MHz after over before
MAJOR_FAULTS_PER_S = 20.0  # reading the model itself is over by then
SLEEP_S = 0.1
# What is so many times over a level stays over, whatever disturbed it.
MOST_SLOWED = 4.0
CLOCK_STEP_S = 0.5
NAMES = (  # of the noise that `reasons` looks at
    "wall_s",
    "foreign_s",
    "steal_s",
    "heat_throttles",
    "mhz_before",
    "mhz_after",
    "hash_ns_before",
    "hash_ns_after",
    "major_faults",
    "suspended_s",
)


def reasons(noise: Noise, cores: float, steal_share: float = STEAL_SHARE) -> tuple[str, ...]:
    """Say what disturbed a process on a host with that many logical cores; () for nothing."""
    wall = noise.get("wall_s", 0.0)
    if wall <= 0:  # a record of before these were kept
        return ()
    of_cpu = wall * max(cores, 1.0)
    found = (
        _share(noise, "foreign_s", of_cpu, FOREIGN_SHARE, "other programs used {} of the CPU"),
        _share(noise, "steal_s", of_cpu, steal_share, "{} of the CPU was stolen by other guests"),
        _heat(noise),
        _slower(noise),
        _faults(noise, wall),
        _slept(noise),
    )
    return tuple(words for words in found if words)


def slowdown(noise: Noise, cores: float, share: float) -> float:
    """Return how many times slower the disturbance can have made `share` of a process's samples.

    1.0 where nothing disturbed it. The worst is assumed of samples that are alike: that the process
    stood still whenever another program ran, a guest stole a core or the machine slept, and that
    all of it fell upon that share of them: 1 / (1 - lost / share), `lost` being a part of the wall
    time. Heat and a busy disk leave no measure of what they cost: they count as `MOST_SLOWED`.
    """
    if not reasons(noise, cores):
        return 1.0
    if noise.get("heat_throttles", 0) > 0 or _faults(noise, noise["wall_s"]):
        return MOST_SLOWED
    stood = ("foreign_s", "steal_s", "suspended_s")
    lost = sum(max(noise.get(name, 0.0), 0.0) for name in stood) / noise["wall_s"]
    left = max(1 - lost / share, 1 / MOST_SLOWED)
    slower = max(
        _rise(noise, "mhz_after", "mhz_before"), _rise(noise, "hash_ns_before", "hash_ns_after")
    )
    return min(slower / left, MOST_SLOWED)


def has_reasons(
    noise: Mapping[str, NDArray[np.float64]], cores: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Say of many processes at once whether `reasons` would name one; `noise` has all NAMES."""
    wall = np.where(noise["wall_s"] > 0, noise["wall_s"], np.inf)
    of_cpu = wall * np.maximum(cores, 1.0)
    before, after = noise["hash_ns_before"], noise["hash_ns_after"]
    found: NDArray[np.bool_] = (
        (noise["foreign_s"] / of_cpu > FOREIGN_SHARE)
        | (noise["steal_s"] / of_cpu > STEAL_SHARE)
        | (noise["heat_throttles"] > 0)
        | (noise["mhz_after"] < SLOWER_CLOCK * noise["mhz_before"])
        | ((before != 0) & (after > SLOWER_PROBE * before))
        | (noise["major_faults"] / wall > MAJOR_FAULTS_PER_S)
        | (noise["suspended_s"] > SLEEP_S)
    )
    return found & (noise["wall_s"] > 0)


def remarks(noise: Noise) -> tuple[str, ...]:
    """Say what happened that leaves the samples valid: a quota is the container's own nature."""
    found, step = [], noise.get("clock_step_s", 0.0)
    if abs(step) >= CLOCK_STEP_S:
        found.append(f"the clock was set by {step:+.1f} s: dates may be off, durations are not")
    words = "its CPU quota was used up in {} of all periods: valid for such a container only"
    found.append(_share(noise, "quota_stops", noise.get("quota_periods") or 1, QUOTA_SHARE, words))
    return tuple(words for words in found if words)


def _rise(noise: Noise, low: str, high: str) -> float:
    if not noise.get(low) or not noise.get(high):
        return 1.0
    return max(noise[high] / noise[low], 1.0)


def _share(noise: Noise, name: str, whole: float, limit: float, words: str) -> str:
    share = noise.get(name, 0.0) / whole
    return words.format(f"{share:.1%}") if share > limit else ""


def _heat(noise: Noise) -> str:
    if noise.get("heat_throttles", 0) > 0:
        return "the CPU slowed down for its temperature"
    before, after = noise.get("mhz_before", 0.0), noise.get("mhz_after", 0.0)
    if after < SLOWER_CLOCK * before:
        return f"the clock fell from {before:,.0f} to {after:,.0f} MHz"
    return ""


def _slower(noise: Noise) -> str:
    before, after = noise.get("hash_ns_before", 0.0), noise.get("hash_ns_after", 0.0)
    if before and after > SLOWER_PROBE * before:
        return f"a fixed piece of work took {after / before:.2f} times as long after as before"
    return ""


def _faults(noise: Noise, wall: float) -> str:
    rate = noise.get("major_faults", 0.0) / wall
    return f"{rate:.0f} pages a second came from the disk" if rate > MAJOR_FAULTS_PER_S else ""


def _slept(noise: Noise) -> str:
    asleep = noise.get("suspended_s", 0.0)
    return f"the machine slept for {asleep:.1f} s" if asleep > SLEEP_S else ""
