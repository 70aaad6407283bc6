"""Findings as people read them: a terminal page, and one HTML file that needs nothing else."""

import logging

# Where it finds no home for its settings, it says so before anything else is said.
logging.getLogger("matplotlib").setLevel(logging.ERROR)
