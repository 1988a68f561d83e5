"""Renders our own pieces of HTML: those that go into JupyterHub's pages as values."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from sublet_hub.hub import wording

TEMPLATES = Path(__file__).parent / "templates"


def render(name: str, **values: object) -> str:
    """One of our templates with these values; everything is escaped. A missing value is an error."""
    return _environment().get_template(name).render(**values)


@lru_cache(maxsize=1)
def _environment() -> Environment:
    environment = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined)
    environment.filters |= {"time": time_element, "lower_first": wording.lower_first}
    return environment


def time_element(moment: datetime) -> Markup:
    """A moment, in UTC for everybody and, where JavaScript runs, in the reader's time zone."""
    stamp = moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return Markup('<time datetime="{}" data-local>{}</time>').format(stamp, wording.utc_text(moment))
