"""The warning that a limit could not be judged."""

from __future__ import annotations

import pytest


class UndecidedWarning(pytest.PytestWarning):
    """A limit of a test lies inside the interval of what was measured."""


UndecidedWarning.__module__ = "cpufit.pytest_plugin"  # as users name it in `-W error::...`
