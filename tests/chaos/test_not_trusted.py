"""Promise 7: the server in a lease is hostile ground. Tried on the whole platform, with real servers.

Five users. vera is honest. pat patches the extension before her server starts, rex runs a server of his own instead
of it, bo stands between it and the platform and lies to it, flo forges its reports, floods the platform with all that
moves a deadline, steals, and at last stops her server with SIGSTOP. Then all of them come to their limit at once.
What is metered, when they end, and what they may do afterwards is the same for all.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest

from sublet_hub import storage
from sublet_hub.domain import accounts
from sublet_hub.domain.amounts import GPU_TIME_PER_GPU_SECOND
from sublet_hub.domain.keeping import MOST_STOPS
from sublet_hub.domain.ledger import EntryKind
from sublet_hub.storage.store import AuditFilter, Store
from sublet_hub.storage.verification import verify_account
from tests.chaos.hostile import Answer
from tests.chaos.hostile_scenes import EVERYBODY, NOTICE_SECONDS, SECRET, WAYS, Evidence
from tests.chaos.witness import Witness
from tests.fixtures.platform import Platform

FLAVORS = """\
[[pools]]
name = "simulated-gpu"
gpu_model = "Simulated GPU"
gpu_memory_gib = 16.0
simulated = true
devices = ["SIM-0", "SIM-1", "SIM-2", "SIM-3", "SIM-4"]

