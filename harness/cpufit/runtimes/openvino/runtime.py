"""OpenVINO on the CPU: which session an artifact and the options ask for."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np

from cpufit.runtimes.openvino.decoder import OpenVinoDecoderSession, OpenVinoSeeingSession
from cpufit.runtimes.openvino.one_pass import OpenVinoPassSession
from cpufit.runtimes.openvino.opening import explained, new_core, openvino_version
from cpufit.runtimes.openvino.writer import OpenVinoWriterSession
from cpufit.runtimes.tokens import has_sense

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cpufit.runtimes.base import LoadOptions, Session
    from cpufit.schema import Artifact


class OpenVino:
    """The runtime `openvino`."""

    clock = staticmethod(time.perf_counter_ns)

    def versions(self) -> Mapping[str, str]:
        """Return the versions of openvino, with its build number, and numpy."""
        return {"openvino": openvino_version(), "numpy": np.__version__}

    def load(self, artifact: Artifact, options: LoadOptions) -> Session:
        """Load an OpenVINO IR or ONNX file; raise DataError in words where OpenVINO refuses it.

        With room for tokens it is a language model's; see `OpenVinoDecoderSession`.
        """
        if options.context_tokens:
            return _language_session(new_core(), artifact, options)
        return OpenVinoPassSession(new_core(), artifact, options)


RUNTIME = OpenVino()


def _language_session(core: Any, artifact: Artifact, options: LoadOptions) -> Session:
    """A writer looks at what it is told about in every layer; a decoder reads it like tokens."""
    with explained(artifact):
        inputs = core.read_model(artifact.path).inputs
    if any(name.startswith("cross.") for port in inputs for name in port.get_names()):
        return OpenVinoWriterSession(core, artifact, options)
    kind = OpenVinoSeeingSession if has_sense(artifact) else OpenVinoDecoderSession
    return kind(core, artifact, options)
