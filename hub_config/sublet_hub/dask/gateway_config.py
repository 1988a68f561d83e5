"""Dask-Gateway's configuration. All of it is in sublet_hub.dask.configure, tested."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sublet_hub.dask.configure import configure
from sublet_hub.settings import load_settings

if TYPE_CHECKING:
    from traitlets.config import Config

    c: Config

configure(c, load_settings())  # noqa: F821 — Dask-Gateway defines it for this file
