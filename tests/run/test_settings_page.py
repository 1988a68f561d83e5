"""docs/settings.md says what the code says."""

from __future__ import annotations

from scripts.docs import SETTINGS, settings_page


def test_the_page_is_up_to_date() -> None:
    assert SETTINGS.read_text(encoding="utf-8") == settings_page(), "run `make docs`"
