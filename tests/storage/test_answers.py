from __future__ import annotations

import pytest

from sublet_hub.domain.errors import Conflict
from sublet_hub.storage.store import SavedAnswer, Store

ANSWER = SavedAnswer("print", 201, '{"id": "ü"}', 1000)


def test_an_answer_is_kept_by_actor_and_key(store: Store) -> None:
    with store.transaction(write=True) as tx:
        tx.save_answer("alice", "k", ANSWER)
    with store.transaction(write=False) as tx:
        assert tx.saved_answer("alice", "k") == ANSWER
        assert tx.saved_answer("bob", "k") is None
        assert tx.saved_answer("alice", "K") is None


def test_a_key_is_answered_once_and_what_came_with_the_second_is_undone(store: Store) -> None:
    with store.transaction(write=True) as tx:
        tx.save_answer("alice", "k", ANSWER)

    def answer_again() -> None:
        with store.transaction(write=True) as tx:
            tx.beat("meter", 1)
            tx.save_answer("alice", "k", SavedAnswer("other", 200, "", 2000))

    with pytest.raises(Conflict):
        answer_again()
    with store.transaction(write=False) as tx:
        assert tx.saved_answer("alice", "k") == ANSWER
        assert tx.last_beat("meter") is None


def test_an_actors_answers_are_counted(store: Store) -> None:
    with store.transaction(write=True) as tx:
        for at_ms in (999, 1001, 1000):
            tx.save_answer("alice", str(at_ms), SavedAnswer("print", 200, "", at_ms))
        tx.save_answer("bob", "k", ANSWER)
        assert tx.answers_of("alice", 0) == (3, 999)
        assert tx.answers_of("alice", 1000) == (2, 1000)
        assert tx.answers_of("carol", 0) == (0, 0)


def test_old_answers_are_dropped(store: Store) -> None:
    with store.transaction(write=True) as tx:
        for at_ms in (999, 1000, 1001):
            tx.save_answer("alice", str(at_ms), SavedAnswer("print", 200, "", at_ms))
        assert tx.drop_answers(1000) == 1
        assert tx.drop_answers(1000) == 0
        assert tx.saved_answer("alice", "999") is None
        assert tx.saved_answer("alice", "1000") is not None


def test_the_last_heartbeat_of_each_process(store: Store) -> None:
    with store.transaction(write=True) as tx:
        assert tx.last_beat("meter") is None
        tx.beat("meter", 1)
        tx.beat("meter", 2)
        tx.beat("api", 3)
        assert (tx.last_beat("meter"), tx.last_beat("api")) == (2, 3)
