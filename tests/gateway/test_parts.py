"""The gateway's parts by themselves: turns, events, journal, headers, bounds."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sublet_hub.domain.models import Serving
from sublet_hub.gateway import asked, journal
from sublet_hub.gateway.amounts import Payer, Spend, Use, output_within, spend_of
from sublet_hub.gateway.errors import ModelBusy, ModelFailed
from sublet_hub.gateway.events import DONE, Events, renames
from sublet_hub.gateway.rate_limits import Limit, header_lines
from sublet_hub.gateway.turns import Turns
from sublet_hub.gateway.usage import counts_in

ALICE = Payer("alice", "user:alice")

# ---------------------------------------------------------------- turns


async def test_accounts_take_turns_however_many_calls_each_has() -> None:
    turns = Turns("m", 1, 100, 10)
    order: list[str] = []

    async def call(account: str) -> None:
        with await turns.take(account):
            order.append(account)
            await asyncio.sleep(0)

    first = await turns.take("z")
    calls = [asyncio.ensure_future(call(name)) for name in ("a", "a", "a", "b", "c", "b")]
    await asyncio.sleep(0)
    first.end()
    await asyncio.gather(*calls)
    assert order == ["a", "b", "c", "a", "b", "a"]


async def test_who_gives_up_waiting_takes_no_place() -> None:
    turns = Turns("m", 1, 100, 10)
    first = await turns.take("a")
    waiting = [asyncio.ensure_future(turns.take("b")) for _ in range(3)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    await asyncio.sleep(0)
    first.end()
    (await waiting[1]).end()
    (await waiting[2]).end()
    again = await asyncio.wait_for(turns.take("c"), 5)
    again.end()


async def test_a_place_that_comes_just_as_one_gives_up_goes_to_the_next() -> None:
    turns = Turns("m", 1, 100, 10)
    first = await turns.take("a")
    leaving, next_one = (asyncio.ensure_future(turns.take(name)) for name in ("b", "c"))
    await asyncio.sleep(0)
    first.end()  # the place is b's now
    leaving.cancel()
    (await asyncio.wait_for(next_one, 5)).end()


async def test_too_many_and_too_long_are_told_when_to_come_back() -> None:
    turns = Turns("m", 1, 1, 0.05)
    first = await turns.take("a")
    waiting = asyncio.ensure_future(turns.take("a"))
    await asyncio.sleep(0)
    with pytest.raises(ModelBusy, match="wait for it already") as busy:
        await turns.take("b")
    assert busy.value.retry_at_ms
    with pytest.raises(ModelBusy, match="no place came free"):
        await waiting
    first.end()
    (await turns.take("b")).end()


# ---------------------------------------------------------------- events


def stream(*, usage: bool = True, done: bool = True) -> bytes:
    pieces = [
        {"model": "there", "choices": [{"delta": {"content": word}}]} for word in ('say "usage": {"x": 1}', "b")
    ]
    whole = [json.dumps(piece) for piece in pieces]
    whole.append(json.dumps({"model": "there", "choices": [{"delta": {}, "finish_reason": "stop"}]}))
    if usage:
        whole.append(json.dumps({"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 2}}))
    return b"".join(f"data: {each}\n\n".encode() for each in whole) + (DONE if done else b"")


@given(st.lists(st.integers(1, 60), max_size=30), st.sampled_from([b"\n", b"\r\n"]), st.booleans())
@settings(deadline=None)
def test_however_a_stream_is_cut_up_it_comes_out_the_same(cuts: list[int], ends: bytes, done: bool) -> None:
    data = stream(done=done).replace(b"\n", ends)
    events = Events(hides_usage=True, renames=renames(("there",), "tiny"))
    out, rest = b"", data
    for cut in cuts:
        out += events.feed(rest[:cut]) if rest[:cut] else b""
        rest = rest[cut:]
    out += events.feed(rest) if rest else b""
    out += events.end()
    assert events.counts is not None
    assert (events.counts.input_tokens, events.counts.output_tokens) == (7, 2)
    lines = [line for line in out.decode().split("\n") if line]
    assert lines[-1] == "data: [DONE]"
    said = [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]
    assert [each["model"] for each in said] == ["tiny"] * 3
    assert said[0]["choices"][0]["delta"]["content"] == 'say "usage": {"x": 1}', "what is said is left alone"


def test_events_that_come_one_by_one_are_looked_into_where_they_must_be() -> None:
    """As they mostly come: whole, and most of them passed on as they are."""
    events = Events(hides_usage=True, renames=renames(("there",), "tiny"))
    whole = [event + b"\n\n" for event in stream().split(b"\n\n") if event]
    out = [events.feed(event) for event in whole]
    assert events.counts is not None
    assert (events.is_finished, events.is_done) == (True, True)
    assert [b'"usage": {"prompt' in piece for piece in out] == [False] * 5
    assert out[3] == b"", "the record, which nobody asked for"
    assert out[4] == DONE
    assert events.end() == b""


def test_a_stream_that_is_cut_short_is_no_answer() -> None:
    events = Events()
    events.feed(b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n')
    with pytest.raises(ModelFailed):
        events.end()


@pytest.mark.parametrize("nonsense", [b"<html>\n\n", b"x" * 100, b'{"error": 1}'])
def test_what_is_no_event_stream_is_noticed(nonsense: bytes) -> None:
    with pytest.raises(ModelFailed):
        Events().feed(nonsense)


@pytest.mark.parametrize(
    "usage",
    [None, 3, {}, {"prompt_tokens": -1}, {"prompt_tokens": True}, {"prompt_tokens": 10**9}, {"prompt_tokens": "1"}],
)
def test_a_record_that_makes_no_sense_is_none(usage: object) -> None:
    assert counts_in({"usage": usage}) is None


def test_the_responses_api_has_its_record_elsewhere() -> None:
    found = counts_in({"type": "response.completed", "response": {"usage": {"input_tokens": 3, "output_tokens": 4}}})
    assert found is not None
    assert (found.input_tokens, found.output_tokens) == (3, 4)


# ---------------------------------------------------------------- journal


def test_what_was_written_is_read_back_by_the_next(tmp_path: Path) -> None:
    first = journal.begin(tmp_path)
    first.opened("h1", ALICE)
    first.called("h1", "tiny", Use(1, 10, 2))
    first.posting("h1", 1)
    first.called("h1", "tiny", Use(1, 20, 3))
    first.opened("h2", ALICE)
    first.posting("h2", 1)
    first.posted("h2", 1)
    first.opened("h3", ALICE)
    first.closed("h3")
    assert list(journal.left_behind(tmp_path)) == [], "it is ours while we live"
    first.close()
    (left,) = journal.left_behind(tmp_path)
    holds = left.read()
    assert set(holds) == {"h1", "h2"}
    assert holds["h1"].sent == {"tiny": Use(1, 10, 2)}
    assert holds["h1"].open == {"tiny": Use(1, 20, 3)}
    assert (holds["h2"].number, holds["h2"].sent) == (1, None)
    assert not left.is_settled


@given(st.integers(0, 400))
@settings(deadline=None, max_examples=60)
def test_a_journal_that_a_crash_cut_short_is_read_as_far_as_it_goes(
    tmp_path_factory: pytest.TempPathFactory, length: int
) -> None:
    folder = tmp_path_factory.mktemp("journal")
    first = journal.begin(folder)
    first.opened("h1", ALICE)
    for _ in range(4):
        first.called("h1", "tiny", Use(1, 10, 2))
    first.close()
    whole = first.path.read_bytes()
    first.path.write_bytes(whole[:length])
    (left,) = journal.left_behind(folder)
    told = whole[:length].count(b"\n") + (whole[length : length + 1] == b"\n")  # one may lack its end alone
    calls = max(0, told - 1)
    holds = left.read()
    left.called("h1", "tiny", Use(1, 5, 5))  # the cut line must not swallow the next
    assert sum(use.calls for kept in left.read().values() for use in kept.open.values()) == calls + bool(holds)
    left.discard()


# ---------------------------------------------------------------- bounds and headers

SERVING = Serving((), 8192, 1024, 200_000, 800_000)


@given(st.integers(0, 10_000), st.integers(0, 5_000), st.integers(0, 10_000))
def test_the_output_that_a_grant_pays_for_is_paid_for(tokens: int, money: int, given_tokens: int) -> None:
    made = output_within(SERVING, Spend(tokens, money), given_tokens)
    if made > 0:
        assert Spend(tokens, money).covers(spend_of(SERVING, given_tokens, made))


def test_a_call_is_bound_by_its_bytes_its_prompts_and_its_choices() -> None:
    raw = json.dumps({"model": "m", "prompt": ["a", "b"], "n": 3, "max_tokens": 10}).encode()
    call = asked.read(asked.COMPLETIONS, raw)
    assert call.choices == 6
    assert call.input_bound(SERVING) == len(raw)
    assert call.output_bound(SERVING) == 10
    assert asked.read(asked.CHAT, b'{"model": "m"}').output_bound(SERVING) == 1024
    assert asked.read(asked.EMBEDDINGS, b'{"model": "m", "input": "x"}').output_bound(SERVING) == 0


def test_what_the_caller_set_is_left_as_it_is() -> None:
    call = asked.read(asked.CHAT, b'{"model": "m", "max_completion_tokens": 9, "temperature": 0.5, "user": "u"}')
    sent = json.loads(asked.forwarded(call, "there", None, asks_usage=True, counts_running=False))
    assert sent == {"model": "there", "max_completion_tokens": 9, "temperature": 0.5, "user": "u"}


def test_nothing_is_to_be_kept_by_the_servers_either() -> None:
    call = asked.read(asked.RESPONSES, b'{"model": "m", "input": "x", "store": true}')
    assert json.loads(asked.forwarded(call, "there", 5, asks_usage=True, counts_running=False))["store"] is False


def test_limits_as_headers() -> None:
    limits = (Limit("model_tokens", 1000, 250, "day", 1060.5), Limit("money_microunits", 9, -1, "month"))
    assert header_lines(limits, 1000.0).split("\n") == [
        '"model_tokens-day";r=250;t=61, "money_microunits-month";r=0',
        '"model_tokens-day";q=1000;w=86400, "money_microunits-month";q=9',
    ]
    assert header_lines((), 0.0) == ""
    assert header_lines((Limit("a", 1, 1, "P30D"),), 0.0).endswith('"a-p30d";q=1;w=2592000')
