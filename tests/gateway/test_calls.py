"""Calls through the gateway, as OpenAI's clients make them: good ones, and those that are refused."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from sublet_hub.domain import accounts
from sublet_hub.storage import accepting
from tests.fixtures.site import wait_until
from tests.gateway.conftest import World
from tests.gateway.running import CHAT, OUTPUT_MAX, allow_tokens, body, events, held, said, until_used, used

API = "/services/models/v1"


def error_of(answer: httpx.Response, status: int, kind: str) -> dict[str, Any]:
    """The error, which must be in both forms."""
    assert answer.status_code == status, answer.text
    found: dict[str, Any] = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    assert found["type"].endswith(f"/{kind}")
    assert found["status"] == status
    assert found["error"]["message"] == found["detail"]
    return found


def test_a_call_is_answered_counted_and_booked(world: World) -> None:
    token = world.user("ann")
    answer = world.gateway.chat("one two three", token, max_tokens=5)
    assert answer.status_code == 200
    found = answer.json()
    assert found["choices"][0]["message"]["content"] == "alpha beta gamma delta epsilon"
    assert found["model"] == "tiny", "the caller's name for it, not the server's"
    assert found["usage"] == {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8}
    assert world.upstream.asked[-1]["model"] == "there"
    until_used(world.api, (1, 3, 5), "ann")


def test_a_stream_comes_whole_without_the_record_that_nobody_asked_for(world: World) -> None:
    token = world.user("ben")
    answer = world.gateway.chat("one two", token, stream=True, max_tokens=4)
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert said(answer.text) == "alpha beta gamma delta "
    assert answer.text.endswith("data: [DONE]\n\n")
    assert [event for event in events(answer.text) if "usage" in event or not event["choices"]] == []
    assert {event["model"] for event in events(answer.text)} == {"tiny"}
    assert world.upstream.asked[-1]["stream_options"]["include_usage"] is True
    until_used(world.api, (1, 2, 4), "ben")


def test_who_asks_for_the_record_gets_it(world: World) -> None:
    asked = {"stream": True, "stream_options": {"include_usage": True}, "max_tokens": 2}
    answer = world.gateway.chat("one two", world.user("cleo"), **asked)
    last = events(answer.text)[-1]
    assert (last["choices"], last["usage"]["total_tokens"]) == ([], 4)


@pytest.mark.parametrize("mode", ["crlf", "with-last", "no-options"])
def test_streams_of_other_servers_are_understood(world: World, mode: str) -> None:
    """Line ends of two bytes; the record in the last event, and no [DONE]; no `stream_options`."""
    user = f"dora-{mode}"
    answer = world.gateway.chat(f"[{mode}] two", world.user(user), stream=True, max_tokens=3)
    assert said(answer.text) == "alpha beta gamma "
    assert answer.text.endswith("data: [DONE]\n\n")
    assert "usage" not in answer.text
    wait_until(lambda: used(world.api, user)[0] == 1, 20, "the call is booked")
    assert used(world.api, user)[2] in {3, 4}, "counted, or about one for each event"


def test_the_servers_own_key_goes_there_and_the_callers_does_not(world: World) -> None:
    world.gateway.chat("hi", world.user("emil"))
    assert "Authorization" not in world.upstream.headers[-1]
    assert "Cookie" not in world.upstream.headers[-1]


def test_completions_and_embeddings(world: World) -> None:
    with world.gateway.client(world.user("fay")) as client:
        found = client.post(f"{API}/completions", json={"model": "tiny", "prompt": "a b", "max_tokens": 2})
        assert found.json()["usage"]["total_tokens"] == 4
        found = client.post(f"{API}/embeddings", json={"model": "tiny", "input": ["a b c", "d"]})
        assert len(found.json()["data"]) == 2
    until_used(world.api, (2, 6, 2), "fay")


def test_models_are_listed_as_openai_lists_them(world: World) -> None:
    with world.gateway.client(world.user("gus")) as client:
        listed = client.get(f"{API}/models").json()
        assert listed["object"] == "list"
        assert {each["id"]: each["licence_accepted"] for each in listed["data"]} == {
            "tiny": True, "gated": False, "gone": True, "half": True, "rare": True,
        }  # fmt: skip
        assert client.get(f"{API}/models/tiny").json()["id"] == "tiny"
        error_of(client.get(f"{API}/models/none"), 404, "not-found")


# ---------------------------------------------------------------- who, and may they


@pytest.mark.parametrize(
    "header", ["", "Bearer", "Basic eDp5", "Bearer nobodys-token", "Bearer ü", "Bearer " + "x" * 600]
)
def test_without_a_good_key_nothing_is_answered(world: World, header: str) -> None:
    before = len(world.upstream.asked)
    answer = httpx.post(
        f"{world.gateway.url}{CHAT}", json=body("hi"), headers=[(b"Authorization", header.encode("latin-1"))]
    )
    found = error_of(answer, 401, "not-signed-in")
    assert found["error"]["code"] == "invalid_api_key"
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert len(world.upstream.asked) == before


def test_a_servers_key_pays_with_its_leases_account_and_stops_with_it(world: World) -> None:
    error_of(world.gateway.chat("hi", "alice-server-token"), 401, "not-signed-in")
    lease = world.api.lease("alice", accounts.group("lab"))
    wait_until(
        lambda: world.gateway.chat("hi", "alice-server-token", max_tokens=1).status_code == 200, 20, "it is known"
    )
    assert held(world.api, "alice") == 0, "the group's account holds it"
    world.api.end(lease, 5_000)


def test_a_licence_is_accepted_first_and_then_at_once(world: World) -> None:
    token = world.user("hal")
    found = error_of(world.gateway.chat("hi", token, model="gated"), 403, "licence-not-accepted")
    assert found["link"] == "/services/sublet/models?model=gated"
    assert "/services/sublet/models?model=gated" in found["error"]["message"]
    assert (found["licence"], found["version"]) == ("gated", "7")
    accepting.accept(world.api.books, accounts.user("hal"), "gated", "7", actor="user:hal")
    assert world.gateway.chat("hi", token, model="gated").status_code == 200


def test_a_model_that_there_is_not(world: World) -> None:
    found = error_of(world.gateway.chat("hi", world.user("ida"), model="gpt-9"), 404, "not-found")
    assert found["error"]["code"] == "model_not_found"
    assert "tiny" in found["detail"]


@pytest.mark.parametrize(
    ("sent", "field"),
    [
        (b"{nonsense", "body"),
        (b"[1]", "body"),
        (b"{}", "model"),
        (b'{"model": "tiny", "max_tokens": 0}', "max_tokens"),
        (b'{"model": "tiny", "max_tokens": "many"}', "max_tokens"),
        (b'{"model": "tiny", "max_tokens": 99999}', "max_tokens"),
        (b'{"model": "tiny", "stream": "yes"}', "stream"),
        (b'{"model": "tiny", "n": 100000}', "n"),
        (b'{"model": "tiny", "stream_options": 3}', "stream_options"),
        (b"[" * 100_000, "body"),
    ],
)
def test_what_makes_no_sense_is_named(world: World, sent: bytes, field: str) -> None:
    with world.gateway.client(world.user("jon")) as client:
        found = error_of(client.post(CHAT, content=sent), 422, "invalid-request")
    assert found["field"] == found["error"]["param"] == field


def test_what_is_too_large_is_refused_before_it_is_read(world: World) -> None:
    with world.gateway.client(world.user("jon")) as client:
        error_of(client.post(CHAT, content=b" " * (17 * 2**20)), 413, "call-too-large")


def test_other_addresses_and_methods(world: World) -> None:
    with world.gateway.client(world.user("kim")) as client:
        error_of(client.get(CHAT), 405, "method-not-supported")
        error_of(client.post(f"{API}/audio/speech", json={}), 404, "not-found")
        error_of(client.get("/services/models/"), 404, "not-found")
        forwarded = client.get("/services/models/metrics", headers={"X-Forwarded-For": "10.0.0.1"})
        error_of(forwarded, 403, "not-allowed")


# ---------------------------------------------------------------- what it may cost


def test_over_quota_says_which_and_when(world: World) -> None:
    token = world.user("leo")
    allow_tokens(world.api, 200, "leo")
    answer = world.gateway.chat("hi", token, max_tokens=500)
    found = error_of(answer, 429, "quota-exceeded")
    assert found["error"]["type"] == "insufficient_quota"
    assert found["limit"]["what"] == "model_tokens"
    assert found["retry_at"] > "2026"
    assert answer.headers["ratelimit-policy"] == '"model_tokens-day";q=200;w=86400'
    assert answer.headers["ratelimit"].startswith('"model_tokens-day";r=')
    assert int(answer.headers["retry-after"]) > 0
    assert answer.headers["x-should-retry"] == "false"


def test_what_is_left_is_the_limit_of_a_call_that_sets_none(world: World) -> None:
    token = world.user("mia")
    allow_tokens(world.api, 600, "mia")
    assert world.gateway.chat("hi", token).status_code == 200
    given = world.upstream.asked[-1]["max_tokens"]
    assert 256 <= given < 600, "not the model's own maximum, but what is left"
    assert OUTPUT_MAX > 600


def test_money_is_a_limit_too(world: World) -> None:
    token = world.user("nat")
    allow_tokens(world.api, None, "nat", money=100)
    error_of(world.gateway.chat("hi", token, max_tokens=1000), 429, "quota-exceeded")  # 1000 come to 800
    assert world.gateway.chat("hi", token, max_tokens=50).status_code == 200


def test_what_is_held_is_given_back(world: World) -> None:
    token = world.user("oda")
    world.gateway.chat("hi", token)
    assert held(world.api, "oda") >= 1000
    wait_until(lambda: held(world.api, "oda") == 0, 30, "the hold is released once nobody calls")
    assert used(world.api, "oda") == (1, 1, 8)


def test_many_calls_at_once_never_spend_more_than_there_is(world: World) -> None:
    """Each may take 60; there are 600."""
    import concurrent.futures

    token = world.user("pia")
    allow_tokens(world.api, 600, "pia")
    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda _: world.gateway.chat("[slow] hi", token, max_tokens=20), range(24)))
    good = [answer for answer in answers if answer.status_code == 200]
    assert {answer.status_code for answer in answers} == {200, 429}
    until_used(world.api, (len(good), 2 * len(good), 20 * len(good)), "pia")
    assert 22 * len(good) <= 600
