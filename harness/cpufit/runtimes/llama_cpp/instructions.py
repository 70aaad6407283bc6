"""Whether llama.cpp was compiled for this CPU: what it says of itself, against the CPU's flags.

Its kernels are chosen when it is compiled. Built for another machine, or without `-march=native`,
it computes the same, several times slower; built for a newer CPU, it dies at the first kernel.
"""

from __future__ import annotations

import re
import subprocess
import sys

from cpufit.runtimes.llama_cpp import parts

# As Linux names an instruction set: as ggml does (`ggml_backend_cpu_get_features`). AMX is not
# among them: GCC compiles its kernels wrongly, so they are left out on purpose.
_NAMES = {
    "avx": "AVX",
    "f16c": "F16C",
    "fma": "FMA",
    "avx2": "AVX2",
    "avx_vnni": "AVX_VNNI",
    "avx512f": "AVX512",
    "avx512_vnni": "AVX512_VNNI",
    "avx512_bf16": "AVX512_BF16",
    "asimd": "NEON",
    "asimddp": "DOTPROD",
    "i8mm": "MATMUL_INT8",
    "sve": "SVE",
}
_SAY = "import llama_cpp; print(llama_cpp.llama_print_system_info().decode())"
_TIMEOUT_S = 60.0


def fault(flags: frozenset[str]) -> tuple[str, str]:
    """Return what the installed build lacks of the CPU's `flags`, and what to type; '' if nothing.

    It is asked in a process of its own, which a build for another CPU may end.
    """
    command = [sys.executable, "-P", "-c", _SAY]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    if ended.returncode:
        last = (ended.stderr.strip().splitlines() or [f"ended with {ended.returncode}"])[-1]
        return f"cannot be loaded: {last}", _again()
    if missing := lacking(ended.stdout, flags):
        return f"built without {', '.join(missing)}, which this CPU has", _again()
    return "", ""


def _again() -> str:
    ours = "rm -r .venv/llama.cpp; scripts/build-llama --sight"
    return ours if parts.made_by_make() else parts.AGAIN


def lacking(system_info: str, flags: frozenset[str]) -> list[str]:
    """Return ggml's names of the CPU's instruction sets that `system_info` does not list.

    >>> lacking("CPU : AVX = 1 | F16C = 1 |", frozenset({"avx", "avx2"}))
    ['AVX2']
    """
    built = {name for name, value in re.findall(r"(\w+) = (\d+)", system_info) if value != "0"}
    return [name for flag, name in _NAMES.items() if flag in flags and name not in built]
