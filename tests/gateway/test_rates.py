"""How fast an account may call: so many at once, then evenly, and what is told to who comes too soon."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sublet_hub.domain.models import Model
from sublet_hub.gateway import rates as module
from sublet_hub.gateway.errors import TooManyCalls, headers_of, members_of
from sublet_hub.gateway.rates import MINUTE_NS, Rates
from tests.gateway.conftest import World
from tests.gateway.running import RARE_PER_MINUTE, catalogue

SECOND_NS = 10**9


@dataclass
class Clock:
    """A clock that stands until it is moved."""

    at_ns: int = 5 * 10**15

    def monotonic_ns(self) -> int:
        return self.at_ns


def rates(per_minute: int) -> tuple[Rates, Clock]:
    clock = Clock()
    return Rates(per_minute, monotonic_ns=clock.monotonic_ns, now=lambda: 1_000.0), clock


def allowed(counting: Rates, calls: int, account: str = "user:ann") -> int:
    """How many of so many calls at one moment are let through."""
    done = 0
    for _ in range(calls):
        try:
            counting.count(account)
        except TooManyCalls:
            continue
        done += 1
    return done


@given(st.integers(1, 5_000), st.integers(0, 10**18))
def test_a_minutes_calls_at_once_and_then_one_at_a_time(per_minute: int, begun_ns: int) -> None:
    counting, clock = rates(per_minute)
    clock.at_ns = begun_ns
    assert allowed(counting, per_minute + 5) == per_minute
    clock.at_ns += MINUTE_NS // per_minute + 1
    assert allowed(counting, 5) == 1
    clock.at_ns += 2 * MINUTE_NS
    assert allowed(counting, per_minute + 5) == per_minute, "what was not used is not saved up"


@given(st.integers(1, 600), st.lists(st.integers(0, 5 * SECOND_NS), max_size=200))
def test_in_any_minute_there_are_at_most_twice_the_rate(per_minute: int, pauses_ns: list[int]) -> None:
    counting, clock = rates(per_minute)
    made: list[int] = []
    for pause_ns in pauses_ns:
        clock.at_ns += pause_ns
        made += [clock.at_ns] * allowed(counting, 3)
    for at_ns in made:
        assert sum(at_ns <= each < at_ns + MINUTE_NS for each in made) <= 2 * per_minute
    span_ns = made[-1] - made[0] if made else 0
    assert len(made) <= per_minute + span_ns * per_minute // MINUTE_NS + 1


def test_accounts_and_models_are_counted_apart() -> None:
    counting, _ = rates(3)
    assert allowed(counting, 9, "user:ann") == 3
    assert allowed(counting, 9, "user:ben") == 3
    model = rare()
    counting, _ = rates(100)
    for _ in range(RARE_PER_MINUTE):
        counting.count_of("user:ann", model)
    with pytest.raises(TooManyCalls, match="of rare"):
        counting.count_of("user:ann", model)
    counting.count_of("user:ben", model)
    assert model.serving is not None
    unlimited = replace(model, name="other", serving=replace(model.serving, calls_per_minute=None))
    for _ in range(200):
        counting.count_of("user:ann", unlimited)


def test_who_comes_too_soon_is_told_when_to_come_back() -> None:
    counting, clock = rates(30)
    assert allowed(counting, 30) == 30
    clock.at_ns += SECOND_NS // 2
    with pytest.raises(TooManyCalls) as refused:
        counting.count("user:ann")
    error = refused.value
    assert error.retry_at_ms == 1_001_500
    sent = dict(headers_of(error, now=1_000.0))
    assert sent[b"retry-after"] == b"2"
    assert sent[b"ratelimit"] == b'"calls-minute";r=0;t=2'
    assert sent[b"ratelimit-policy"] == b'"calls-minute";q=30;w=60'
    assert sent[b"x-should-retry"] == b"true", "OpenAI's clients wait and try again by themselves"
    said = members_of(error, "base/", "/path")
    assert said["error"] == {
        "message": error.message,
        "type": "requests",
        "param": None,
        "code": "rate_limit_exceeded",
    }
    assert (said["type"], said["status"]) == ("base/too-many-calls", 429)
    assert said["limit"] == {"what": "calls", "limit": 30, "window": "minute"}


def test_only_so_many_accounts_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_KEPT", 10)
    counting, clock = rates(60)
    for number in range(100):
        counting.count(f"user:{number}")
    assert len(counting._empty_at) == 10
    clock.at_ns += MINUTE_NS
    counting.count("user:0")
    assert len(counting._empty_at) == 1, "who has not called for a while is forgotten"


def rare() -> Model:
    return catalogue("http://127.0.0.1:1/v1", gone=("http://127.0.0.1:2/v1",)).models["rare"]


# ---------------------------------------------------------------- through a gateway


def test_an_account_that_calls_too_fast_is_refused_before_its_call_is_read(world: World) -> None:
    gateway = world.another(settings={"SUBLET_MODEL_CALLS_PER_MINUTE": "3"})
    token = world.user("wim")
    before = len(world.upstream.asked)
    answers = [gateway.chat("hi", token, max_tokens=1) for _ in range(4)]
    assert [each.status_code for each in answers] == [200, 200, 200, 429]
    assert len(world.upstream.asked) == before + 3
    with gateway.client(token) as client:
        refused = client.post("/services/models/v1/embeddings", content=b"no call at all")
        assert refused.status_code == 429
        assert client.get("/services/models/v1/models").status_code == 200, "to look is no call"
    assert refused.headers["content-type"] == "application/problem+json"
    assert refused.json()["error"]["code"] == "rate_limit_exceeded"
    assert 1 <= int(refused.headers["retry-after"]) <= 20
    assert refused.headers["ratelimit-policy"] == '"calls-minute";q=3;w=60'
    assert datetime.fromisoformat(refused.json()["retry_at"]).timestamp() <= time.time() + 20
    assert gateway.chat("hi", world.user("xia"), max_tokens=1).status_code == 200, "another account is not kept out"
    assert gateway.metric("sublet_gateway_rate_refusals_total", rate="account") == 2


def test_a_model_may_have_a_rate_of_its_own(world: World) -> None:
    token = world.user("yva")
    answers = [world.gateway.chat("hi", token, model="rare", max_tokens=1) for _ in range(RARE_PER_MINUTE + 1)]
    assert [each.status_code for each in answers] == [200] * RARE_PER_MINUTE + [429]
    assert answers[-1].headers["ratelimit-policy"] == f'"calls-rare-minute";q={RARE_PER_MINUTE};w=60'
    assert world.gateway.chat("hi", token, max_tokens=1).status_code == 200, "other models are not meant"
    assert world.gateway.metric("sublet_gateway_rate_refusals_total", rate="model") == 1
