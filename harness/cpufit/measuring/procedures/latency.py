"""One request at a time: latency, or TTFT and TPOT."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cpufit.measuring.procedures.base import Procedure, requests, timed

if TYPE_CHECKING:
    from cpufit.measuring.bench import Bench
    from cpufit.measuring.probe import Measured


class Latency(Procedure):
    """Times requests one by one."""

    sliced = True

    def measure(self, bench: Bench) -> Measured:
        """Time them until they are known well enough."""
        return timed(requests(bench, "latency", "ttft", "tpot"), bench)


PROCEDURE = Latency()
