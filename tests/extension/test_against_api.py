"""The client against the real api: the two share nothing but HTTP, so a difference would show here."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

import sublet
from sublet_hub.domain import accounts
from tests.fixtures.api_platform import ApiPlatform, api_platform
from tests.fixtures.books import limit


def test_quota_in_a_running_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    with api_platform() as platform:
        limit(platform.books, gpu_seconds=(36000, "week"), gpus=2, lease_seconds=3600)
        lease = platform.lease("alice", accounts.group("lab"), ago_ms=60_000)
        monkeypatch.setenv("SUBLET_API_URL", f"{platform.url}/services/sublet/api")
        monkeypatch.setenv("JUPYTERHUB_API_TOKEN", "alice-token")
        monkeypatch.setenv("SUBLET_LEASE_ID", lease.id)
        quota = sublet.quota()
        assert quota.lease is not None
        assert quota.lease.id == lease.id
        assert quota.lease.simulated
        assert 3600 - 70 <= quota.lease.seconds_left <= 3600 - 59
        assert quota.account is not None
        assert quota.account.name == "group:lab"
        assert {each.name for each in quota.accounts} == {"user:alice", "group:lab"}
        assert "the longest that a lease may last" in str(quota)


@pytest.fixture
def lease(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[ApiPlatform, str]]:
    """Alice in a server that a group pays for, begun a minute ago; and her own account, which has paid before."""
    with api_platform() as platform:
        limit(platform.books, gpu_seconds=(36000, "week"), gpus=2, lease_seconds=3600)
        earlier = platform.lease("alice", accounts.user("alice"), ago_ms=200_000)
        platform.end(earlier, lasted_ms=100_000)
        lease = platform.lease("alice", accounts.group("lab"), ago_ms=60_000)
        monkeypatch.setenv("SUBLET_API_URL", f"{platform.url}/services/sublet/api")
        monkeypatch.setenv("JUPYTERHUB_API_TOKEN", "alice-token")
        monkeypatch.setenv("SUBLET_LEASE_ID", lease.id)
        yield platform, lease.id


def test_the_lease_itself(lease: tuple[ApiPlatform, str]) -> None:
    read = sublet.lease()
    assert read.id == lease[1]
    assert (read.account, read.state, read.deadline_reason) == ("group:lab", "active", "limit")
    assert 59 <= read.gpu_seconds <= 90
    assert read.price_per_hour > 0
    assert "the longest that a lease may last" in str(read)


def test_usage_of_this_month(lease: tuple[ApiPlatform, str]) -> None:
    usage = sublet.usage()
    assert {each.name for each in usage.accounts} == {"user:alice", "group:lab"}
    assert usage.accounts[0].name == "group:lab"
    own = usage.account("user:alice")
    assert own is not None
    assert own.days[0].date.day == 1
    # The lease of 100 s may have begun before the month did.
    if own.days[-1].date.day > 1:
        assert (own.gpu_seconds, sum(day.gpu_seconds for day in own.days)) == (100, 100)
        assert own.cost > 0


def test_stop_at_a_time_and_keep_after_all(lease: tuple[ApiPlatform, str]) -> None:
    before = sublet.lease()
    at = datetime.now(UTC).replace(microsecond=0) + timedelta(minutes=20)
    stopping = sublet.stop(at)
    assert (stopping.deadline_at, stopping.deadline_reason) == (at, "user")
    assert "as you have asked" in str(stopping)
    kept = sublet.keep()
    assert (kept.deadline_at, kept.deadline_reason) == (before.deadline_at, "limit")


def test_what_can_not_be_kept_or_stopped_later(lease: tuple[ApiPlatform, str]) -> None:
    with pytest.raises(sublet.Refused) as kept:
        sublet.keep()
    assert kept.value.status == 409
    with pytest.raises(sublet.Refused) as stopped:
        sublet.stop(datetime.now(UTC) + timedelta(days=30))
    assert stopped.value.status in {409, 422}


def test_stop_soon(lease: tuple[ApiPlatform, str]) -> None:
    stopping = sublet.stop()
    assert stopping.seconds_left <= 10
    assert sublet.lease().deadline_reason == "user"
    assert sublet.stop().seconds_left <= 10


def test_another_users_lease(lease: tuple[ApiPlatform, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUPYTERHUB_API_TOKEN", "bob-token")
    for ask in (sublet.lease, sublet.stop, sublet.keep):
        with pytest.raises(sublet.Refused) as caught:
            ask()
        assert caught.value.status == 404
