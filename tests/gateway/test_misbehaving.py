"""Upstreams that are dead, slow, wrong or talk nonsense, and callers who leave: what is said, what is booked, and
that nothing stays held or counted."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from tests.fixtures.site import wait_until
from tests.gateway.conftest import World
from tests.gateway.running import CHAT, body, events, held, until_used, used
from tests.gateway.test_calls import error_of

pytestmark = pytest.mark.slow


def nothing_stays(world: World, user: str) -> None:
    """Nothing was booked, no place is taken, and what was held is given back."""
    wait_until(lambda: world.gateway.metric("sublet_gateway_calls_running") == 0, 20, "all places are free")
    wait_until(lambda: held(world.api, user) == 0, 30, "nothing is held")
    assert used(world.api, user) == (0, 0, 0)


WRONG = [
    *(("fails", 502, "model-failed", stream) for stream in (False, True)),
    *(("drops", 502, "model-failed", stream) for stream in (False, True)),
    *(("wrong-type", 502, "model-failed", stream) for stream in (False, True)),
    *(("overloaded", 503, "model-busy", stream) for stream in (False, True)),
    # Where these stream, the answer has begun by then: see below.
    ("garbage", 502, "model-failed", False),
    ("huge", 502, "model-failed", False),
]


@pytest.mark.parametrize(("mode", "status", "kind", "stream"), WRONG)
def test_a_wrong_upstream_is_told_and_costs_nothing(
    world: World, mode: str, status: int, kind: str, stream: bool
) -> None:
    user = f"bad-{mode}-{stream}"
    answer = world.gateway.chat(f"[{mode}] secret words", world.user(user), stream=stream)
    found = error_of(answer, status, kind)
    assert "secret" not in answer.text
    assert "Traceback" not in answer.text
    assert found["error"]["type"] == "server_error"
    wait_until(lambda: world.gateway.chat("hi", world.user("other")).status_code == 200, 20, "it is tried again")
    if mode == "drops":
        nothing_stays(world, user)
    assert used(world.api, user) == (0, 0, 0)


@pytest.mark.parametrize("mode", ["garbage", "huge"])
def test_nonsense_in_a_stream_ends_it_with_an_error(world: World, mode: str) -> None:
    user = f"stream-{mode}"
    answer = world.gateway.chat(f"[{mode}] secret words", world.user(user), stream=True)
    assert events(answer.text)[-1]["error"]["code"] == "model-failed"
    assert "[DONE]" not in answer.text
    assert "secret" not in answer.text
    assert len(answer.content) < 5 * 2**20


@pytest.mark.parametrize("mode", ["dies", "cut"])
def test_a_stream_that_breaks_off_says_so_and_what_came_is_booked(world: World, mode: str) -> None:
    user = f"broken-{mode}"
    answer = world.gateway.chat(f"[{mode}] two", world.user(user), stream=True, max_tokens=6)
    *good, last = events(answer.text)
    assert last["error"]["code"] == "model-failed"
    assert last["type"].endswith("/model-failed")
    assert "[DONE]" not in answer.text
    came = sum(1 for event in good if event["choices"][0]["delta"].get("content"))
    assert 1 <= came <= 6
    wait_until(lambda: used(world.api, user)[0] == 1, 20, "it is booked")
    assert used(world.api, user)[2] == came


def test_a_refusal_of_the_upstreams_is_passed_on(world: World) -> None:
    answer = world.gateway.chat("[refuses] this", world.user("refused"))
    found = error_of(answer, 400, "call-refused")
    assert found["error"]["message"] == "I will not: [refuses] this", "to the caller, whose own words they are"
    nothing_stays(world, "refused")


def test_a_limit_that_the_upstream_finds_too_high_is_lowered(world: World) -> None:
    """Ours; a caller's own is theirs to change."""
    assert world.gateway.chat("[long] hi", world.user("long")).status_code == 200
    assert world.upstream.asked[-1]["max_tokens"] <= 100
    error_of(world.gateway.chat("[long] hi", world.user("long"), max_tokens=500), 400, "call-refused")


@pytest.mark.parametrize("mode", ["no-usage", "absurd"])
def test_without_a_record_that_makes_sense_use_is_estimated_and_counted_as_such(world: World, mode: str) -> None:
    before = world.gateway.metric("sublet_gateway_unmeasured_calls_total")
    assert world.gateway.chat(f"[{mode}] hi", world.user(mode), max_tokens=4).status_code == 200
    assert world.gateway.metric("sublet_gateway_unmeasured_calls_total") == before + 1
    wait_until(lambda: used(world.api, mode)[0] == 1, 20, "it is booked")
    _, given, made = used(world.api, mode)
    assert 0 < given < 100
    assert 0 <= made <= 4, "never more than was asked for"


