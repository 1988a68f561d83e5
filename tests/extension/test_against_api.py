"""The client against the real api: the two share nothing but HTTP, so a difference would show here."""

from __future__ import annotations

import pytest

import sublet
from sublet_hub.domain import accounts
from tests.fixtures.api_platform import api_platform
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
