"""One upstream, one api and one gateway process for a module; a user of its own for each test."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from sublet_hub.domain.accounts import DEFAULT
from sublet_hub.domain.quota import Quota
from sublet_hub.storage import quotas
from tests.fixtures.api_platform import ApiPlatform, api_platform
from tests.gateway.running import Gateway, Hub, catalogue, free_port, prepare, stopped_after
from tests.gateway.upstream import Upstream, upstream


@dataclass
class World:
    """All that a test talks to."""

    api: ApiPlatform
    gateway: Gateway
    upstream: Upstream
    hub: Hub
    data: Path
    made: list[Gateway] = field(default_factory=list)

    def user(self, name: str) -> str:
        """Make a user known to the hub; gives the token."""
        self.hub.groups = {**self.hub.groups, name: ()}
        return f"{name}-token"

    def another(self, **changes: object) -> Gateway:
        """One more gateway on the same folder."""
        settings = {**self.gateway.settings, **changes.pop("settings", {})}  # type: ignore[dict-item]
        gateway = Gateway(self.data, self.api.url, settings=settings, **changes)  # type: ignore[arg-type]
        self.made.append(gateway)
        return gateway.start()


SETTINGS = {"SUBLET_MODEL_SILENCE_SECONDS": "2", "SUBLET_MODEL_CALL_SECONDS": "20"}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    data = tmp_path_factory.mktemp("gateway")
    hub = Hub()
    with upstream() as server:
        models = catalogue(server.url, gone=(f"http://127.0.0.1:{free_port()}/v1",))
        with api_platform(hub, models) as api:
            quotas.set_quota(api.books, DEFAULT, Quota(()), actor="test", why="test")
            prepare(data, models)
            gateway = Gateway(data, api.url, settings=SETTINGS)
            world = World(api, gateway, server, hub, data)
            with stopped_after(gateway):
                gateway.start()
                yield world


@pytest.fixture
def world(shared: World) -> Iterator[World]:
    try:
        yield shared
    finally:
        with stopped_after(*shared.made):
            shared.made.clear()
