"""A fake api on a real port, and spawners as the hub would make them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from jupyterhub.spawner import Spawner
from traitlets.config import Config

from sublet_hub.hub.lease_mixin import LeaseMixin
from sublet_hub.hub.local_spawner import LocalLeaseSpawner
from tests.hub.fake_api import TOKEN, FakeApi, serve

DEADLINE_SECONDS = 20.0


def wait_for(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for: {what}"
        time.sleep(0.02)


@pytest.fixture
def api() -> Iterator[FakeApi]:
    with serve(FakeApi()) as api:
        yield api


@dataclass
class User:
    """What a spawner asks of its user."""

    name: str = "alice"
    groups: list[SimpleNamespace] = field(default_factory=list)
    id: int = 1

    @property
    def escaped_name(self) -> str:
        return self.name.replace(" ", "%20")

    @property
    def url(self) -> str:
        return f"/user/{self.escaped_name}/"


HUB = SimpleNamespace(base_url="/hub/", api_url="http://127.0.0.1:8081/hub/api", public_host="")


class PlainSpawner(Spawner):
    """A spawner that starts nothing, and can be told to fail."""

    failure: BaseException | None = None
    started = stopped = False

    async def start(self) -> tuple[str, int]:
        if self.failure:
            raise self.failure
        self.started = True
        self.env_at_start = self.get_env()
        return ("127.0.0.1", 1234)

    async def stop(self, now: bool = False) -> None:
        self.stopped = True

    async def poll(self) -> int | None:
        return None if self.started and not self.stopped else 0


class LeasedSpawner(LeaseMixin, PlainSpawner):
    """The mixin over a spawner that is no process of this machine."""


def make_spawner(
    cls: type[Any], api_url: str, *, user: str = "alice", groups: tuple[str, ...] = (), **traits: Any
) -> Any:
    """A spawner as the hub would make it, with quick tries of the api."""
    config = Config()
    config.LeaseMixin.sublet_api_url = api_url
    config.LeaseMixin.sublet_api_token = TOKEN
    config.LeaseMixin.sublet_contact = "ops@example.org"
    return cls(
        config=config,
        user=User(user, [SimpleNamespace(name=group) for group in groups]),
        hub=HUB,
        orm_spawner=SimpleNamespace(name=traits.pop("name", ""), user_options={}, server=None),
        api_token="servers-own-token",
        **traits,
    )


@pytest.fixture
def spawner(api: FakeApi) -> Any:
    return make_spawner(LeasedSpawner, api.url)


@pytest.fixture
def local(api: FakeApi, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Makes one-machine spawners over one data folder; what they have started is ended after the test."""
    made: list[Any] = []

    def make(cls: type[Any] = LocalLeaseSpawner, **traits: Any) -> Any:
        made.append(make_spawner(cls, api.url, **traits))
        return made[-1]

    yield make
    for each in made:
        if each.proc is not None and each.proc.poll() is None:
            each.proc.terminate()
            each.proc.wait(DEADLINE_SECONDS)
