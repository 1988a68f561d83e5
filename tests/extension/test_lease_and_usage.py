"""`sublet.lease()` and `sublet.usage()`: what they ask, what they give, and how they show it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

import sublet
from tests.extension.conftest import LEASE, Platform, quota_document, usage_document
from tests.extension.html_tags import Tags


def test_lease_asks_for_this_lease(platform: Platform) -> None:
    platform.answer(LEASE)
    assert sublet.lease().id == "lease-1"
    assert platform.asked == [("/services/sublet/api/leases/lease-1", "token the-token")]


def test_what_a_lease_gives_to_programs(platform: Platform) -> None:
    platform.answer(LEASE)
    lease = sublet.lease()
    assert (lease.flavor, lease.tier, lease.account, lease.state) == ("h100-2x", "surplus", "group:lab", "active")
    assert (lease.gpus, lease.gpu_seconds, lease.cost) == (Decimal(2), 5400, Decimal("1.2"))
    assert lease.price_per_hour == Decimal("1.6")
    assert lease.started_at == datetime(2026, 11, 23, 7, 0, 5, tzinfo=UTC)
    assert (lease.deadline_reason, lease.deadline_limit) == ("quota", "gpu_seconds")
    assert lease.seconds_left == int((lease.deadline_at - lease.read_at).total_seconds())
    assert lease.document == LEASE


def test_a_lease_as_text(platform: Platform) -> None:
    platform.answer(LEASE)
    lines = {line[:9].strip(): line[9:].strip() for line in str(sublet.lease()).splitlines()}
    assert lines["Lease"] == "h100-2x (surplus, simulated)"
    assert lines["Account"] == "group:lab"
    assert lines["Until"].endswith("when GPU time of group:lab is used up")
    assert lines["Started"].endswith(" ago)")
    assert lines["GPU time"] == "1.5 GPU-h"
    assert lines["Price"] == "$1.60 per hour for 2 GPUs; $1.20 so far"


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        ("user", "as you have asked"),
        ("idle", "because it is idle"),
        ("reclaim", "when the owner takes the GPUs back"),
        ("limit", "the longest that a lease may last"),
        ("admin", "ended by an admin"),
        ("a-new-one", "a-new-one"),
    ],
)
def test_every_reason_of_a_deadline_has_words(platform: Platform, reason: str, told: str) -> None:
    platform.answer({**LEASE, "deadline_reason": reason, "deadline_limit": None})
    assert f"), {told}" in str(sublet.lease())


def test_a_lease_that_has_ended(platform: Platform) -> None:
    ended = {**LEASE, "state": "ended", "ended_at": "2026-11-23T08:30:05.000Z", "end_reason": "reclaim"}
    platform.answer(ended)
    lease = sublet.lease()
    assert lease.seconds_left == 0
    assert "the owner took the GPUs back" in str(lease)
    assert "lasted 1 h 30 min" in str(lease)
    assert "Until" not in str(lease)


def test_a_lease_that_has_not_started(platform: Platform) -> None:
    platform.answer({**LEASE, "state": "granted", "started_at": None})
    assert "not yet" in str(sublet.lease())


def test_a_lease_as_html_is_whole_and_escaped(platform: Platform) -> None:
    platform.answer({**LEASE, "flavor": "<script>", "account": "group:<b>&"})
    html = sublet.lease()._repr_html_()
    tags = Tags.of(html)
    assert tags.seen == {"div", "table", "tr", "th", "td", "span"}
    assert "<script> (surplus, simulated)" in tags.text
    assert "group:<b>&" in tags.text
    assert "#" not in html
    assert "rgb" not in html


@pytest.mark.parametrize("name", ["ended_at", "gpus_milli", "deadline_reason", "price_microunits_per_gpu_hour"])
def test_an_answer_that_is_no_lease(platform: Platform, name: str) -> None:
    platform.answer({key: value for key, value in LEASE.items() if key != name})
    with pytest.raises(sublet.Unavailable, match=f"not understood.*{name}"):
        sublet.lease()


def month_of(platform: Platform, today: date, asked_days: int, used: dict[int, tuple[int, int]]) -> None:
    """Have both of alice's accounts answer for so many days, and for the month up to today."""
    platform.answers["/quota"] = quota_document()
    for account in ("user:alice", "group:lab"):
        path = f"/usage?account={account.replace(':', '%3A')}&days="
        of = used if account == "group:lab" else {}
        for days in {asked_days, today.day}:
            platform.answers[f"{path}{days}"] = usage_document(account, today, days, of)


def test_usage_is_of_this_month_on_each_account(platform: Platform) -> None:
    today = datetime.now(UTC).date()
    month_of(platform, today, today.day, {today.day: (5400, 1_200_000)})
    usage = sublet.usage()
    assert [each.name for each in usage.accounts] == ["group:lab", "user:alice"]
    paying = usage.account("group:lab")
    assert paying is not None
    assert (paying.gpu_seconds, paying.cost, paying.time_zone) == (5400, Decimal("1.2"), "Europe/Berlin")
    assert paying.days[0].date == today.replace(day=1)
    assert paying.days[-1] == sublet.Day(today, 5400, Decimal("1.2"))
    assert usage.account("group:other") is None
    assert len(platform.asked) == 3


