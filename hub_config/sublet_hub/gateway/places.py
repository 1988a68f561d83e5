"""Where models' servers run that we start: the port between what starts, shares and ends them (`model_servers`), and
what carries that out: this machine (`this_machine`), or pods (`in_pods`)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from sublet_hub.domain.models import Model, Start, Upstream

SCRIPTS: Mapping[Start, str] = {"transformers": "chat.py", "fasttext": "classify.py"}
"""Programs of ours that serve a model, in the users' Python."""
SCRIPTS_FOLDER = Path(__file__).with_name("servers")

Address = Path | str
"""A Unix socket, or where a server is by HTTP, as `http://10.0.0.7:8000`."""


class Running(Protocol):
    """A model's server that was started; it need not answer yet, nor any more."""

    @property
    def address(self) -> Address:
        """Where it listens; known from when it answers."""

    @property
    def is_alive(self) -> bool: ...

    @property
    def ends_at_ms(self) -> int | None:
        """When its lease ends it, by the wall clock, as was last looked. None: it is no lease."""

    async def answers(self) -> bool: ...

    async def look(self) -> None:
        """Once a second or so: find out when it ends. OSError where that can't be done just now."""

    async def end(self, why: str, *, shutdown: bool = False) -> None:
        """Give its lease back, where it has one, and end it; done when it is gone. `why` is a sentence for the audit
        record; `shutdown`: because we end."""

    def printed(self) -> str:
        """The last that it printed before it answered anybody."""


class Place(Protocol):
    """Somewhere that models' servers can be started."""

    @property
    def start_seconds(self) -> float:
        """How long one may take until it answers."""

    async def start(self, model: Model, upstream: Upstream, least_ms: int) -> Running:
        """Start one. NoRoomForModel where there is no lease to be had, or only one of less than `least_ms`; ModelAway
        where it can't be started."""

    async def tidy(self) -> None:
        """Every few seconds: end and clear away what gateways left behind that are gone."""
