"""The models of the platform as the server's own browser asks for them: forwarded, with what lies on this server."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.extension.models_store import GATED, fill, make_model
from tests.extension.server.conftest import Start
from tests.extension.server.stand_in import TOKEN, StandIn, problem

LISTED = [{"name": "open-one"}, {"name": "gated-one"}, {"name": "gated-two"}]


def test_models_are_the_platforms_and_told_with_what_is_on_disk(
    platform: StandIn, folder: Path, start: Start
) -> None:
    files = {"model.safetensors": b"weights"}
    store = fill(
        folder / "models",
        (make_model("open-one", files), files),
        (make_model("not-fetched", files), files),
        (make_model("gated-one", files, licence=GATED), files),
        (make_model("gated-two", files, licence=GATED), files),
        without=("not-fetched",),
    )
    shutil.rmtree(store / "gated" / "gated-two")  # what isn't accepted isn't mounted
    platform.answers["GET", "/models"] = (200, LISTED)
    server = start({"SUBLET_MODELS_DIR": str(store)})
    answer = server.client.get("sublet/models")
    assert answer.status_code == 200
    assert answer.json() == {"models": LISTED, "here": ["open-one", "gated-one"]}
    assert platform.tokens == {f"token {TOKEN}"}

    detail = {"name": "gated-two", "licence": {"text": "You may."}}
    platform.answers["GET", "/models/gated-two"] = (200, detail)
    assert server.client.get("sublet/models/gated-two").json() == detail

    platform.answers["POST", "/models/gated-two/acceptance"] = (201, {"number": 7})
    body = {"licence": "llama", "version": "2024-09-25"}
    accepted = server.client.post("sublet/models/gated-two/acceptance", json=body, headers={"Idempotency-Key": "k"})
    assert (accepted.status_code, accepted.json()) == (201, {"number": 7})
    assert ("POST", "/models/gated-two/acceptance", body) in platform.asked

    conflict = problem(409, "conflict", "It is of version 2026-01-01 now. Read that one first.")
    platform.answers["POST", "/models/gated-two/acceptance"] = (409, conflict)
    refused = server.client.post("sublet/models/gated-two/acceptance", json=body)
    assert (refused.status_code, refused.json()["detail"]) == (409, conflict["detail"])

    asked = len(platform.asked)
    for path in ("sublet/models/..%2Fquota", "sublet/models/UPPER", "sublet/models/a%2Fb"):
        assert server.client.get(path).status_code == 404
    assert all("models" not in path for _, path, _ in platform.asked[asked:])
    assert all(path != "/quota" for _, path, _ in platform.asked[asked:])

    platform.is_away = True
    away = server.client.get("sublet/models")
    assert away.status_code == 503
    assert "Your lease runs on" in away.json()["detail"]


def test_without_a_store_nothing_is_on_disk(platform: StandIn, start: Start) -> None:
    platform.answers["GET", "/models"] = (200, LISTED)
    assert start().client.get("sublet/models").json() == {"models": LISTED, "here": []}
