"""The store's own part: allowances, use by model, acceptances. On memory, SQLite and PostgreSQL alike."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from sublet_hub.domain.acceptances import Acceptance
from sublet_hub.domain.accounts import Subject, group, user
from sublet_hub.domain.allowances import Allowance, ModelUse
from sublet_hub.domain.amounts import ZERO, Amount, Micros
from sublet_hub.domain.errors import Conflict
from sublet_hub.domain.windows import BUCKET_MS
from sublet_hub.storage.store import Store
from tests.storage.examples import LARGEST, NOON_MS, amount

ALICE, LAB = user("alice"), group("lab ümlaut")


def allowance(allowance_id: str, **changes: Any) -> Allowance:
    fields: dict[str, Any] = {
        "id": allowance_id,
        "user": "alice",
        "account": ALICE,
        "granted_at_ms": NOON_MS,
        "expires_at_ms": NOON_MS + 60_000,
        "held": amount(0, 40_000, 50_000),
        "posted_at_ms": NOON_MS,
    }
    return Allowance(**{**fields, **changes})


FULL = allowance(
    "full", user="bob", account=LAB, held=ZERO, posted=amount(0, LARGEST, LARGEST), posts=7, post_mark="mark",
    posted_at_ms=NOON_MS + 5, closed_at_ms=NOON_MS + 9,
)  # fmt: skip


def test_an_allowance_comes_back_as_it_was_and_is_there_once(store: Store) -> None:
    with store.transaction(write=True) as tx:
        tx.add_allowance(allowance("a"))
        tx.add_allowance(FULL)
    with store.transaction(write=True) as tx:
        assert (tx.allowance("a"), tx.allowance("full"), tx.allowance("none")) == (allowance("a"), FULL, None)
        tx.save_allowance(replace(FULL, id="a"))
        with pytest.raises(KeyError):
            tx.save_allowance(replace(FULL, id="none"))
    with store.transaction(write=False) as tx:
        assert tx.allowance("a") == replace(FULL, id="a")
    with pytest.raises(Conflict), store.transaction(write=True) as tx:
        tx.add_allowance(allowance("a"))


def test_what_is_open_is_held_by_its_account(store: Store) -> None:
    with store.transaction(write=True) as tx:
        for each in (allowance("a"), allowance("b", held=amount(0, 1, 2)), allowance("lab", account=LAB), FULL):
            tx.add_allowance(each)
        tx.add_allowance(allowance("closed", closed_at_ms=NOON_MS))
    with store.transaction(write=False) as tx:
        assert sorted(each.id for each in tx.open_allowances(ALICE)) == ["a", "b"]
        assert tx.held_by_allowances(ALICE) == Amount(money=Micros(40_001), tokens=50_002)
        assert tx.held_by_allowances(LAB) == amount(0, 40_000, 50_000)
        assert tx.held_by_allowances(user("nobody")) == ZERO
        assert tx.held_by_all_allowances() == {each: tx.held_by_allowances(each) for each in (ALICE, LAB)}


def test_the_expired_are_found_oldest_first_and_the_old_are_dropped(store: Store) -> None:
    with store.transaction(write=True) as tx:
        for n in range(4):
            tx.add_allowance(allowance(f"open-{n}", expires_at_ms=NOON_MS + 10 - n))
            tx.add_allowance(allowance(f"closed-{n}", expires_at_ms=NOON_MS, closed_at_ms=NOON_MS + n))
    with store.transaction(write=True) as tx:
        assert [each.id for each in tx.expired_allowances(NOON_MS + 9, 10)] == ["open-3", "open-2", "open-1"]
        assert [each.id for each in tx.expired_allowances(NOON_MS + 9, 1)] == ["open-3"]
        assert tx.drop_allowances(NOON_MS + 3, 2) == 2
        assert [tx.allowance(f"closed-{n}") is None for n in range(4)] == [True, True, False, False]
        assert tx.drop_allowances(NOON_MS + 3, 10) == 1
        assert len(tx.open_allowances(ALICE)) == 4


def test_use_by_model_adds_up_by_bucket(store: Store) -> None:
    first, second = NOON_MS - NOON_MS % BUCKET_MS, NOON_MS - NOON_MS % BUCKET_MS + BUCKET_MS
    one = ModelUse(1, 10, 20, Micros(3))
    with store.transaction(write=True) as tx:
        tx.add_model_use(ALICE, first, {"llama": one, "fasttext": one})
        tx.add_model_use(ALICE, first, {"llama": one})
        tx.add_model_use(ALICE, second, {"llama": ModelUse(LARGEST // 4, LARGEST // 4, 0, Micros(LARGEST // 4))})
        tx.add_model_use(LAB, first, {"llama": one})
        tx.add_model_use(LAB, first, {})
    with store.transaction(write=False) as tx:
        assert tx.model_use(ALICE, first, second) == {"fasttext": one, "llama": one + one}
        both = tx.model_use(ALICE, 0, 2**62)["llama"]
        assert both == ModelUse(LARGEST // 4 + 2, LARGEST // 4 + 20, 40, Micros(LARGEST // 4 + 6))
        assert tx.model_use(ALICE, second + 1, 2**62) == {}
        assert tx.model_use(LAB, first, second) == {"llama": one}


def accepted(number: int, subject: Subject = ALICE, licence: str = "llama", version: str = "1") -> Acceptance:
    return Acceptance(number, subject, licence, version, f"user:by {number}", NOON_MS + number)


def test_acceptances_are_found_by_whose_they_are_and_listed_in_pages(store: Store) -> None:
    kept = [
        accepted(2),
        accepted(3, LAB),
        accepted(5, licence="sam"),
        accepted(9, version="2"),
        accepted(11, user("b")),
    ]
    with store.transaction(write=True) as tx:
        for each in kept:
            tx.add_acceptance(each)
    with store.transaction(write=False) as tx:
        assert tx.acceptances_of([LAB, ALICE, user("none")]) == kept[:4]
        assert tx.acceptances_of([]) == []
        assert tx.acceptances_of([user(str(n)) for n in range(450)] + [LAB]) == [kept[1]]
        assert tx.acceptances(licence=None, after=0, limit=2) == kept[:2]
        assert tx.acceptances(licence=None, after=3, limit=9) == kept[2:]
        assert tx.acceptances(licence="sam", after=0, limit=9) == [kept[2]]


@pytest.mark.parametrize("again", [accepted(2, LAB), accepted(3)])
def test_an_acceptance_is_there_once(store: Store, again: Acceptance) -> None:
    with store.transaction(write=True) as tx:
        tx.add_acceptance(accepted(2))
    with pytest.raises(Conflict), store.transaction(write=True) as tx:
        tx.add_acceptance(again)