[[flavors]]
name = "one"
title = "1 x Simulated GPU"
pool = "simulated-gpu"
gpus = 1
cpus = 1
memory_gib = 2
prices = { guaranteed = 2000000 }
"""
REFUSALS = {401, 403, 404, 405, 409, 422}
SENT_TO_SIGN_IN = {302, 303}

pytestmark = [pytest.mark.platform, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def evidence(tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    """Play it all, once; the platform has stopped when the tests look at what is left."""
    platform = a_platform(tmp_path_factory.mktemp("hostile"))
    try:
        sessions = {user: platform.sign_in(user) for user in EVERYBODY}
        made = Evidence(platform, sessions, Witness(platform.data))
        made.play()
    finally:
        assert platform.stop() == 0, platform.log()
    return made


def a_platform(folder: Path) -> Platform:
    settings = {
        "SUBLET_NOTICE_SECONDS": f"{NOTICE_SECONDS},3",
        "SUBLET_METER_TICK_SECONDS": "0.5",
        "SUBLET_POST_INTERVAL_SECONDS": "5",
        "SUBLET_TOKEN_CACHE_SECONDS": "2",
        "SUBLET_SPAWN_TIMEOUT_SECONDS": "180",
    }
    return Platform(folder, settings, tiny=False).with_catalogue(FLAVORS).start()


@pytest.fixture
def store(evidence: Evidence) -> Iterator[Store]:
    opened = storage.open_store(f"sqlite:///{evidence.platform.data}/sublet.sqlite")
    yield opened
    opened.close()


def seconds(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()


def test_what_is_metered_is_what_ran(evidence: Evidence, store: Store) -> None:
    assert set(evidence.leases) == set(evidence.witness.lives)
    assert len(evidence.leases) == len(EVERYBODY) + len(WAYS)
    for user in EVERYBODY:
        with store.transaction(write=False) as tx:
            entries = tx.entries(accounts.user(user), after=0, limit=1000)
        for lease_id in {of[user] for of in (evidence.first, evidence.second) if user in of}:
            posts = [each for each in entries if each.lease_id == lease_id and each.kind is EntryKind.POST]
            posted = sum(each.amount.gpu_time for each in posts) / GPU_TIME_PER_GPU_SECOND
            lease, life = evidence.leases[lease_id], evidence.witness.lives[lease_id]
            assert abs(posted - life.seconds) <= 1, (user, lease, life)
            assert abs(lease["gpu_seconds"] - posted) <= 1, (user, lease)
            assert abs(seconds(lease["started_at"]) - life.began) <= 1, (user, lease)
        assert verify_account(store, accounts.user(user)) == []


def test_what_hostile_code_ends_itself_is_over(evidence: Evidence) -> None:
    for user, lease_id in evidence.first.items():
        lease, life = evidence.leases[lease_id], evidence.witness.lives[lease_id]
        assert lease["end_reason"] == "exited", user
        assert life.ended is not None
        assert abs(seconds(lease["ended_at"]) - life.ended) <= 1, user


def test_all_end_at_their_limit_like_the_honest_one(evidence: Evidence) -> None:
    late = {}
    for user, lease_id in evidence.second.items():
        lease, life = evidence.leases[lease_id], evidence.witness.lives[lease_id]
        assert (lease["end_reason"], lease["deadline_reason"]) == ("limit", "limit"), user
        assert life.ended is not None
        late[user] = life.ended - seconds(lease["deadline_at"])
    # On a machine that is short of time the honest one, too, takes longer to be gone once it is killed.
    latest = max(1.0, late["vera"] + 1)
    assert all(-0.1 <= each < latest for each in late.values()), late


def test_nothing_lives_on(evidence: Evidence) -> None:
    for user in ("pat", "rex", "bo", "flo"):
        life = evidence.witness.lives[evidence.second[user]]
        noted = (evidence.home(user) / f"life-{life.lease_id}").read_text().split()
        assert life.ended is not None
        assert life.began < int(noted[-1]) / 1000 <= life.ended + 0.1, user


def test_the_quota_decides_the_same_afterwards(evidence: Evidence) -> None:
    for user in EVERYBODY:
        assert abs(evidence.quotas[user] - evidence.lived(user)) <= 2, user  # rounded up, of two leases
        lasts_seconds, problem = evidence.decided[user]
        assert isinstance(lasts_seconds, int)
        assert abs(lasts_seconds - 60) <= 2, user
        assert problem == "https://sublet.dev/problems/quota-exceeded", user


def test_nothing_is_taken(evidence: Evidence) -> None:
    assert len(evidence.stolen) == 4 + len(WAYS)
    assert (
        min(len(evidence.stolen[where]) for where in ("in the server", "with flo's own token", "after the end")) > 40
    )
    taken = {
        (where, what): answer
        for where, answers in evidence.stolen.items()
        for what, answer in answers.items()
        if not is_refused(answer, over=where == "after the end")
    }
    assert taken == {}


def is_refused(answer: Answer, *, over: bool) -> bool:
    """Whether an answer gives nothing away. `over`: what was asked for has ended, and may be silent."""
    status, body = answer
    if SECRET in body or "deadline_at" in body:
        return False
    return status in REFUSALS | SENT_TO_SIGN_IN or (status, body) == (200, "[]") or (over and status == 0)


def test_a_dead_token_opens_nothing(evidence: Evidence) -> None:
    for where in (*(f"with {user}'s token of before" for user in WAYS), "after the end"):
        for what, (status, body) in evidence.stolen[where].items():
            assert body != "[]", (where, what)
            assert status in {0, 401, 403} | SENT_TO_SIGN_IN, (where, what)


def test_what_is_another_users_is_as_it_was(evidence: Evidence) -> None:
    before, after = evidence.veras
    assert after == before
    assert before["secret"] == SECRET
    assert before["reports of flo"] == []


def test_anothers_server_is_closed_to_other_cookies_and_scripts(evidence: Evidence) -> None:
    for what, answer in evidence.pages.items():
        if what in {"vera opens her server", "vera's own page reads"}:
            assert answer.status_code == 200, what
        else:
            assert answer.status_code == 403, (what, answer.status_code)
            assert SECRET not in answer.text, what
    opened = evidence.pages["vera opens her server"]
    assert "frame-ancestors 'none'" in opened.headers["Content-Security-Policy"]


def test_a_flood_leaves_a_bounded_record(evidence: Evidence, store: Store) -> None:
    lease_id = evidence.second["flo"]
    assert evidence.flooded["activity 204"] > 10
    assert evidence.flooded["stop 429"] > 10
    with store.transaction(write=False) as tx:
        records = tx.audit_records(AuditFilter(lease_id=lease_id), after=0, limit=1000, newest_first=True)
        minutes = tx.activity(lease_id, after_ms=0, limit=1000)
    assert len([each for each in records if each.actor == "user:flo"]) <= 2 * MOST_STOPS
    lasted = evidence.witness.lives[lease_id].seconds
    assert len(minutes) <= lasted / 60 + 6  # two minutes of doubt on each side, and those that it began and ended in
