"""What a test asks for: keywords in, one model's cells out."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from cpufit import config
from cpufit.artifacts import asis
from cpufit.catalog import model_of_file, pick
from cpufit.errors import UsageError, unknown
from cpufit.given import told
from cpufit.plan.cells import cells
from cpufit.plan.scenarios import load_scenarios
from cpufit.plan.selection import MOST_THREADS
from cpufit.precisions import PRECISIONS
from cpufit.probes.host import default_threads
from cpufit.pytest_plugin import limits
from cpufit.runtimes import engine_of, reading, suffixes
from cpufit.schema import WEIGHTS, Select

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cpufit.artifacts.base import About
    from cpufit.precisions import Precision
    from cpufit.pytest_plugin.limits import Limit
    from cpufit.schema import Cell, Levels, Model, Scenario, Weights

_KEYWORDS = ("model", "runtime", "precision", "weights", "threads", "prompt_tokens", "input")
_PROMPT_TOKENS = 128  # as tiers count TTFT
_MEMORY = "memory"
_ONLY_MEMORY = {"rss_bytes", "size_bytes"}  # for which one process is enough


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A test's words, checked as far as that needs no file."""

    model: str  # a name of the catalog, or the path of a file
    runtime: str
    precision: str  # '' for what a file holds, or for what is usual
    weights: str
    threads: int
    prompt_tokens: int
    inputs: str  # of a file: what is given of them (`given.told`)
    limits: tuple[Limit, ...]

    @property
    def is_file(self) -> bool:
        """Whether the model is a file of the user's own."""
        return _is_file(self.model)


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What it takes to answer a test."""

    model: Model
    cells: tuple[Cell, ...]
    scenarios: dict[str, Scenario]
    levels: Levels
    stamp: tuple[int, int]  # of the file, so that a model that is built anew is measured anew

    @property
    def label(self) -> str:
        """How messages call it: 'mistral-7b/int4/llama.cpp'."""
        return "/".join(self.cells[0].id.split("/")[:3])


def parse(words: Sequence[object], keywords: Mapping[str, object], root: Path) -> Asked:
    """Read what a marker or a call says; a relative path is of `root`.

    Raises UsageError for what does not exist or makes no sense.
    """
    given = dict(keywords)
    if words:
        if len(words) > 1 or "model" in given:
            raise UsageError("cpufit takes one model", "name all else: runtime=..., max_rss=...")
        given["model"] = words[0]
    for name in given:
        if name not in (*_KEYWORDS, *limits.LIMITS):
            raise unknown("keyword of cpufit", name, (*_KEYWORDS, *limits.LIMITS))
    own = {name: value for name, value in given.items() if name in _KEYWORDS}
    model = _model(own, root)
    asked = Asked(
        model=model,
        runtime=_word(own, "runtime", "") or _usual_runtime(model),
        precision=_word(own, "precision", ""),
        weights=_word(own, "weights", ""),
        threads=_count(own, "threads", default_threads(), MOST_THREADS),
        prompt_tokens=_count(own, "prompt_tokens", 0, 1_000_000),
        inputs=_inputs(own.get("input", ()), model),
        limits=limits.parse({name: given[name] for name in given if name in limits.LIMITS}),
    )
    _check(asked)
    return asked


def wanted(asked: Asked, name: str = "", *, everything: bool = False) -> Wanted:
    """Return the cells that tell what is asked for; `everything` measures beyond the limits.

    `name` is what to call a file's model, where another one has its name. Raises DataError where
    the file does not exist, UsageError where the limits are not for such a model.
    """
    settings, scenarios = config.load_settings(), load_scenarios()
    model, about = _named(asked, name)
    limits.check_task(asked.limits, model.task, asked.model)
    scenario = _scenario(asked, model, scenarios)
    quantities = {limit.quantity for limit in asked.limits}
    names = [scenario.name] if everything or quantities - _ONLY_MEMORY else []
    names += [_MEMORY] if everything or quantities & _ONLY_MEMORY else []
    own = {scenario.name: scenario, _MEMORY: scenarios[_MEMORY]}
    block = Select(
        models=(model.card,),
        runtimes=(asked.runtime,),
        precisions=(_precision(asked, model, about),),
        scenarios=tuple(names),
        weights=(cast("Weights", asked.weights or model.weights[0]),),
    )
    return Wanted(
        model=model,
        cells=cells((block,), {model.card: model}, own, (asked.threads,)),
        scenarios=own,
        levels=limits.levels(asked.limits, settings.levels),
        stamp=_stamp(model),
    )


def _model(own: dict[str, Any], root: Path) -> str:
    model = own.get("model")
    if not isinstance(model, (str, os.PathLike)) or not os.fspath(model):
        raise UsageError("cpufit needs a model", "give a path or a name of `cpufit list models`")
    text = str(os.fspath(model))
    if _is_file(text):
        return str(root / text)
    if isinstance(model, os.PathLike) or os.sep in text:
        endings = ", ".join(suffixes())
        raise UsageError(f"no runtime reads {text}", f"give a file ending in {endings}")
    return pick(text).name


def _inputs(value: object, model: str) -> str:
    words = (value,) if isinstance(value, str) else value
    if not isinstance(words, (tuple, list)) or not all(isinstance(word, str) for word in words):
        raise UsageError(f"input={value!r} says nothing", "write input=['sr=16000']")
    if words and not _is_file(model):
        raise UsageError(f"{model} is no file: its inputs are known", "leave input away")
    return told(words)


def _is_file(model: str) -> bool:
    return bool(reading(Path(model).suffix))


def _word(own: dict[str, Any], name: str, otherwise: str) -> str:
    value = own.get(name, otherwise)
    if not isinstance(value, str):
        raise UsageError(f"{name}={value!r} is no {name}", "give its name")
    return value


def _count(own: dict[str, Any], name: str, otherwise: int, most: int) -> int:
    value = own.get(name, otherwise)
    if name in own and (isinstance(value, bool) or not isinstance(value, int)):
        raise UsageError(f"{name}={value!r} is no count", f"give 1 to {most}")
    if name in own and not 1 <= value <= most:
        raise UsageError(f"{name}={value} is out of range", f"give 1 to {most}")
    return int(value)


def _usual_runtime(model: str) -> str:
    """Return the runtime most people take; of a file's the first that is installed."""
    if _is_file(model):
        able = reading(Path(model).suffix)
        return next((name for name in able if engine_of(name).version), able[0])
    return "llama.cpp" if pick(model).family == "llm" else "onnxruntime"


