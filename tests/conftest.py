"""Property tests draw the same examples everywhere, and no test depends on the machine's speed."""

import os
import tempfile

from hypothesis import settings

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # as `run` does for every measuring process

# What `cpufit run` remembers of own files goes with these tests, as long as they run.
_STATE = tempfile.TemporaryDirectory(prefix="cpufit-state-")
os.environ["XDG_STATE_HOME"] = _STATE.name

settings.register_profile("cpufit", derandomize=True, deadline=None)
settings.load_profile("cpufit")
