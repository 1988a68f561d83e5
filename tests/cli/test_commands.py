"""The commands against the real api: what they print, what they change, how they end."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sublet_hub.cli import exits
from sublet_hub.domain import accounts
from sublet_hub.domain.allowances import AllowanceRequest, CallCounts, Post
from sublet_hub.domain.amounts import Amount, Micros
from sublet_hub.storage import allowing
from tests.cli.conftest import Ran, Run
from tests.fixtures.api_platform import ApiPlatform

HOUR_MS = 3_600_000


def limits_of(ran: Ran) -> dict[str, int]:
    assert ran.code == exits.OK, ran.err
    return {each["what"]: each["limit"] for each in ran.json["limits"]}


def test_quota_get_tells_what_is_left(as_admin: Run) -> None:
    ran = as_admin("quota", "get", "bob")
    assert ran.code == exits.OK
    assert "Quota of user:bob, from the default" in ran.out
    assert "GPU time per week" in ran.out
    assert "10 GPU-h" in ran.out
    assert "$50.00" in ran.out


def test_quota_get_json_is_the_apis(as_admin: Run, platform: ApiPlatform) -> None:
    ran = as_admin("quota", "get", "user", "bob", "--json")
    assert ran.code == exits.OK
    assert ran.json["subject"] == "user:bob"
    assert {"what", "limit", "window", "flavor", "used", "held", "left", "resets_at"} == set(ran.json["limits"][0])


def test_quota_set_changes_only_what_is_said(as_admin: Run) -> None:
    ran = as_admin("quota", "set", "user", "bob", "--limit", "gpu_seconds=20h/week", "--limit", "gpus=2", "--json")
    assert limits_of(ran) == {"gpu_seconds": 72000, "gpus": 2, "leases": 8, "money_microunits": 50_000_000}
    ran = as_admin("quota", "set", "user:bob", "--limit", "leases=none", "--json")
    assert limits_of(ran) == {"gpu_seconds": 72000, "gpus": 2, "money_microunits": 50_000_000}
    assert as_admin("quota", "delete", "bob").code == exits.OK
    assert not as_admin("quota", "get", "bob", "--json").json["own"]


def test_quota_set_replace(as_admin: Run) -> None:
    ran = as_admin(
        "quota", "set", "group", "lab", "--replace", "--limit", "gpus=1", "--time-zone", "Europe/Berlin", "--json"
    )
    assert limits_of(ran) == {"gpus": 1}
    assert ran.json["time_zone"] == "Europe/Berlin"
    as_admin("quota", "delete", "group:lab")


def test_a_quota_that_was_printed_can_be_set_again(as_admin: Run, tmp_path: Path) -> None:
    printed = as_admin("quota", "get", "default", "--json")
    file = tmp_path / "quota.json"
    file.write_text(printed.out)
    assert limits_of(as_admin("quota", "set", "bob", "--file", str(file), "--json")) == limits_of(printed)
    assert limits_of(as_admin("quota", "set", "bob", "--file", "-", "--json", text=printed.out)) == limits_of(printed)
    as_admin("quota", "delete", "bob")


def test_quota_set_tells_which_leases_moved_and_why_is_kept(as_admin: Run, platform: ApiPlatform) -> None:
    lease = platform.lease("alice", ago_ms=60_000)
    ran = as_admin("quota", "set", "alice", "--limit", "gpu_seconds=10min/week", "--why", "too much")
    assert "Leases whose deadline moved" in ran.out
    assert lease.id in ran.out
    newest = as_admin("audit", "show", "--action", "quota.set", "-n", "1", "--json").json[0]
    assert newest["reason"] == "too much"
    as_admin("quota", "delete", "alice")
    platform.end(lease, 60_000)


def test_quota_list(as_admin: Run) -> None:
    as_admin("quota", "set", "carol", "--replace", "--limit", "gpus=1")
    ran = as_admin("quota", "list")
    assert ran.code == exits.OK
    assert ran.out.index("default") < ran.out.index("user:carol")
    as_admin("quota", "delete", "carol")


@pytest.mark.parametrize(
    "words",
    [
        ("quota", "set", "bob"),
        ("quota", "set", "bob", "--limit", "gpus=-1"),
        ("quota", "set", "bob", "--limit", "cpus=1"),
        ("quota", "set", "bob", "--limit", "gpu_seconds=10h"),
        ("quota", "set", "bob", "--limit", "gpus=1", "--limit", "gpus=2"),
        ("quota", "set", "bob", "--limit", "gpus@nothing=1"),
        ("quota", "set", "bob", "--limit", "gpu_seconds=10h/fortnight"),
        ("quota", "set", "bob", "--time-zone", "Mars/Olympus"),
        ("quota", "get", "user"),
        ("quota", "get", "a", "b", "c"),
        ("quota", "get"),
        ("leases", "list", "--state", "asleep"),
        ("leases", "list", "--since", "yesterday"),
        ("usage", "default"),
        ("usage", "bob", "--days", "0"),
        ("nonsense",),
    ],
)
def test_a_wrong_command_line_is_2_and_says_why(as_admin: Run, words: tuple[str, ...]) -> None:
    ran = as_admin(*words)
    assert ran.code == exits.USAGE
    assert "Error: " in ran.err
    assert "Traceback" not in ran.err


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"limits": 3}', '{"limits": [{"what": "gpus", "limit": 1.5}]}', "x" * 300_000]
)
def test_a_file_that_is_no_quota(as_admin: Run, text: str) -> None:
    ran = as_admin("quota", "set", "bob", "--file", "-", text=text)
    assert ran.code == exits.USAGE
    assert ran.err.startswith("Error: ")


def test_who_is_unknown_to_the_hub(as_admin: Run) -> None:
    ran = as_admin("quota", "set", "nobody", "--limit", "gpus=1")
    assert (ran.code, ran.err) == (exits.PROBLEM, "Error: The hub has no user 'nobody'.\n")


def test_a_name_is_quoted_in_the_path(as_admin: Run) -> None:
    assert as_admin("quota", "get", "user", "../default").code == exits.PROBLEM


def test_not_allowed_is_4(as_admin: Run) -> None:
    assert as_admin("quota", "set", "alice", "--limit", "gpus=9", token="alice-token").code == exits.NOT_ALLOWED
    assert as_admin("quota", "list", token="alice-token").code == exits.NOT_ALLOWED
    unknown = as_admin("leases", token="no-such-token")
    assert unknown.code == exits.NOT_ALLOWED
    assert "/hub/token" in unknown.err


def test_unreachable_is_3(run: Run) -> None:
    ran = run("leases", "--url", "http://127.0.0.1:1", token="x")
    assert ran.code == exits.UNREACHABLE
    assert "sublet up" in ran.err


def test_no_platform_is_3(run: Run) -> None:
    assert run("leases").code == exits.UNREACHABLE


def test_leases_are_all_pages_and_the_apis_json(as_admin: Run, platform: ApiPlatform) -> None:
    for n in range(205):
        platform.end(platform.lease("bob", flavor="cpu", ago_ms=(n + 1) * 60_000), 1000)
    ran = as_admin("leases", "--json")
    assert ran.code == exits.OK
    found = [each["id"] for each in ran.json]
    assert len(found) == len(set(found)) >= 205
    assert {"id", "user", "account", "flavor", "gpu_seconds", "simulated"} <= set(ran.json[0])


def test_leases_for_people(as_admin: Run, platform: ApiPlatform) -> None:
    lease = platform.lease("carol", flavor="gpu-1x", ago_ms=HOUR_MS + 60_000)
    ran = as_admin("leases", "--user", "carol")
    assert ran.code == exits.OK
    assert lease.id in ran.out
    assert "gpu-1x guaranteed (simulated)" in ran.out
    assert "1 h 1 min" in ran.out
    assert "$2.03" in ran.out
    assert as_admin("leases", "list", "--state", "open", "--user", "carol", "--json").json[0]["id"] == lease.id
    assert as_admin("leases", "--user", "carol", "list", "--json").json[0]["id"] == lease.id
    platform.end(lease, HOUR_MS)
    assert as_admin("leases", "--user", "carol", "--state", "open").out == "There are no such leases.\n"


def test_stop_with_notice_then_at_once(as_admin: Run, platform: ApiPlatform) -> None:
    lease = platform.lease("alice", accounts.group("lab"), server_name="stopped", ago_ms=60_000)
    ran = as_admin("leases", "stop", lease.id, "--why", "maintenance")
    assert ran.code == exits.OK
    assert "ends in 4 min" in ran.out or "ends in 5 min" in ran.out
    ran = as_admin("leases", "stop", lease.id, "--immediately", "--json")
    assert ran.json["state"] == "ending"
    platform.end(lease, 60_000)
    again = as_admin("leases", "stop", lease.id)
    assert again.code == exits.PROBLEM
    assert as_admin("leases", "stop", "0" * 32).code == exits.PROBLEM
    assert as_admin("leases", "stop", "no such lease").code == exits.USAGE


def test_usage(as_admin: Run, platform: ApiPlatform) -> None:
    lease = platform.lease("bob", flavor="gpu-2x", server_name="usage", ago_ms=3 * HOUR_MS)
    platform.end(lease, 2 * HOUR_MS)
    ran = as_admin("usage", "bob")
    assert ran.code == exits.OK
    assert "4 GPU-h" in ran.out
    assert "$8.00" in ran.out
    as_json = as_admin("usage", "user:bob", "--days", "7", "--json").json
    assert len(as_json["days"]) == 7
    assert sum(day["gpu_seconds"] for day in as_json["days"]) == as_json["gpu_seconds"] == 4 * 3600
    assert as_admin("usage", token="alice-token").code == exits.OK
    assert as_admin("usage", "bob", token="alice-token").code == exits.NOT_ALLOWED
    assert as_admin("usage", "group", "lab", token="alice-token").code == exits.OK


def test_usage_by_model(as_admin: Run, platform: ApiPlatform) -> None:
    carol, some = accounts.user("carol"), Amount(money=Micros(10_000), tokens=50_000)
    allowance = allowing.allow(platform.books, AllowanceRequest("carol", carol, some, some, 60_000)).allowance
    uses = (CallCounts("tiny-llama", 3, 12_000, 8_000), CallCounts("gone-1", 1, 5, 0))
    allowing.post(platform.books, allowance.id, Post(1, uses, release=True))
    ran = as_admin("usage", "carol")
    assert ran.code == exits.OK
    (row,) = [line for line in ran.out.splitlines() if "tiny-llama" in line]
    assert [word for word in row.split() if word[0] in "0123456789<$"] == ["3", "12,000", "8,000", "<", "$0.01"]
    (gone, tiny) = as_admin("usage", "carol", "--json").json["models"]
    assert (gone["model"], tiny["output_tokens"], tiny["cost_microunits"]) == ("gone-1", 8_000, 8_800)


def test_audit_show(as_admin: Run) -> None:
    as_admin("quota", "set", "bob", "--limit", "gpus=3", "--why", "a trial")
    ran = as_admin("audit", "show", "--subject", "user:bob", "-n", "1")
    assert ran.code == exits.OK
    assert "a trial" in ran.out
    assert "service:sublet-admin" in ran.out
    records = as_admin("audit", "show", "-n", "250", "--json").json
    assert [each["number"] for each in records] == sorted((each["number"] for each in records), reverse=True)
    as_admin("quota", "delete", "bob")


def test_json_is_never_mixed_with_words(as_admin: Run) -> None:
    for words in (("quota", "list"), ("leases",), ("audit", "show")):
        assert isinstance(json.loads(as_admin(*words, "--json").out), list)