def _check(asked: Asked) -> None:
    engine_of(asked.runtime)
    for kind, word, known in (
        ("precision", asked.precision, PRECISIONS),
        ("weights", asked.weights, WEIGHTS),
    ):
        if word and word not in known:
            raise unknown(kind, word, known)
    if asked.is_file:
        able = reading(Path(asked.model).suffix)
        if asked.runtime not in able:
            name = Path(asked.model).name
            raise UsageError(f"{asked.runtime} does not read {name}", f"give {' or '.join(able)}")
    else:
        limits.check_task(asked.limits, pick(asked.model).task, asked.model)


def _named(asked: Asked, name: str) -> tuple[Model, About | None]:
    """Return the model, and of a file what it says of itself."""
    if not asked.is_file:
        return pick(asked.model), None
    model = model_of_file(Path(asked.model))
    model = replace(model, name=name or model.name, inputs=asked.inputs)
    if asked.inputs:
        asis.check_given(model)
    about = asis.about(Path(asked.model), model)
    return asis.known(model, about), about


def _precision(asked: Asked, model: Model, about: About | None) -> Precision:
    if about is None:
        usual = "int4" if model.family == "llm" else "int8"
        return cast("Precision", asked.precision or usual)
    own = about.precision
    if asked.precision not in ("", own):
        problem = f"{Path(model.file).name} holds {own}, not {asked.precision}"
        raise UsageError(problem, "leave the precision away")
    return own


def _scenario(asked: Asked, model: Model, scenarios: Mapping[str, Scenario]) -> Scenario:
    """Return what is timed: one prompt length, whose name it carries, and tokens after it."""
    if model.task == "infer":
        if asked.prompt_tokens:
            raise UsageError(f"{asked.model} takes no prompt", "leave prompt_tokens away")
        return scenarios["latency"]
    base = scenarios["caption" if model.task == "describe" else "latency"]
    usual = base.prompt_tokens[0] if model.task == "describe" else _PROMPT_TOKENS
    tokens = asked.prompt_tokens or usual
    return replace(base, name=f"{base.name}@{tokens}", prompt_tokens=(tokens,))


def _stamp(model: Model) -> tuple[int, int]:
    if not model.file:
        return (0, 0)
    found = Path(model.file).stat()
    return (found.st_mtime_ns, found.st_size)
