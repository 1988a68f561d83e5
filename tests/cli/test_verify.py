"""`sublet audit verify`: that it finds what was changed behind the platform's back, wherever that was done."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from sublet_hub.cli import exits
from sublet_hub.clock import SystemClock
from sublet_hub.domain import accounts
from sublet_hub.domain.admission import LeaseRequest
from sublet_hub.domain.allowances import AllowanceRequest, CallCounts, Post
from sublet_hub.domain.amounts import Amount, Micros
from sublet_hub.domain.flavors import Tier
from sublet_hub.domain.lease import EndReason
from sublet_hub.settings import Settings
from sublet_hub.storage import accepting, allowing, leasing, metering
from sublet_hub.storage.anchors import Anchors
from sublet_hub.wiring import open_books
from tests.cli.conftest import Run, tamper

RECORDS_OF_A_LEASE = 3  # granted, started, ended


@pytest.fixture
def used(beside: Settings) -> Settings:
    """A platform on which a lease began and ended, a model is called and a licence was accepted, its audit chain
    noted outside the database."""
    with open_books(beside) as books:
        wanted = LeaseRequest(
            user="alice", account=accounts.user("alice"), flavor="simulated-gpu-1x", tier=Tier.GUARANTEED
        )
        lease = leasing.request(books, wanted, actor="service:sublet-spawner")
        now_ms = SystemClock().now_ms()
        metering.start(books, lease.id, now_ms)
        metering.end(books, lease.id, now_ms, now_ms + 1000, EndReason.USER)
        some = Amount(money=Micros(10), tokens=1000)
        request = AllowanceRequest("alice", accounts.user("alice"), some, some, 60_000)
        allowance = allowing.allow(books, request).allowance
        allowing.post(books, allowance.id, Post(1, (CallCounts("tiny-llama", 1, 100, 10),)))
        accepting.accept(books, accounts.user("alice"), "llama-3.2", "1", actor="user:alice")
        Anchors(beside.anchors_file).note(books)
    return beside


def test_a_whole_chain(used: Settings, run: Run) -> None:
    ran = run("audit", "verify")
    assert ran.code == exits.OK
    assert ran.out.startswith("Whole: 5 audit records (against 1 notes outside the database)")
    assert run("audit", "verify", "--json").json == {
        "whole": True, "records": 1 + RECORDS_OF_A_LEASE + 1, "anchors": 1, "accounts": 1, "faults": [],
    }  # fmt: skip


def _cut_off_the_tail(settings: Settings) -> None:
    tamper(settings, "DELETE FROM audit_records WHERE number = 5")
    mark = "(SELECT mac FROM audit_records WHERE number = 4)"
    tamper(settings, f"UPDATE chain_heads SET number = 4, mark = {mark} WHERE kind = 'audit'")


def _change_an_anchor(settings: Settings) -> None:
    number, mac, at_ms = json.loads(settings.anchors_file.read_text())
    settings.anchors_file.write_text(
        json.dumps([number, "0" + mac[1:] if mac[0] != "0" else "1" + mac[1:], at_ms]) + "\n"
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda s: tamper(s, "UPDATE audit_records SET reason = 'x' WHERE number = 2"),
            "audit: record 2 was changed",
        ),
        (lambda s: tamper(s, "DELETE FROM audit_records WHERE number = 2"), "audit: record 2 is missing"),
        (lambda s: tamper(s, "DELETE FROM audit_records WHERE number = 5"), "missing at the end"),
        (_cut_off_the_tail, "missing at the end"),
        (_change_an_anchor, "not the one that was noted"),
        (
            lambda s: tamper(s, "UPDATE ledger_entries SET gpu_time = 1 WHERE number = 1"),
            "user:alice: entry 1 was changed",
        ),
        (lambda s: tamper(s, "UPDATE use_totals SET gpu_time = gpu_time + 1"), "the balance"),
        (lambda s: tamper(s, "UPDATE model_use SET output_tokens = 0"), "the use of model tiny-llama"),
        (lambda s: tamper(s, "DELETE FROM model_use"), "the use of model tiny-llama"),
        (lambda s: tamper(s, "UPDATE ledger_entries SET model = 'cheap' WHERE model IS NOT NULL"), "was changed"),
        (lambda s: tamper(s, "UPDATE ledger_entries SET reason = '' WHERE model IS NOT NULL"), "was changed"),
        (lambda s: tamper(s, "UPDATE allowances SET held_tokens = held_tokens + 1"), "user:alice: allowance"),
        (lambda s: tamper(s, "DELETE FROM allowances"), "user:alice: allowance"),
        (lambda s: tamper(s, "UPDATE acceptances SET subject_name = 'bob'"), "audit: the acceptance of audit record"),
        (lambda s: tamper(s, "DELETE FROM acceptances"), "audit: the acceptance of audit record"),
    ],
)
def test_what_was_changed_is_found(used: Settings, run: Run, change: Callable[[Settings], None], said: str) -> None:
    change(used)
    ran = run("audit", "verify")
    assert ran.code == exits.PROBLEM
    assert said in ran.out
    as_json = run("audit", "verify", "--json")
    assert as_json.code == exits.PROBLEM
    assert not as_json.json["whole"]
    assert any(said in fault for fault in as_json.json["faults"])


def test_it_needs_the_platform_beside_it(run: Run) -> None:
    assert run("audit", "verify").code == exits.UNREACHABLE


def test_no_database(used: Settings, run: Run) -> None:
    (used.data / "sublet.sqlite").unlink()
    ran = run("audit", "verify")
    assert ran.code == exits.UNREACHABLE
    assert "sublet up" in ran.err


@pytest.mark.parametrize("content", [b"", b"this is no database at all" * 100])
def test_a_database_that_is_none(used: Settings, run: Run, content: bytes) -> None:
    for file in used.data.glob("sublet.sqlite*"):
        file.unlink()
    (used.data / "sublet.sqlite").write_bytes(content)
    ran = run("audit", "verify")
    assert ran.code in {exits.UNREACHABLE, exits.PROBLEM}
    assert ran.err.startswith("Error: ")


def test_an_anchor_file_that_is_none(used: Settings, run: Run, tmp_path: Path) -> None:
    used.anchors_file.write_text("nonsense\n")
    assert run("audit", "verify").code == exits.PROBLEM