@pytest.mark.parametrize("days_ahead", [-1, 1])
def test_the_month_is_the_accounts_own(platform: Platform, days_ahead: int) -> None:
    """Where it is another day in the account's time zone, the month there is asked for."""
    here = datetime.now(UTC).date()
    there = here + timedelta(days=days_ahead)
    month_of(platform, there, here.day, {})
    usage = sublet.usage()
    for account in usage.accounts:
        assert account.days[0].date == there.replace(day=1)
        assert account.days[-1].date == there


def test_usage_as_text_and_html(platform: Platform) -> None:
    today = datetime.now(UTC).date()
    month_of(platform, today, today.day, {today.day: (5400, 1_200_000)})
    usage = sublet.usage()
    title = f"Account group:lab in {today:%B %Y}: 1.5 GPU-h for $1.20"
    assert str(usage).splitlines()[0] == title
    assert [word for line in str(usage).splitlines()[1:3] for word in line.split()] == [
        *("Day", "GPU", "time", "Money"),
        *(f"{today:%a}", f"{today:%d}", "1.5", "GPU-h", "$1.20"),
    ]
    assert str(usage).endswith(f"Account user:alice in {today:%B %Y}: nothing used")
    html = usage._repr_html_()
    tags = Tags.of(html)
    assert title in tags.text
    assert html.count("<tr>") == 2
    assert "#" not in html


def test_an_account_of_an_odd_name_is_asked_for_and_shown_safely(platform: Platform) -> None:
    document = quota_document()
    document["accounts"] = [{"subject": "group:<i>&days=9", "own": True, "limits": [], "time_zone": "UTC"}]
    platform.answers["/quota"] = document
    today = datetime.now(UTC).date()
    answer = usage_document("group:<i>&days=9", today, today.day, {1: (60, 0)})
    platform.answers[f"/usage?account=group%3A%3Ci%3E%26days%3D9&days={today.day}"] = answer
    usage = sublet.usage()
    assert "group:<i>&days=9" in Tags.of(usage._repr_html_()).text


def test_without_an_account_usage_says_what_to_do(platform: Platform) -> None:
    platform.answers["/quota"] = {**quota_document(), "leases": [], "accounts": []}
    usage = sublet.usage()
    assert "Ask an admin" in str(usage)
    assert "Ask an admin" in usage._repr_html_()


@pytest.mark.parametrize("days", [[], None, [{"date": "soon", "gpu_seconds": 0, "cost_microunits": 0}]])
def test_an_answer_that_is_no_usage(platform: Platform, days: Any) -> None:
    platform.answer({**quota_document(), "days": days})
    with pytest.raises(sublet.Unavailable, match="not understood"):
        sublet.usage()


@pytest.mark.parametrize("ask", [sublet.lease, sublet.usage, sublet.stop, sublet.keep])
def test_outside_a_lease(platform: Platform, monkeypatch: pytest.MonkeyPatch, ask: Callable[[], object]) -> None:
    monkeypatch.delenv("SUBLET_LEASE_ID")
    with pytest.raises(sublet.NotInALease, match="SUBLET_LEASE_ID not set"):
        ask()
    assert platform.asked == []


def test_stop_and_keep_ask_for_this_lease(platform: Platform) -> None:
    platform.answer(LEASE)
    sublet.stop(datetime(2026, 11, 23, 19, 30, tzinfo=UTC))
    assert sublet.keep().id == "lease-1"
    assert platform.sent == [
        ("/leases/lease-1/stop", {"at": "2026-11-23T19:30:00.000Z"}),
        ("/leases/lease-1/keep", {}),
    ]


def test_stop_leaves_time_to_save(platform: Platform) -> None:
    platform.answer(LEASE)
    sublet.stop()
    ((path, body),) = platform.sent
    assert path == "/leases/lease-1/stop"
    assert timedelta() < datetime.fromisoformat(body["at"]) - datetime.now(UTC) <= timedelta(seconds=10)


@pytest.mark.parametrize(("seconds_left", "stops"), [(5, 1), (3600, 2)])
def test_stop_where_no_time_is_left_or_clocks_differ(platform: Platform, seconds_left: int, stops: int) -> None:
    """A lease that ends within ten seconds is let end; one that doesn't, and can't be planned for, ends at once."""
    deadline = datetime.now(UTC) + timedelta(seconds=seconds_left)
    lease = {**LEASE, "deadline_at": deadline.isoformat()}
    platform.refuse_once = (422, {"type": "https://sublet.dev/problems/invalid-request", "detail": "It is past."})
    platform.answer(lease)
    assert sublet.stop().deadline_at == deadline
    assert [path for path, _ in platform.sent] == ["/leases/lease-1/stop"] * stops
    assert platform.sent[-1][1] == ({} if stops == 2 else platform.sent[0][1])


def test_a_stop_at_a_moment_without_a_time_zone_is_in_this_computers(platform: Platform) -> None:
    platform.answer(LEASE)
    sublet.stop(datetime(2026, 11, 23, 19, 30))  # noqa: DTZ001 — that is the point
    ((_, body),) = platform.sent
    assert datetime.fromisoformat(body["at"]) == datetime(2026, 11, 23, 19, 30).astimezone()


def test_what_can_not_be_kept_is_refused_in_the_platforms_words(platform: Platform) -> None:
    sentence = "The quota of group:lab ends it; ask for more."
    platform.answer({"type": "https://sublet.dev/problems/not-kept", "detail": sentence}, 409)
    with pytest.raises(sublet.Refused, match="The quota of group:lab ends it") as caught:
        sublet.keep()
    assert caught.value.status == 409
