"""Property tests draw the same examples everywhere, and no test depends on the machine's speed."""

import os

from hypothesis import settings

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # as `run` does for every measuring process

settings.register_profile("cpufit", derandomize=True, deadline=None)
settings.load_profile("cpufit")