def test_a_stream_without_a_record_counts_its_events(world: World) -> None:
    world.gateway.chat("[no-usage] hi", world.user("uncounted"), max_tokens=5, stream=True)
    wait_until(lambda: used(world.api, "uncounted")[0] == 1, 20, "it is booked")
    assert used(world.api, "uncounted")[2] == 5


def test_silence_ends_a_stream(world: World) -> None:
    answer = world.gateway.chat("[silent] hi", world.user("silence"), max_tokens=2, stream=True)
    assert events(answer.text)[-1]["error"]["code"] == "model-silent"
    wait_until(lambda: used(world.api, "silence")[0] == 1, 20, "what came is booked")
    assert used(world.api, "silence")[2] == 2
    wait_until(lambda: world.gateway.chat("hi", world.user("other")).status_code == 200, 20, "it is tried again")


def test_a_call_that_takes_too_long_is_given_up(world: World) -> None:
    hasty = world.another(settings={"SUBLET_MODEL_CALL_SECONDS": "1"})
    error_of(hasty.chat("[hangs] hi", world.user("late")), 504, "model-silent")
    error_of(hasty.chat("[hangs] hi", world.user("late"), stream=True), 504, "model-silent")
    wait_until(lambda: world.upstream.running == 0, 20, "the upstream is told")
    assert hasty.stop() == 0
    assert held(world.api, "late") == 0
    assert used(world.api, "late") == (0, 0, 0)


def test_more_than_was_asked_for_is_cut_off(world: World) -> None:
    answer = world.gateway.chat("[endless] hi", world.user("endless"), max_tokens=10, stream=True)
    found = events(answer.text)
    assert found[-1]["error"]["code"] == "model-failed"
    assert len(found) < 200
    wait_until(lambda: world.upstream.running == 0, 20, "the upstream is told")
    wait_until(lambda: used(world.api, "endless")[0] == 1, 20, "what came is booked")
    assert used(world.api, "endless")[2] == 10, "and never more than was asked for"


# ---------------------------------------------------------------- servers that are not there


def test_where_no_server_is_there_it_is_said_at_once(world: World) -> None:
    answer = world.gateway.chat("hi", world.user("away"), model="gone")
    error_of(answer, 503, "model-away")
    again = world.gateway.chat("hi", world.user("away"), model="gone")
    assert int(again.headers["retry-after"]) >= 1
    assert again.headers["x-should-retry"] == "true"
    nothing_stays(world, "away")


def test_another_server_is_asked_where_one_is_not_reached(world: World) -> None:
    for _ in range(3):
        assert world.gateway.chat("hi", world.user("two"), model="half").status_code == 200


def test_what_may_have_begun_is_not_asked_twice(world: World) -> None:
    before = len(world.upstream.asked)
    error_of(world.gateway.chat("[drops] once", world.user("once")), 502, "model-failed")
    assert sum("[drops] once" in json.dumps(each) for each in world.upstream.asked[before:]) == 1


# ---------------------------------------------------------------- callers who leave


def leave_after(world: World, user: str, prompt: str, pieces: int, **more: Any) -> None:
    """Read some pieces of a stream, then hang up."""
    with world.gateway.client(world.user(user)) as client:
        asked = body(prompt, stream=True, **more)
        with client.stream("POST", CHAT, json=asked) as answer:
            lines = (line for line in answer.iter_lines() if line.startswith("data:"))
            for _ in range(pieces):
                next(lines)


def test_who_leaves_a_stream_pays_for_what_was_generated(world: World) -> None:
    """The server tells its counts at the end only: it is let finish."""
    leave_after(world, "left", "[slow] two", 2, max_tokens=12)
    until_used(world.api, (1, 2, 12), "left")
    assert world.gateway.metric("sublet_gateway_calls_total", outcome="gone") >= 1


def test_who_leaves_before_an_answer_that_comes_whole_pays_for_it(world: World) -> None:
    with world.gateway.client(world.user("gone-whole")) as client, pytest.raises(httpx.ReadTimeout):
        client.post(CHAT, json=body("[slow] hi", max_tokens=10), timeout=0.3)
    until_used(world.api, (1, 2, 10), "gone-whole")


def test_who_leaves_while_waiting_for_a_first_byte_holds_nothing(world: World) -> None:
    with world.gateway.client(world.user("gone-early")) as client, pytest.raises(httpx.ReadTimeout):
        client.post(CHAT, json=body("[silent] hi", stream=True, max_tokens=1), timeout=0.3)
    wait_until(lambda: used(world.api, "gone-early")[0] == 1, 40, "it is settled")
    wait_until(lambda: world.upstream.running == 0, 40, "the upstream is told")
