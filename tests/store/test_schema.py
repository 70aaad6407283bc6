"""The columns of a results file, written down once more by hand: they must not change unseen."""

from __future__ import annotations

from dataclasses import fields

import pyarrow as pa

from cpufit import store
from cpufit.schema import Cell
from cpufit.store import rows

TEXT_MAP = pa.map_(pa.string(), pa.string())
NUMBER_MAP = pa.map_(pa.string(), pa.float64())
SERIES = pa.struct(
    {
        "name": pa.string(),
        "unit": pa.string(),
        "size": pa.int64(),
        "items": pa.int64(),
        "values": pa.list_(pa.float64()),
    }
)
MEMORY = pa.struct(
    {
        "baseline_bytes": pa.int64(),
        "peak_bytes": pa.int64(),
        "anon_bytes": pa.int64(),
        "file_bytes": pa.int64(),
        "kv_cache_bytes": pa.int64(),
        "method": pa.string(),
    }
)
NUMERICS = pa.struct({"cosine": pa.float64(), "what": pa.string()})
INPUT = pa.struct(
    {
        "name": pa.string(),
        "dtype": pa.string(),
        "shape": pa.list_(pa.string()),
        "fill": pa.string(),
    }
)
ARTIFACT = pa.struct(
    {
        "key": pa.string(),
        "path": pa.string(),
        "size_bytes": pa.int64(),
        "parameters": pa.int64(),
        "format": pa.string(),
        "recipe": pa.string(),
        "inputs": pa.list_(INPUT),
        "kv_bytes_per_token": pa.int64(),
        "notes": pa.list_(pa.string()),
    }
)
HOST = pa.struct(
    {
        "fingerprint": pa.string(),
        "cpu_model": pa.string(),
        "cpu_vendor": pa.string(),
        "arch": pa.string(),
        "flags": pa.list_(pa.string()),
        "microcode": pa.string(),
        "sockets": pa.int64(),
        "physical_cores": pa.int64(),
        "logical_cores": pa.int64(),
        "usable_cores": pa.float64(),
        "max_mhz": pa.float64(),
        "l1d_bytes": pa.int64(),
        "l2_bytes": pa.int64(),
        "l3_bytes": pa.int64(),
        "ram_bytes": pa.int64(),
        "memory_limit_bytes": pa.int64(),
        "swap_bytes": pa.int64(),
        "os": pa.string(),
        "kernel": pa.string(),
        "governor": pa.string(),
        "turbo": pa.string(),
        "hypervisor": pa.string(),
        "python": pa.string(),
        "packages": TEXT_MAP,
        "counters": pa.string(),
        "microarchitecture": pa.string(),
        "board": pa.string(),
    }
)
COLUMNS = {
    "schema_version": pa.int64(),
    "run_id": pa.string(),
    "recorded_at": pa.string(),
    "model": pa.string(),
    "variant": pa.string(),
    "size": pa.int64(),
    "inputs": pa.string(),
    "weights": pa.string(),
    "precision": pa.string(),
    "runtime": pa.string(),
    "scenario": pa.string(),
    "threads": pa.int64(),
    "batch": pa.int64(),
    "repeat": pa.int64(),
    "settled": pa.string(),
    "spent_s": pa.float64(),
    "budget": pa.string(),
    "family": pa.string(),
    "title": pa.string(),
    "parent": pa.string(),
    "parameters": pa.int64(),
    "macs": pa.int64(),
    "status": pa.string(),
    "reason": pa.string(),
    "remedy": pa.string(),
    "stop": pa.string(),
    "valid": pa.bool_(),
    "load_ns": pa.int64(),
    "first_ns": pa.int64(),
    "series": pa.list_(SERIES),
    "memory": MEMORY,
    "numerics": NUMERICS,
    "artifact": ARTIFACT,
    "settings": TEXT_MAP,
    "versions": TEXT_MAP,
    "noise": NUMBER_MAP,
    "counters": NUMBER_MAP,
    "notes": pa.list_(pa.string()),
    "typical": NUMBER_MAP,
    "host": HOST,
}


def test_the_columns_of_the_dataclasses_are_those_of_version_6() -> None:
    assert {field.name: field.type for field in rows.SCHEMA} == COLUMNS
    assert len(rows.SCHEMA) == len(COLUMNS)


def test_the_names_of_a_cells_key_are_all_its_fields() -> None:
    assert sorted(store.CELL) == sorted(field.name for field in fields(Cell))
