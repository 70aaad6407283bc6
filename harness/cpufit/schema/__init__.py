"""The words of cpufit as frozen dataclasses; standard library only.

Everything that crosses a border (TOML file, process pipe, Parquet) is one of these. Units stand in
names: `_ns`, `_ms`, `_s`, `_bytes`, `_j`, `_w`.

Schema history
    1  first version
    2  adds a record's `parent` and an outcome's `numerics`; files of version 1 read as empty there
    3  adds a cell's `size`; older files read as 0 there
    4  a row is one process of a cell: adds `repeat`, `settled` and `spent_s`, an outcome's
       `counters` and a host's; older files read as cells of one process
    5  adds a cell's `inputs`; older files read as '' there: what the file leaves open was made up,
       and a host's `microarchitecture` and `board`
    6  adds a record's `typical`; older files read as empty there: each cell knows its own spread
"""

from cpufit.schema.asked import (
    Budget,
    Cell,
    Kind,
    Level,
    Levels,
    Order,
    Scenario,
    Select,
    Settings,
    Suite,
    Tier,
    TierModel,
)
from cpufit.schema.models import WEIGHTS, Family, Model, RealFile, Task, Weights
from cpufit.schema.results import (
    SCHEMA_VERSION,
    Artifact,
    Host,
    Input,
    Memory,
    Numerics,
    Outcome,
    Record,
    Series,
    Status,
    Verdict,
)
from cpufit.schema.wire import Check, Job, Make, Measure, Message

__all__ = [
    "SCHEMA_VERSION",
    "WEIGHTS",
    "Artifact",
    "Budget",
    "Cell",
    "Check",
    "Family",
    "Host",
    "Input",
    "Job",
    "Kind",
    "Level",
    "Levels",
    "Make",
    "Measure",
    "Memory",
    "Message",
    "Model",
    "Numerics",
    "Order",
    "Outcome",
    "RealFile",
    "Record",
    "Scenario",
    "Select",
    "Series",
    "Settings",
    "Status",
    "Suite",
    "Task",
    "Tier",
    "TierModel",
    "Verdict",
    "Weights",
]
