"""What is done about a Dask cluster that computes nothing, with a scheduler and an api that say what a test wants."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from dask_gateway_server.backends.db_base import JobStatus

from sublet_hub.cluster import records
from sublet_hub.dask import idling
from sublet_hub.dask.idling import Idling


@dataclass
class Answer:
    said: object

    async def json(self) -> object:
        return self.said


@dataclass
class FakeBackend:
    """Stands for the backend, the api and the scheduler."""

    idle: object = field(default_factory=lambda: {"idle": True})
    ends_in_seconds: float | None = 60
    armed_ms: int = 0
    asked: list[tuple[str, str]] = field(default_factory=list)
    log: Any = field(default_factory=lambda: logging.getLogger("test"))
    sublet_settings: Any = field(default_factory=lambda: SimpleNamespace(dask_idle_seconds=1800))

    @property
    def asking(self) -> FakeBackend:
        return self

    @property
    def session(self) -> FakeBackend:
        return self

    @property
    def processes(self) -> Any:
        return SimpleNamespace(workers=self)

    @property
    def retiring(self) -> FakeBackend:
        return self

    def expect(self, workers: Any) -> None:
        self.asked += [("expect", each.name) for each in workers]

    async def end_idle(self, lease: str, _why: str) -> datetime | None:
        self.asked.append(("end", lease))
        return None if self.ends_in_seconds is None else datetime.now(UTC) + timedelta(seconds=self.ends_in_seconds)

    async def keep(self, lease: str, _why: str) -> bool:
        self.asked.append(("keep", lease))
        return True

    async def get(self, *_: object, **__: object) -> Answer:
        return Answer(self.idle)

    async def stop_cluster(self, name: str) -> None:
        self.asked.append(("stop", name))

    def look(self, _lease: str) -> Any:
        return SimpleNamespace(armed_deadline_ms=self.armed_ms)


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> FakeBackend:
    monkeypatch.setattr(idling, "ASK_SECONDS", 0.0)
    return FakeBackend(armed_ms=records.wall_ms() + 10**9)


def a_cluster() -> Any:
    running = {"status": JobStatus.RUNNING, "target": JobStatus.RUNNING}
    workers = {name: SimpleNamespace(name=name, state={"lease": f"lease-{name}"}, **running) for name in ("a", "b")}
    return SimpleNamespace(name="c", workers=workers, api_address="http://127.0.0.1:1", token="t")


async def test_an_idle_cluster_is_warned_of_once_and_ends_when_its_time_has_come(backend: FakeBackend) -> None:
    cluster, watched = a_cluster(), Idling(backend)  # type: ignore[arg-type]  # a fake
    await watched.told(cluster)
    await watched.told(cluster)
    assert backend.asked == [("end", "lease-a"), ("end", "lease-b")]
    await watched.look(cluster)
    assert watched.is_ending(cluster)
    watched._ending["c"].at_ms = records.wall_ms()
    await watched.look(cluster)
    assert backend.asked[2:] == [("expect", "a"), ("expect", "b"), ("stop", "c")]
    assert not watched.is_ending(cluster)


@pytest.mark.parametrize("said", [{"idle": False}, {}, [], {"idle": "yes"}])
async def test_work_takes_it_back_and_who_does_not_say_is_taken_for_busy(backend: FakeBackend, said: object) -> None:
    cluster, watched = a_cluster(), Idling(backend)  # type: ignore[arg-type]  # a fake
    await watched.told(cluster)
    backend.idle = said
    await watched.look(cluster)
    assert backend.asked[2:] == [("keep", "lease-a"), ("keep", "lease-b")]
    assert not watched.is_ending(cluster)


async def test_who_keeps_one_of_the_workers_keeps_the_cluster_for_a_while(backend: FakeBackend) -> None:
    cluster, watched = a_cluster(), Idling(backend)  # type: ignore[arg-type]  # a fake
    await watched.told(cluster)
    await watched.look(cluster)  # before the end is armed, the deadline is far off as well
    assert watched.is_ending(cluster)
    backend.armed_ms = watched._ending["c"].at_ms
    await watched.look(cluster)
    assert watched.is_ending(cluster)
    backend.armed_ms += 10**6
    await watched.look(cluster)
    assert backend.asked[2:] == [("keep", "lease-a"), ("keep", "lease-b")]
    await watched.told(cluster)
    assert not watched.is_ending(cluster)


async def test_nothing_is_planned_where_the_leases_end_sooner_or_the_api_is_away(backend: FakeBackend) -> None:
    cluster, watched = a_cluster(), Idling(backend)  # type: ignore[arg-type]  # a fake
    backend.ends_in_seconds = None
    await watched.told(cluster)
    assert not watched.is_ending(cluster)
