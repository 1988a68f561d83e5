"""docs/performance.md says what the last benches measured, and tells about each of them."""

from __future__ import annotations

from tests.bench import page
from tests.bench.__main__ import BENCHES

NOT_MEASURED = frozenset({"kube-spawn"})
"""Benches that are written, and wait for a cluster on which nothing else runs. Take one out when it has figures."""


def test_the_page_shows_the_figures_that_are_kept() -> None:
    text = page.PAGE.read_text(encoding="utf-8")
    assert page.with_figures(text, page.read()) == text, "run `python -m tests.bench.page`"


def test_every_bench_has_figures_and_held() -> None:
    kept = page.read()
    assert kept.keys() == BENCHES.keys() - NOT_MEASURED
    assert all(record.result.holds for record in kept.values())


def test_a_bench_without_figures_is_said_to_be_without() -> None:
    text = page.PAGE.read_text(encoding="utf-8")
    assert all(f"**`{name}` has not been measured yet.**" in text for name in NOT_MEASURED)
