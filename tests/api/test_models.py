"""Models: what is shown of them, who may accept a licence, and what an acceptance opens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from sublet_hub.api.app import Options
from sublet_hub.api.shelf import Shelf
from sublet_hub.domain import accounts
from sublet_hub.settings import Settings
from sublet_hub.storage import accepting
from sublet_hub.storage.audit import verify_audit
from tests.api.conftest import API, Running, problem
from tests.fixtures.model_catalogue import LLAMA, SAM, catalogue

PRESENT = {"licence": LLAMA.name, "version": LLAMA.version}


async def models(platform: Running, token: str = "alice") -> dict[str, Any]:
    response = await platform.ask("GET", f"{API}/models", token)
    assert response.status_code == 200, response.text
    return {each["name"]: each for each in response.json()}


async def accept(
    platform: Running, token: str, model: str = "llama-big", key: str | None = None, **body: Any
) -> httpx.Response:
    headers = {} if key is None else {"Idempotency-Key": key}
    return await platform.ask("POST", f"{API}/models/{model}/acceptance", token, headers, json={**PRESENT, **body})


async def test_a_model_is_shown_with_its_terms_price_and_what_it_fits(platform: Running) -> None:
    shown = await models(platform)
    assert list(shown) == ["tiny-llama", "llama-big", "sam-3"]
    assert shown["tiny-llama"] == {
        "name": "tiny-llama", "title": "Tiny Llama", "family": "Llama", "task": "Chat",
        "description": "A toy for trying things out.", "repository": "sublet/tiny-llama", "revision": "v1",
        "parameters": 2_000_000, "dtype": "bfloat16", "memory_bytes": 2**26, "size_bytes": 4_000_700,
        "loader": "transformers", "formats": ["json", "safetensors"], "on_disk": True,
        "served": {"context_tokens": 8192, "output_tokens_max": 2048, "currency": "USD",
                   "input_microunits_per_million_tokens": 200_000, "output_microunits_per_million_tokens": 800_000},
        "flavors": ["gpu-1x", "gpu-2x", "mig-1x", "cpu"],
        "licence": {"name": "apache-2.0", "title": "Apache License 2.0", "version": "2.0", "gated": False,
                    "url": "https://www.apache.org/licenses/LICENSE-2.0", "accepted": True, "accepted_by": []},
        "example": 'sublet.models.load("tiny-llama")',
    }  # fmt: skip
    assert (shown["llama-big"]["flavors"], shown["llama-big"]["on_disk"]) == ([], False)
    assert (shown["sam-3"]["served"], shown["sam-3"]["licence"]["accepted"]) == (None, False)
    assert "upstreams" not in str(shown), "where models are served is nobody's business"


async def test_one_accepts_for_oneself_once(platform: Running) -> None:
    first = await accept(platform, "alice")
    assert first.json() == {
        "number": 2, "account": "user:alice", "licence": "llama-3.2", "version": "2024-09-25",
        "accepted_by": "user:alice", "at": "2027-01-15T00:00:00.000Z",
    }  # fmt: skip
    platform.clock.turn(1000)
    assert (await accept(platform, "alice")).json() == first.json()
    assert (await models(platform))["llama-big"]["licence"]["accepted_by"] == ["user:alice"]
    assert not (await models(platform, "bob"))["llama-big"]["licence"]["accepted"]
    (record,) = (await platform.ask("GET", f"{API}/audit?action=licence.accepted", "boss")).json()
    assert (record["number"], record["subject"], record["after"]) == (2, "user:alice", PRESENT)
    assert verify_audit(platform.books, {}) is None


async def test_a_group_by_its_admin_and_nobody_else(platform: Running) -> None:
    """alice is a member of lab; bob may accept its licences; boss is a quota admin."""
    for token in ("alice", "bob", "alice-server"):
        document = problem(await accept(platform, token, account="group:lab"), 403, "not-allowed")
        assert document["detail"] == "Only an admin of group:lab accepts licences for it."
    problem(await accept(platform, "lab-admin", account="group:ops"), 403, "not-allowed")
    problem(await accept(platform, "boss", account="group:none"), 404, "not-found")
    assert (await accept(platform, "lab-admin", account="group:lab")).json()["accepted_by"] == "user:bob"
    assert (await accept(platform, "boss", account="group:ops")).status_code == 200
    assert (await models(platform))["llama-big"]["licence"]["accepted_by"] == ["group:lab"]


async def test_nobody_accepts_for_another(platform: Running) -> None:
    for token in ("bob", "boss", "lab-admin"):
        problem(await accept(platform, token, account="user:alice"), 403, "not-allowed")
    for token in ("admin", "spawner", "gateway"):
        problem(await accept(platform, token), 403, "not-allowed")


async def test_only_the_licence_that_there_is_now_is_accepted(platform: Running) -> None:
    for changed in ({"version": "2023"}, {"licence": "sam"}):
        problem(await accept(platform, "alice", **changed), 409, "conflict")
    problem(await accept(platform, "alice", "tiny-llama"), 409, "conflict")
    problem(await accept(platform, "alice", "no-such"), 404, "not-found")
    problem(await accept(platform, "alice", "No%20Such"), 422, "invalid-request")
    problem(await accept(platform, "alice", note="I read it"), 422, "invalid-request")


async def test_a_repeated_acceptance_is_one(platform: Running) -> None:
    answers = [await accept(platform, "alice", key="k") for _ in range(2)]
    assert answers[0].json() == answers[1].json()


async def test_in_a_server_counts_what_its_lease_is_paid_by(platform: Running) -> None:
    platform.lease("alice", accounts.group("lab"), server_name="train")
    platform.lease("alice")
    accepting.accept(platform.books, accounts.group("lab"), *PRESENT.values(), actor="user:boss")
    shown = {token: (await models(platform, token))["llama-big"]["licence"]["accepted"]
             for token in ("alice", "alice-train", "alice-server")}  # fmt: skip
    assert shown == {"alice": True, "alice-train": True, "alice-server": False}


async def test_what_a_program_in_a_server_accepts_is_told_apart(platform: Running) -> None:
    platform.lease("alice")
    await accept(platform, "alice-server")
    (record,) = (await platform.ask("GET", f"{API}/audit?action=licence.accepted", "boss")).json()
    assert record["reason"] == "by a program in a server of theirs"


async def test_a_grant_says_which_gated_models_its_server_may_read(platform: Running) -> None:
    async def granted(account: str) -> list[str]:
        wanted = {"user": "alice", "account": account, "flavor": "gpu-1x", "tier": "surplus", "groups": ["lab"]}
        found: list[str] = (await platform.ask("POST", f"{API}/leases", "spawner", json=wanted)).json()["models"]
        return found

    assert await granted("user:alice") == []
    accepting.accept(platform.books, accounts.group("lab"), SAM.name, SAM.version, actor="user:boss")
    accepting.accept(platform.books, accounts.user("alice"), *PRESENT.values(), actor="user:alice")
    assert await granted("user:alice") == [], "llama-big is not in the store, and the group doesn't pay"
    assert await granted("group:lab") == ["sam-3"]


async def test_admins_list_acceptances_in_pages(platform: Running) -> None:
    for user in ("alice", "bob", "boss"):
        await accept(platform, user)
    first = await platform.ask("GET", f"{API}/acceptances?limit=2", "reader")
    assert [each["account"] for each in first.json()] == ["user:alice", "user:bob"]
    link = first.headers["link"].partition("<")[2].partition(">")[0]
    assert [each["account"] for each in (await platform.ask("GET", link, "reader")).json()] == ["user:boss"]
    assert (await platform.ask("GET", f"{API}/acceptances?licence=sam", "reader")).json() == []
    problem(await platform.ask("GET", f"{API}/acceptances", "alice"), 403, "not-allowed")


async def test_use_of_models_is_ones_own_business_and_an_admins(platform: Running) -> None:
    seen = [("alice", "user:alice", 200), ("alice", "group:lab", 200), ("reader", "user:bob", 200)]
    for token, account, status in [*seen, ("alice", "user:bob", 403), ("bob", "group:lab", 403)]:
        path = f"{API}/model-use?account={account}"
        assert (await platform.ask("GET", path, token)).status_code == status, (token, account)
    problem(await platform.ask("GET", f"{API}/model-use", "reader"), 422, "invalid-request")
    for since in ("0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z"):
        assert (await platform.ask("GET", f"{API}/model-use?since={since}", "alice")).json()["days"] == []


def test_what_is_on_the_shelf(tmp_path: Path) -> None:
    (tmp_path / "models.toml").write_text("")
    (tmp_path / "sam.txt").write_text("You may.")
    settings = Settings(data=tmp_path)
    shelf, models = Shelf.of(settings, catalogue()), catalogue().models
    assert shelf.licence_texts == {"sam": "You may."}
    assert shelf.is_on_disk(models["sam-3"]), "where the store isn't seen, the catalogue's word counts"
    (settings.models_dir / models["tiny-llama"].folder).mkdir(parents=True)
    shelf = Shelf.of(settings, catalogue())
    assert [shelf.is_on_disk(each) for each in models.values()] == [True, False, False]


async def test_a_licences_text_is_shown_with_one_model(platform: Running) -> None:
    document = (await platform.ask("GET", f"{API}/models/sam-3", "alice")).json()
    assert document["licence"]["text"] is None
    problem(await platform.ask("GET", f"{API}/models/none", "alice"), 404, "not-found")
    assert Options(session_key=b"k").shelf == Shelf()


@pytest.mark.parametrize("path", ["models", "models/tiny-llama", "model-use", "acceptances"])
async def test_nobody_sees_them_without_a_token(platform: Running, path: str) -> None:
    problem(await platform.ask("GET", f"{API}/{path}"), 401, "not-signed-in")
