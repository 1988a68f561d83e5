"""Long calls take memory, and nobody can have all of it."""

from __future__ import annotations

import socket
from contextlib import ExitStack
from functools import partial

import pytest

from sublet_hub.gateway import room as module
from sublet_hub.gateway.errors import ModelBusy
from sublet_hub.gateway.room import ACCOUNT_BYTES_MAX, ALL_BYTES_MAX, PART_BYTES, SHORT_BYTES, Room
from tests.fixtures.site import wait_until
from tests.gateway.conftest import World
from tests.gateway.running import CHAT

MEBIBYTE = 2**20


def test_one_account_has_half_and_two_have_all() -> None:
    room = Room()
    with ExitStack() as calls:
        for account in ("user:ann", "user:ben"):
            calls.enter_context(room.share(account)).take(ACCOUNT_BYTES_MAX)
            with pytest.raises(ModelBusy, match="your account has") as busy:
                calls.enter_context(room.share(account)).take(2 * SHORT_BYTES + 1)
            assert busy.value.retry_at_ms
        with pytest.raises(ModelBusy, match="there are too many"):
            calls.enter_context(room.share("user:cleo")).take(3 * SHORT_BYTES + 1)
        calls.enter_context(room.share("user:cleo")).take(SHORT_BYTES)
    assert (room.taken, room._of_accounts) == (0, {})
    with room.share("user:cleo") as share:
        share.take(ACCOUNT_BYTES_MAX)


def test_a_call_that_finds_no_room_leaves_what_it_had() -> None:
    room = Room()
    with room.share("user:ann") as share:
        for _ in range(ACCOUNT_BYTES_MAX // MEBIBYTE):
            share.take(MEBIBYTE)
        with pytest.raises(ModelBusy):
            share.take(MEBIBYTE)
        assert room.taken == ACCOUNT_BYTES_MAX - SHORT_BYTES
    assert (room.taken, room._of_accounts) == (0, {})


def test_what_is_many_small_things_takes_more_than_its_bytes() -> None:
    lists, text = b"[" + b"[]," * 100_000 + b"[]]", b'"' + b"a" * 300_000 + b'"'
    sizes = []
    for sent in (lists, text):
        room = Room()
        with room.share("user:ann") as share:
            share.take(len(sent))
            share.take_parts(sent)
            sizes.append(room.taken)
    assert sizes[0] > 100_000 * 2 * PART_BYTES
    assert sizes[1] == len(text)
    assert ALL_BYTES_MAX > 16 * MEBIBYTE, "one of the longest calls always finds room"


def test_short_calls_are_never_kept_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ALL_BYTES_MAX", 0)
    with Room().share("user:ann") as share:
        share.take(SHORT_BYTES)
        share.take_parts(b"[" * SHORT_BYTES)
        with pytest.raises(ModelBusy):
            share.take(1)


def test_a_gateway_refuses_long_calls_that_there_is_no_room_for_and_answers_short_ones(world: World) -> None:
    """Six calls of 16 MiB are all that one account may have; here they never come to their end."""
    token = world.user("zoe")
    head = (
        f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Length: {16 * MEBIBYTE}\r\n\r\n"
    )
    with ExitStack() as kept:
        for number in range(1, 7):
            sending = kept.enter_context(socket.create_connection(("127.0.0.1", world.gateway.port), timeout=60))
            sending.sendall(head.encode() + b" " * (16 * MEBIBYTE - 1))
            taken = number * (16 * MEBIBYTE - 1 - SHORT_BYTES)
            wait_until(partial(holds, world, taken), 30, "it has come")
        refused = world.gateway.chat("x" * MEBIBYTE, token, max_tokens=1)
        assert refused.status_code == 503
        assert refused.json()["type"].endswith("/model-busy")
        assert refused.headers["x-should-retry"] == "true"
        assert world.gateway.chat("hi", token, max_tokens=1).status_code == 200
        assert world.gateway.chat("x" * MEBIBYTE, world.user("abe"), max_tokens=1).status_code == 200
    wait_until(partial(holds, world, 0), 30, "all is free again")


def holds(world: World, size: int) -> bool:
    return world.gateway.metric("sublet_gateway_body_bytes") == size
