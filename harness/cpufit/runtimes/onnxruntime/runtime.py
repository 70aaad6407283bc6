"""ONNX Runtime on the CPU: which session an artifact and the options ask for."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnxruntime as ort

from cpufit.runtimes.onnxruntime.axes import axis_names, has_operator
from cpufit.runtimes.onnxruntime.decoder import OnnxDecoderSession, OnnxSeeingSession
from cpufit.runtimes.onnxruntime.exported import OnnxExportedSession
from cpufit.runtimes.onnxruntime.one_pass import OnnxPassSession
from cpufit.runtimes.onnxruntime.streams import OnnxStreamsSession
from cpufit.runtimes.onnxruntime.writer import OnnxWriterSession
from cpufit.runtimes.tokens import has_sense

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cpufit.runtimes.base import LoadOptions, Session
    from cpufit.schema import Artifact


class OnnxRuntime:
    """The runtime `onnxruntime`."""

    clock = staticmethod(time.perf_counter_ns)

    def versions(self) -> Mapping[str, str]:
        """Return the versions of onnxruntime and numpy."""
        return {"onnxruntime": ort.__version__, "numpy": np.__version__}

    def load(self, artifact: Artifact, options: LoadOptions) -> Session:
        """Load an ONNX file, as a language model where the options say how long a text may get.

        Raises DataError in words where it is not one ONNX Runtime can run, UnsupportedError where
        it has not what the options ask for.
        """
        if options.context_tokens:
            return _language_session(artifact, options)
        if options.streams:
            return OnnxStreamsSession(artifact, options)
        return OnnxPassSession(artifact, options)


RUNTIME = OnnxRuntime()
_IN_PLACE = "GroupQueryAttention"


def _language_session(artifact: Artifact, options: LoadOptions) -> Session:
    """A writer looks at what it is told about in every layer; a decoder reads it like tokens.

    Where attention takes the past and leaves the present in the same place, so does the session.
    """
    path = Path(artifact.path)
    if any(name.startswith("cross.") for name in axis_names(path)):
        return OnnxWriterSession(artifact, options)
    if not has_operator(path, _IN_PLACE):
        return OnnxExportedSession(artifact, options)
    kind = OnnxSeeingSession if has_sense(artifact) else OnnxDecoderSession
    return kind(artifact, options)
