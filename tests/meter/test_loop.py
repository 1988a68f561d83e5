"""The meter's rounds over a cluster that is scripted: what is told, and how often."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from sublet_hub import storage
from sublet_hub.cluster.base import Claims, LeaseUnknownError, Observed, Stray
from sublet_hub.domain import accounts
from sublet_hub.domain.admission import LeaseRequest
from sublet_hub.domain.allowances import AllowanceRequest
from sublet_hub.domain.amounts import ZERO, Amount, Micros
from sublet_hub.domain.errors import CallsQuotaExceeded
from sublet_hub.domain.flavors import Tier
from sublet_hub.meter import loop, metrics
from sublet_hub.meter.loop import Meter
from sublet_hub.storage import allowing, leasing
from sublet_hub.storage.anchors import Anchors
from sublet_hub.storage.store import Store, Transaction
from tests.fixtures import books as made_books
from tests.fixtures.books import TurnedClock
from tests.fixtures.factories import NOW

ID = "0123456789abcdef0123456789abcdef"
TOLD = "was started past the hub"


class Scripted:
    """A cluster in which one thing runs, that was started past the hub, and one stray."""

    def __init__(self, flavor: str = "gpu-1x", *trouble: str | None) -> None:
        """`trouble`: of the first rounds; none in all later ones."""
        self.claims = Claims("alice", "user:alice", flavor, "surplus")
        self.troubles = list(trouble)

    def observe(self) -> Sequence[Observed]:
        return [Observed(ID, NOW, None, None, None, None, alive_at_ms=NOW, claims=self.claims)]

    def strays(self) -> Sequence[Stray]:
        return [Stray("miner", 2)]

    def trouble(self) -> str | None:
        return self.troubles.pop(0) if self.troubles else None

    def arm(self, lease_id: str, deadline_ms: int, reason: str) -> None:
        raise LeaseUnknownError(lease_id)

    def stop(self, lease_id: str) -> None: ...

    def forget(self, lease_id: str) -> None: ...

    def withdraw(self, lease_id: str) -> bool:
        return False


@pytest.fixture
def store() -> Store:
    return storage.open_store(storage.MEMORY_URL)


def rounds(store: Store, folder: Path, flavor: str, number: int = 6) -> None:
    meter = Meter(made_books.books(store), Scripted(flavor), Anchors(folder / "anchors"), 1)
    for _ in range(number):
        meter.round()


class ManyRun(Scripted):
    """A cluster in which servers run that are leases of one group."""

    def __init__(self, leases: Sequence[str]) -> None:
        super().__init__()
        self.leases = leases
        self.alive_at_ms = NOW

    def observe(self) -> Sequence[Observed]:
        return [Observed(each, NOW, None, None, None, None, alive_at_ms=self.alive_at_ms) for each in self.leases]

    def strays(self) -> Sequence[Stray]:
        return []

    def arm(self, lease_id: str, deadline_ms: int, reason: str) -> None: ...


def test_the_posts_of_an_account_take_one_transaction(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "TOGETHER", 3)
    clock = made_books.TurnedClock()
    of = made_books.books(store, clock)
    lab = accounts.group("lab")
    made_books.limit(of, gpus=1, leases=1)
    made_books.limit(of, lab, gpu_seconds=(3600, "day"), gpus=4, leases=4)
    asked = [LeaseRequest(user, lab, "gpu-1x", Tier.GUARANTEED, groups=("lab",)) for user in "abcd"]
    cluster = ManyRun([leasing.request(of, each, actor="test").id for each in asked])
    meter = Meter(of, cluster, Anchors(tmp_path / "anchors"), 1)
    meter.round()
    cluster.alive_at_ms = clock.turn(60_000)
    transactions = 0
    began = store.transaction

    def counted(*, write: bool) -> AbstractContextManager[Transaction]:
        nonlocal transactions
        transactions += write
        return began(write=write)

    monkeypatch.setattr(store, "transaction", counted)
    meter.round()
    with began(write=False) as tx:
        assert [lease.posted_until_ms for lease in tx.open_leases()] == [cluster.alive_at_ms] * 4
    assert transactions == 1 + 2, "the beat, and two for the posts of four leases"


def past_the_hub() -> float:
    return float(metrics.FAULTS.labels("past_the_hub")._value.get())


def test_what_was_started_past_the_hub_is_told_of_once(
    store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = past_the_hub()
    rounds(store, tmp_path, "gpu-1x")
    assert past_the_hub() == before + 1
    assert caplog.text.count(TOLD) == 1
    with store.transaction(write=False) as tx:
        assert [lease.id for lease in tx.open_leases()] == [ID]


def test_what_can_not_be_adopted_is_told_of_once_all_the_same(
    store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = past_the_hub()
    rounds(store, tmp_path, "no-such-flavor")
    assert past_the_hub() == before + 1
    assert caplog.text.count(TOLD) == 1
    assert caplog.text.count("could not adopt") == 1


def test_an_action_that_keeps_failing_is_tried_again_and_logged_once(
    store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = metrics.ACTIONS.labels("arm", "failed")._value.get()
    caplog.set_level(logging.INFO)
    rounds(store, tmp_path, "gpu-1x")
    assert metrics.ACTIONS.labels("arm", "failed")._value.get() == before + 4  # after one to adopt and one to start
    assert caplog.text.count("could not arm") == 1


def test_a_stray_is_told_of_once_and_counted(store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rounds(store, tmp_path, "gpu-1x")
    assert caplog.text.count("miner holds 2 GPUs and is no lease") == 1
    assert metrics.STRAY_GPUS._value.get() == 2


def test_trouble_is_told_when_it_begins_and_when_it_is_over(
    store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    cluster = Scripted("gpu-1x", None, "no news", "no news", "no news")
    meter = Meter(made_books.books(store), cluster, Anchors(tmp_path / "anchors"), 1)
    for _ in range(6):
        meter.round()
    assert caplog.text.count("no leases are granted for now: no news") == 1
    assert caplog.text.count("leases are granted again") == 1


def test_what_a_dead_gateway_holds_is_given_back(store: Store, tmp_path: Path) -> None:
    books, some = made_books.books(store), Amount(money=Micros(100), tokens=1000)
    made_books.limit(books, model_tokens=(1000, "day"))
    asked = AllowanceRequest("alice", accounts.user("alice"), some, some, 60_000)
    allowing.allow(books, asked)
    counted = metrics.ALLOWANCES_EXPIRED._value.get()
    with pytest.raises(CallsQuotaExceeded):
        allowing.allow(books, asked)
    assert isinstance(books.clock, TurnedClock)
    books.clock.turn(60_000)
    Meter(books, Scripted("none"), Anchors(tmp_path / "anchors"), 1).round()
    assert metrics.ALLOWANCES_EXPIRED._value.get() - counted == 1
    with store.transaction(write=False) as tx:
        assert tx.held_by_allowances(accounts.user("alice")) == ZERO
