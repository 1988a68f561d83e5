"""Leases of models' servers: what the gateway's token can do with them, and all that it can't."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from sublet_hub.domain import accounts
from sublet_hub.domain.accounts import Subject
from sublet_hub.domain.lease import EndReason
from sublet_hub.domain.model_leases import Holder
from sublet_hub.hub.access import GATEWAY_SERVICE, roles
from sublet_hub.storage import leasing, metering
from sublet_hub.storage.memory import MemoryStore
from tests.api.conftest import API, Running, problem, running

NAME = "model:tiny-3fa2"
WANTED: dict[str, Any] = {
    "user": "boss",
    "account": "user:boss",
    "flavor": "gpu-1x",
    "tier": "surplus",
    "kind": "worker",
    "server_name": NAME,
}
LEASES_OF_HOLDER = f"{API}/leases?user=boss&account=user:boss"


@pytest.fixture
async def owned() -> AsyncIterator[Running]:
    """An api whose settings name `boss` as who pays for models' servers."""
    async with running(MemoryStore(), model_holder=Holder("boss", accounts.user("boss"))) as platform:
        platform.hub.tokens["gateway"] = ("service", "sublet-gateway", ["custom:models:serve", "custom:models:lease"])
        yield platform


async def ask_for(platform: Running, token: str = "gateway", **changes: Any) -> Any:
    return await platform.ask("POST", f"{API}/leases", token, json={**WANTED, **changes})


async def test_the_gateway_has_a_lease_on_the_holders_account_and_lists_it(owned: Running) -> None:
    granted = await ask_for(owned)
    assert granted.status_code == 201
    lease = granted.json()
    assert (lease["user"], lease["account"], lease["kind"], lease["devices"]) == (
        *("boss", "user:boss", "worker"),
        ["SIM-0"],
    )
    listed = (await owned.ask("GET", LEASES_OF_HOLDER, "gateway")).json()
    assert [each["id"] for each in listed] == [lease["id"]]
    assert (await owned.ask("GET", f"{API}/leases/{lease['id']}", "gateway")).status_code == 200


@pytest.mark.parametrize(
    "other",
    [
        {"user": "alice", "account": "user:alice"},
        {"account": "group:lab", "groups": ["lab"]},
        {"user": "alice", "account": "group:lab", "groups": ["lab"]},
        {"kind": "notebook"},
        {"kind": "notebook", "server_name": ""},
        {"server_name": "train"},
        {"server_name": ""},
    ],
)
async def test_the_gateway_has_no_other_lease(owned: Running, other: dict[str, Any]) -> None:
    problem(await ask_for(owned, **other), 403, "not-allowed")


async def test_the_gateway_sees_and_ends_no_other_lease(owned: Running) -> None:
    others = [owned.lease("alice"), owned.lease("boss", accounts.user("boss"), flavor="mig-1x")]
    for lease in others:
        problem(await owned.ask("GET", f"{API}/leases/{lease.id}", "gateway"), 404, "not-found")
        problem(await owned.ask("POST", f"{API}/leases/{lease.id}/stop", "gateway", json={}), 404, "not-found")
    for query in ("", "?user=alice", "?user=boss", "?account=user:boss", "?user=boss&account=user:alice"):
        problem(await owned.ask("GET", f"{API}/leases{query}", "gateway"), 403, "not-allowed")


async def test_without_an_account_in_the_settings_the_scope_is_worth_nothing(platform: Running) -> None:
    platform.hub.tokens["gateway"] = ("service", "sublet-gateway", ["custom:models:lease"])
    problem(await ask_for(platform), 403, "not-allowed")
    problem(await platform.ask("GET", LEASES_OF_HOLDER, "gateway"), 403, "not-allowed")


async def test_nobody_else_is_let_in_by_a_holder(owned: Running) -> None:
    for token in ("boss", "admin", "reader", "alice"):
        problem(await ask_for(owned, token), 403, "not-allowed")
    owned.hub.tokens["gateway"] = ("service", "sublet-gateway", ["custom:models:serve"])
    owned.seconds[0] += 60
    problem(await ask_for(owned), 403, "not-allowed")


