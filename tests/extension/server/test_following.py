"""Following the lease in a real server, and what browsers see of it."""

from __future__ import annotations

import threading
from pathlib import Path

import httpx
import pytest

from tests.extension.server.conftest import Start
from tests.extension.server.jupyter import Browser, jupyter, wait_for
from tests.extension.server.stand_in import LEASE_ID, TOKEN, StandIn, notice, problem

pytestmark = pytest.mark.slow


def test_the_state_is_the_leases(platform: StandIn, start: Start) -> None:
    platform.notices.append(notice("n1", 300))
    server = start()
    state = server.until(lambda state: state["connected"])
    assert state["lease"] == platform.lease
    assert [each["id"] for each in state["notices"]] == ["n1"]
    assert (state["accepting"], state["refusal"], state["ending"]) == (True, None, False)
    assert (state["trouble"], state["previous"], state["gpu"], state["history"]) == (None, None, None, [])
    assert platform.tokens == {f"token {TOKEN}"}
    assert TOKEN not in server.log


def test_all_routes_are_for_the_user_only(start: Start) -> None:
    server = start()
    for path in ("state", "events", "quota", "flavors"):
        assert httpx.get(f"http://{server.url}/sublet/{path}").status_code == 403
    for path in ("stop", "keep", "saved", "dismiss"):
        assert httpx.post(f"http://{server.url}/sublet/{path}", json={}).status_code == 403


def test_browsers_hear_of_notices_and_withdrawals(platform: StandIn, start: Start) -> None:
    server = start()
    browser = Browser(server)
    browser.state(lambda state: state["connected"])
    platform.warn(notice("n1", 300))
    browser.state(lambda state: [each["id"] for each in state["notices"]] == ["n1"])
    platform.notices.clear()
    platform.tell("withdrawn", {"id": "n1"})
    browser.state(lambda state: state["notices"] == [])
    assert browser.saves == []


def test_a_connection_begins_with_the_whole_state(platform: StandIn, start: Start) -> None:
    platform.notices.append(notice("gone-meanwhile", 300))
    server = start()
    server.until(lambda state: state["notices"])
    platform.notices[:] = [notice("n2", 60)]
    platform.hang_up()
    server.until(lambda state: [each["id"] for each in state["notices"]] == ["n2"])
    assert platform.streams_ever == 2


def test_the_platform_goes_away_and_comes_back(platform: StandIn, start: Start) -> None:
    server = start()
    server.until(lambda state: state["connected"])
    platform.is_away = True
    platform.hang_up()
    state = server.until(lambda state: state["trouble"])
    assert state["trouble"] == "The database does not answer."
    assert not state["connected"]
    assert state["accepting"]
    assert state["lease"] == platform.lease
    away = server.client.get("sublet/quota")
    assert away.status_code == 503
    assert away.headers["Content-Type"] == "application/problem+json"
    assert "The database does not answer." in away.json()["detail"]
    platform.is_away = False
    server.until(lambda state: state["connected"] and state["trouble"] is None)
    # One try after the other with pauses, not a poll.
    assert server.log.count("can't be followed") == 1


def test_requests_and_problems_are_passed_on(platform: StandIn, start: Start) -> None:
    server = start()
    assert server.client.get("sublet/quota").json()["user"] == "alice"
    assert server.client.get("sublet/flavors").json()["type"].endswith("/not-found")
    refused = problem(409, "deadline-not-yours", "The deadline comes from a quota.")
    platform.answers["POST", f"/leases/{LEASE_ID}/keep"] = (409, refused)
    answer = server.client.post("sublet/keep", json={})
    assert (answer.status_code, answer.json()) == (409, refused)
    assert server.client.post("sublet/stop", json={"at": "2099-01-01T12:00:00Z"}).status_code == 200
    assert ("POST", f"/leases/{LEASE_ID}/stop", {"at": "2099-01-01T12:00:00Z"}) in platform.asked
    assert server.client.post("sublet/stop", json={"at": "tomorrow"}).status_code == 422
    assert server.client.post("sublet/stop", content=b"{", headers={"Content-Type": "x"}).status_code == 400


def test_nothing_is_followed_once_the_lease_has_ended(platform: StandIn, start: Start) -> None:
    server = start()
    server.until(lambda state: state["connected"])
    platform.lease |= {"state": "ended", "end_reason": "admin"}
    platform.tell("lease", platform.lease)
    platform.hang_up()
    state = server.until(lambda state: not state["connected"])
    assert "has ended" in state["refusal"]
    asked = len(platform.asked)
    server.state()
    assert len(platform.asked) == asked


def test_a_stream_of_nonsense_does_no_harm(platform: StandIn, start: Start) -> None:
    server = start()
    server.until(lambda state: state["connected"])
    for each in list(platform.streams):
        each.put(b"event: lease\ndata: {no json\n\nevent: notice\ndata: []\n\n" + b"data: x\n" * 3 + b"\n")
    platform.warn(notice("n1", 300))
    server.until(lambda state: state["notices"])
    for each in list(platform.streams):
        each.put(b"data: " + b"x" * 300_000)
    wait_for(lambda: platform.streams_ever == 2)
    server.until(lambda state: state["connected"])


def test_outside_of_a_lease_it_does_nothing(folder: Path) -> None:
    before = threading.active_count()
    with jupyter(folder, {}) as server:
        state = server.state()
        assert (state["lease"], state["accepting"], state["trouble"]) == (None, True, None)
        assert server.client.get("sublet/quota").status_code == 503
        assert server.client.post("sublet/dismiss", json={}).status_code == 204
        assert server.client.post("api/kernels").status_code == 201
    assert server.log.count("Sublet: ") == server.log.count("no lease") == 1
    assert threading.active_count() == before
