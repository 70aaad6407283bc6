"""Records to findings: what each cell measured, and which cases are not interactive. Pure."""

from cpufit.analysis.choice import newest, response
from cpufit.analysis.flags import Flag, flags, inexact
from cpufit.analysis.metric import Metric
from cpufit.analysis.rows import FEWEST_QUIET, Row, host_names, rows

__all__ = [
    "FEWEST_QUIET",
    "Flag",
    "Metric",
    "Row",
    "flags",
    "host_names",
    "inexact",
    "newest",
    "response",
    "rows",
]
