"""`sublet doctor --url`: a platform elsewhere, seen through its public address alone."""

from __future__ import annotations

import httpx
import pytest

from sublet_hub.cli import doctor, exits
from sublet_hub.cli.client import Client
from sublet_hub.cli.doctor import remote
from sublet_hub.cli.doctor.findings import Finding, Level
from sublet_hub.cli.platform import Target
from tests.cli.conftest import Run
from tests.fixtures.api_platform import ApiPlatform

GOOD = {
    "/hub/api/": (200, {"version": "6.1.1"}),
    "/services/sublet/health": (200, {"status": "ok"}),
    "/hub/api/quotas/": (200, [{"subject": "default"}]),
    "/services/sublet/api/platform": (
        200,
        {"version": "0.1", "flavors": 2, "meter_beat_at": "2026-01-31T12:00:00.000Z", "meter_current": True},
    ),
}
HTML = (200, None)


def examine(**changed: tuple[int, object]) -> dict[str, Finding]:
    """What is found on a platform that is well but for these answers."""
    paths = dict(zip(("hub", "api", "quotas", "platform"), GOOD, strict=True))
    answers = {**GOOD, **{paths[name]: answer for name, answer in changed.items()}}

    def answer(request: httpx.Request) -> httpx.Response:
        assert request.headers["authorization"] == "token secret"
        status, document = answers[request.url.path]
        return (
            httpx.Response(status, json=document) if document is not None else httpx.Response(status, text="<html>")
        )

    with Client(Target("http://elsewhere", "secret"), httpx.MockTransport(answer)) as client:
        found = [each for check in doctor.REMOTE_CHECKS for each in remote.findings(check, client)]
    assert all((each.mend is None) == (each.level is Level.OK) for each in found)
    return {each.check: each for each in found}


def test_all_is_well() -> None:
    found = examine()
    assert list(found) == ["hub", "api", "quotas", "database", "heartbeat", "flavors"]
    assert {each.level for each in found.values()} == {Level.OK}


@pytest.mark.parametrize(
    ("changed", "check", "says"),
    [
        ({"hub": (503, {})}, "hub", "does not answer"),
        ({"hub": HTML}, "hub", "not Sublet"),
        ({"api": (404, {})}, "api", "404"),
        ({"quotas": (403, {"message": "no"})}, "quotas", "may not"),
        ({"quotas": (404, {"message": "the hub's own"})}, "quotas", "404"),
        ({"platform": (401, {})}, "platform", "does not know this token"),
        ({"platform": (200, {"version": "0.1"})}, "platform", "not understood"),
    ],
)
def test_what_is_wrong_is_a_problem(changed: dict[str, tuple[int, object]], check: str, says: str) -> None:
    finding = examine(**changed)[check]
    assert (finding.level, says in finding.text) == (Level.PROBLEM, True), finding.text


@pytest.mark.parametrize(
    ("state", "check"),
    [({"meter_current": False}, "heartbeat"), ({"flavors": 0}, "flavors")],
)
def test_a_platform_that_grants_no_lease(state: dict[str, object], check: str) -> None:
    _, well = GOOD["/services/sublet/api/platform"]
    assert isinstance(well, dict)
    found = examine(platform=(200, {**well, **state}))
    assert [name for name, each in found.items() if each.level is Level.PROBLEM] == [check]


def test_no_default_quota_is_a_warning() -> None:
    assert examine(quotas=(200, [{"subject": "user:alice"}]))["quotas"].level is Level.WARNING


def test_against_the_real_api(as_admin: Run, platform: ApiPlatform) -> None:
    ran = as_admin("doctor", "--json")
    found = {finding["check"]: finding["level"] for finding in ran.json}
    assert found == {
        "hub": "problem",  # there is no hub behind this one
        "api": "ok",
        "quotas": "ok",
        "database": "ok",
        "heartbeat": "ok",
        "flavors": "ok",
    }
    assert ran.code == exits.PROBLEM
    refused = as_admin("doctor", "--json", token="alice-token")
    assert {each["check"] for each in refused.json if each["level"] == "problem"} == {"hub", "quotas", "platform"}


def test_it_looks_again_until_all_is_well(run: Run, platform: ApiPlatform, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = iter([Level.PROBLEM, Level.PROBLEM, Level.OK])

    def slow(_client: Client) -> list[Finding]:
        level = next(looks)
        return [Finding("slow", level, "It takes its time.", None if level is Level.OK else "Wait.")]

    monkeypatch.setattr(doctor, "REMOTE_CHECKS", (slow,))
    monkeypatch.setattr(doctor, "LOOK_AGAIN_SECONDS", 0.01)
    ran = run("doctor", "--url", platform.url, "--wait", "60", token="service-token")
    assert (ran.code, ran.out.count("It takes its time.")) == (exits.OK, 1)
    assert next(looks, None) is None


def test_waiting_is_for_a_platform_elsewhere(run: Run) -> None:
    assert run("doctor", "--wait", "1").code == exits.USAGE
