"""`pytest tests/report --regenerate-golden` rewrites the golden page: read its diff."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from cpufit.config import load_settings
from tests.report import drawn
from tests.report.samples import realistic

if TYPE_CHECKING:
    from cpufit.schema import Settings


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--regenerate-golden", action="store_true", help="rewrite the golden report page"
    )


@pytest.fixture(scope="session")
def settings() -> Settings:
    return load_settings()


@pytest.fixture(scope="session")
def realistic_page(settings: Settings) -> str:
    return drawn.page(realistic(), settings)
