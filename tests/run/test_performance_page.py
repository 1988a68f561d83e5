"""docs/performance.md says what the last benches measured, and tells about each of them."""

from __future__ import annotations

from tests.bench import page
from tests.bench.__main__ import BENCHES


def test_the_page_shows_the_figures_that_are_kept() -> None:
    text = page.PAGE.read_text(encoding="utf-8")
    assert page.with_figures(text, page.read()) == text, "run `python -m tests.bench.page`"


def test_every_bench_has_figures_and_held() -> None:
    kept = page.read()
    assert kept.keys() == BENCHES.keys()
    assert all(record.result.holds for record in kept.values())
