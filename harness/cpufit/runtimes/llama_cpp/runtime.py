"""llama.cpp on the CPU: which session an artifact asks for. Nothing here turns ids into text."""

from __future__ import annotations

import time
from importlib.metadata import version
from typing import TYPE_CHECKING

import llama_cpp as lib

from cpufit.runtimes.llama_cpp import library, parts
from cpufit.runtimes.llama_cpp.decoder import LlamaSession
from cpufit.runtimes.llama_cpp.one_pass import LlamaEncoder
from cpufit.runtimes.tokens import has_sense

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from cpufit.runtimes.base import LoadOptions
    from cpufit.schema import Artifact


class LlamaRuntime:
    """llama.cpp on the CPU."""

    clock: Callable[[], int] = staticmethod(time.perf_counter_ns)

    def versions(self) -> Mapping[str, str]:
        """Return the package's version and, where it tells, the library's."""
        found = {"llama-cpp-python": version("llama-cpp-python")}
        if hasattr(lib, "llama_version"):  # older ones do not tell
            found["llama.cpp"] = lib.llama_version().decode()
        return found

    def load(self, artifact: Artifact, options: LoadOptions) -> LlamaSession | LlamaEncoder:
        """Load a GGUF file; one with inputs of its own is an encoder.

        Raises DataError with llama.cpp's reason where it refuses the file, UnavailableError where
        it would need libmtmd, UnsupportedError where the model's context is too short,
        RuntimeError where the context cannot be set up.
        """
        library.begin()
        if has_sense(artifact):
            parts.check_sight()
            from cpufit.runtimes.llama_cpp.sight import LlamaSightSession  # loads libmtmd

            return LlamaSightSession(artifact, options)
        kind = LlamaEncoder if artifact.inputs else LlamaSession
        return kind(artifact, options)


RUNTIME = LlamaRuntime()
