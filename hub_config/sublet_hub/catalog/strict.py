"""What all tables of `sublet.toml` have in common."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class StrictTable(BaseModel):
    """A table that can't be changed, and that knows all of its keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")
