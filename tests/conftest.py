"""What holds for every test: which are slow, and that nothing is skipped where nothing may be."""

from __future__ import annotations

import os
from collections.abc import Generator

import pytest

REQUIRE_EXTERNAL = os.environ.get("SUBLET_REQUIRE_EXTERNAL") == "1"
"""Set in CI: there, what a test needs from outside must be there, so that a skip is a failure."""

SLOW_KINDS = ("browser", "chaos", "platform")
MAY_SKIP = ("gpu", "clients")
"""No CI machine of ours has a GPU; and some clients of models are too large to be installed for two tests."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whatever starts the whole platform or a browser is slow: `make test` leaves it to `make test-slow`."""
    for item in items:
        if any(item.get_closest_marker(kind) for kind in SLOW_KINDS):
            item.add_marker(pytest.mark.slow)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    may_skip = any(item.get_closest_marker(kind) for kind in MAY_SKIP)
    if report.skipped and not may_skip and not hasattr(report, "wasxfail"):
        _refuse_skip(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    if report.skipped:
        _refuse_skip(report)
    return report


def _refuse_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    if REQUIRE_EXTERNAL:
        why = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"SUBLET_REQUIRE_EXTERNAL=1, but this was skipped: {why}"
