"""A real platform whose servers answer at once, never, or break, as users' names say; and people in every state."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser.pages.visits import OTHER_SERVICE, Visit
from tests.fixtures.browser import Contexts, SignIn, chromium, complaints, contexts, signing_in
from tests.fixtures.platform import ROOT, Platform, wait_until

__all__ = ["chromium", "complaints", "contexts"]

SERVER = ROOT / "tests" / "hub" / "fake_singleuser.py"
NOTEBOOK = ROOT / ".venv-notebook" / "bin" / "python"

EXTRA_CONFIG = f"""
c = get_config()
c.LocalLeaseSpawner.cmd = [{str(NOTEBOOK)!r}, {str(SERVER)!r}]
c.LocalLeaseSpawner.sublet_readable = [{str(SERVER.parent)!r}]
c.JupyterHub.services.append({OTHER_SERVICE!r})
"""


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    if not NOTEBOOK.exists():
        pytest.skip("no .venv-notebook: run `make setup`")
    folder: Path = tmp_path_factory.mktemp("pages")
    (folder / "extra.py").write_text(EXTRA_CONFIG)
    settings = {
        "SUBLET_HUB_EXTRA_CONFIG": str(folder / "extra.py"),
        "SUBLET_TOKEN_CACHE_SECONDS": "1",
        "SUBLET_CONTACT": "gpu-admins@example.org",
    }
    made = Platform(folder, settings, tiny=False).start()
    people(made)
    yield made
    assert made.stop() == 0


def people(platform: Platform) -> None:
    """Somebody with servers, somebody in groups, somebody without quota, somebody whose server was ended."""
    admin = platform.sign_in("admin")
    for group in ("vision-lab", "a-group-with-quite-a-long-name-for-a-group"):
        admin.client.post(f"/hub/api/groups/{group}").raise_for_status()
        platform.sign_in("grace")
        admin.client.post(f"/hub/api/groups/{group}/users", json={"users": ["grace"]}).raise_for_status()
    for user in ("spent", "ended"):
        session = platform.sign_in(user)
        if user == "ended":
            session.start_server("", flavor="simulated-gpu-1x", tier="guaranteed").raise_for_status()
            wait_until(lambda: platform.leases(user="ended", state="active"), 30, "the lease is active")
        quota = {
            "limits": [{"what": "gpu_seconds", "limit": 0, "window": "week", "flavor": None}],
            "time_zone": "UTC",
        }
        with platform.admin() as api:
            api.put(f"/hub/api/quotas/users/{user}", json=quota).raise_for_status()
            for lease in platform.leases(user="ended", state="active"):
                stop = {"immediately": True, "why": "a test"}
                api.post(f"/services/sublet/api/leases/{lease['id']}/stop", json=stop).raise_for_status()
    runner = platform.sign_in("runner")
    runner.start_server("", flavor="simulated-gpu-1x", tier="guaranteed").raise_for_status()
    runner.start_server("training-of-a-large-model", flavor="cpu").raise_for_status()
    wait_until(lambda: len(platform.leases(user="runner", state="active")) == 2, 60, "both leases are active")
    wait_until(lambda: platform.sign_in("ended").server() is None, 30, "the hub has seen that the server is gone")


@pytest.fixture
def sign_in(platform: Platform, contexts: Contexts, complaints: list[str]) -> SignIn:
    return signing_in(platform, contexts, complaints)


@pytest.fixture
def visit(platform: Platform, contexts: Contexts) -> Iterator[Visit]:
    with Visit(platform, contexts()) as made:
        yield made