def started(platform: Running, lease_id: str) -> None:
    metering.start(platform.books, lease_id, platform.clock.now_ms())


async def give_back(platform: Running, lease_id: str, **said: str) -> dict[str, Any]:
    answer = await platform.ask("POST", f"{API}/leases/{lease_id}/stop", "gateway", json={"why": "no calls", **said})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def reasons(platform: Running, lease_id: str) -> tuple[str | None, int]:
    """What an ordered end is for, and how many were warned of it."""
    with platform.books.store.transaction(write=False) as tx:
        lease = tx.lease(lease_id)
        assert lease is not None
        notices = tx.notices(user=None, lease_id=lease_id, current_only=False, limit=10)
    return None if lease.ordered is None else lease.ordered.reason.value, len(notices)


async def test_one_that_is_given_back_ends_at_once_as_idle_and_warns_nobody(owned: Running) -> None:
    lease_id = (await ask_for(owned)).json()["id"]
    started(owned, lease_id)
    assert (await give_back(owned, lease_id))["state"] == "ending"
    assert await reasons(owned, lease_id) == ("idle", 0)
    record = (await owned.ask("GET", f"{API}/audit?action=lease.stopped", "boss")).json()[0]
    assert (record["actor"], record["reason"]) == ("service:sublet-gateway", "no calls")


async def test_one_that_was_warned_ends_for_what_it_was_warned_of(owned: Running) -> None:
    lease_id = (await ask_for(owned)).json()["id"]
    started(owned, lease_id)
    leasing.order_end(owned.books, lease_id, at_ms=None, reason=EndReason.ADMIN, actor="boss", why="maintenance")
    owned.clock.turn(60_000)
    metering.beat(owned.books)
    assert (await give_back(owned, lease_id))["state"] == "ending"
    assert await reasons(owned, lease_id) == ("admin", 1)


async def test_a_gateway_that_stops_says_so(owned: Running) -> None:
    lease_id = (await ask_for(owned)).json()["id"]
    started(owned, lease_id)
    await give_back(owned, lease_id, reason="shutdown")
    assert await reasons(owned, lease_id) == ("shutdown", 0)


async def test_a_notice_of_one_speaks_of_no_notebook(owned: Running) -> None:
    lease_id = (await ask_for(owned)).json()["id"]
    started(owned, lease_id)
    leasing.order_end(owned.books, lease_id, at_ms=None, reason=EndReason.ADMIN, actor="boss", why="")
    (notice,) = (await owned.ask("GET", f"{API}/notices", "boss")).json()
    assert notice["message"].startswith("This server of a model stops soon because an admin has ended it.")


@pytest.mark.parametrize(
    ("with_leases", "scopes"),
    [(False, ["custom:models:serve"]), (True, ["custom:models:serve", "custom:models:lease"])],
)
def test_the_hub_gives_the_gateway_the_scope_only_where_an_account_is_named(
    with_leases: bool, scopes: list[str]
) -> None:
    (gateway,) = [each for each in roles([], with_model_leases=with_leases) if GATEWAY_SERVICE in each["services"]]
    assert gateway["scopes"] == scopes


def test_a_groups_account_has_its_user(tmp_path: Any) -> None:
    from sublet_hub.catalog import model_holder
    from sublet_hub.settings import SettingsError, load_settings

    def holder(**env: str) -> Holder | None:
        return model_holder(load_settings({"SUBLET_DATA": str(tmp_path), **env}))

    assert holder() is None
    assert holder(SUBLET_MODEL_ACCOUNT="user:ann") == Holder("ann", Subject("user", "ann"))
    with pytest.raises(SettingsError, match="model_user"):
        holder(SUBLET_MODEL_ACCOUNT="group:lab")
    both = holder(SUBLET_MODEL_ACCOUNT="group:lab", SUBLET_MODEL_USER="ann")
    assert both == Holder("ann", Subject("group", "lab"))
    with pytest.raises(SettingsError, match="model_account"):
        holder(SUBLET_MODEL_ACCOUNT="ann")
