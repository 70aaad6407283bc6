"""Property tests draw the same examples everywhere, and no test depends on the machine's speed."""

from hypothesis import settings

settings.register_profile("cpufit", derandomize=True, deadline=None)
settings.load_profile("cpufit")
