"""Models on the real platform: a server sees the open ones, and a gated one once its licence is accepted."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from sublet_hub.cluster.records import read_record
from sublet_hub.models_store import Store
from sublet_hub.models_store.adding import Adding
from sublet_hub.models_store.sources import FolderSource
from tests.fixtures.models import GATED, catalogue_of, contents, model_of, toml_of, write
from tests.fixtures.platform import Platform, Session, wait_until

pytestmark = [pytest.mark.platform, pytest.mark.timeout(400)]

FILES = contents(weight_bytes=1000)
TINY, LLAMA, OTHER = model_of(FILES), model_of(FILES, "llama", GATED), model_of(FILES, "other-llama", GATED)
OPEN = {f"open/tiny/r1/{name}" for name in FILES} | {"open/catalog.json"}
ACCEPTED = {f"gated/{model.name}/r1/{name}" for model in (LLAMA, OTHER) for name in FILES}


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    folder = tmp_path_factory.mktemp("platform")
    made = Platform(folder, {"SUBLET_STARTER_MODELS": "none", "SUBLET_SIMULATED_GPUS": "2"})
    made.data.mkdir()
    made.data.chmod(0o711)
    (made.data / "models.toml").write_text(toml_of(catalogue_of(TINY, LLAMA, OTHER)))
    for model in (TINY, LLAMA, OTHER):
        Adding(Store(made.data / "models"), model, FolderSource(str(write(folder / "usb", FILES)))).run()
    try:
        yield made.start()
    finally:
        made.stop()


def seen(platform: Platform, session: Session) -> dict[str, set[str]]:
    """What a new server of a user sees of the store; it is stopped again."""
    session.start_server(flavor="cpu").raise_for_status()
    wait_until(lambda: (session.server() or {}).get("ready"), 60, f"the server of {session.user} answers")
    lease = platform.leases(user=session.user)[0]
    path = platform.data / "homes" / session.user / f"models-{lease['id']}.json"
    wait_until(path.exists, 20, "the server has looked")
    session.stop_server().raise_for_status()
    wait_until(lambda: session.server() is None, 60, f"the server of {session.user} has stopped")
    return {what: set(names) for what, names in json.loads(path.read_text()).items()}


def confinement(platform: Platform) -> str:
    """How far this system lets servers be kept apart."""
    folder = next(path.parent for path in (platform.data / "leases").glob("**/record.jsonl"))
    started = read_record(folder).started
    assert started is not None
    return started.sandbox


def test_a_server_sees_gated_models_from_its_first_start_after_the_acceptance(platform: Platform) -> None:
    alice, bob = platform.sign_in("alice"), platform.sign_in("bob")
    before = seen(platform, alice)
    if confinement(platform) == "none":
        pytest.skip("this system allows no namespaces")
    assert before == {"readable": OPEN, "writable": set()}
    body = {"licence": GATED.name, "version": GATED.version}
    alice.client.post("/services/sublet/api/models/llama/acceptance", json=body).raise_for_status()
    assert seen(platform, alice) == {"readable": OPEN | ACCEPTED, "writable": set()}
    assert seen(platform, bob) == {"readable": OPEN, "writable": set()}
