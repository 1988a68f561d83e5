"""The real hub and proxy over the fake api: a person signs in, chooses a flavor, works, stops."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from sublet_hub.cluster.local import LocalCluster
from sublet_hub.cluster.records import wall_ms
from sublet_hub.credentials import Credentials
from sublet_hub.run.first_start import make_folders, prepare
from sublet_hub.run.parts import Part, environment, parts_of
from sublet_hub.settings import Settings, load_settings
from tests.hub import fake_api
from tests.hub.fake_api import FakeApi, serve, used_up
from tests.run.conftest import PORT_NAMES, free_ports, wait_for

pytestmark = [pytest.mark.platform]

FAKE = Path(__file__).with_name("fake_singleuser.py")
TIMEOUT_SECONDS = 30

EXTRA_CONFIG = f"""
c = get_config()
c.LocalLeaseSpawner.cmd = [{sys.executable!r}, {str(FAKE)!r}]
c.LocalLeaseSpawner.sublet_readable = [{str(FAKE.parent)!r}]
c.Spawner.poll_interval = 1
"""


@dataclass
class Hub:
    settings: Settings
    credentials: Credentials
    api: FakeApi
    part: Part
    process: subprocess.Popen[bytes]

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(TIMEOUT_SECONDS)

    def restart(self) -> None:
        """Kill the hub as hard as it gets, and start it again."""
        self.kill()
        self.process = begin(self.part, self.settings)

    @contextmanager
    def signed_in(self, name: str) -> Iterator[httpx.Client]:
        with httpx.Client(
            base_url=self.settings.public_url, follow_redirects=True, trust_env=False, timeout=TIMEOUT_SECONDS
        ) as browser:
            browser.get("/hub/login")
            xsrf = browser.cookies.get("_xsrf", path="/hub/") or ""
            form = {"username": name, "password": self.credentials.user_password, "_xsrf": xsrf}
            assert browser.post("/hub/login?next=/hub/home", data=form).url.path == "/hub/home"
            browser.headers["X-XSRFToken"] = browser.cookies.get("_xsrf", path="/hub/") or ""
            yield browser


def begin(part: Part, settings: Settings) -> subprocess.Popen[bytes]:
    with (settings.data / f"{part.name}.txt").open("ab") as output:
        process = subprocess.Popen(part.argv, env=environment(settings, part), stdout=output, stderr=output)

    def answers() -> bool:
        assert process.poll() is None, (settings.data / f"{part.name}.txt").read_text()
        try:
            headers = dict(part.ready_headers)
            return httpx.get(part.ready_url, headers=headers, timeout=2, trust_env=False).status_code < 500
        except httpx.HTTPError:
            return False

    wait_for(answers, f"{part.name} to answer")
    return process


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    data = tmp_path_factory.mktemp("platform") / "data"
    extra = data.parent / "extra.py"
    extra.write_text(EXTRA_CONFIG)
    ports = zip(PORT_NAMES, free_ports(len(PORT_NAMES)), strict=True)
    settings = load_settings(
        {
            "SUBLET_DATA": str(data),
            "SUBLET_HUB_EXTRA_CONFIG": str(extra),
            "SUBLET_NOTEBOOK_PYTHON": sys.executable,
            **{f"SUBLET_{name}": str(port) for name, port in ports},
        }
    )
    make_folders(settings)
    secrets, credentials = prepare(settings)
    with pytest.MonkeyPatch.context() as patch, ExitStack() as stack:
        patch.setattr(fake_api, "TOKEN", secrets.spawner_token)
        api = stack.enter_context(serve(FakeApi(), settings.api_port))
        proxy, hub_part = parts_of(settings, secrets)[:2]
        proxy_process = begin(proxy, settings)
        hub = Hub(settings, credentials, api, hub_part, begin(hub_part, settings))
        yield hub
        for process in (hub.process, proxy_process):
            process.terminate()
            process.wait(TIMEOUT_SECONDS)
        end_servers(settings)


def end_servers(settings: Settings) -> None:
    cluster = LocalCluster(settings.data)
    for lease in cluster.observe():
        cluster.stop(lease.lease_id)
    wait_for(lambda: not any(lease.running for lease in cluster.observe()), "the servers to end")


@pytest.fixture(autouse=True)
def fresh(hub: Hub) -> None:
    hub.api.refusal = None
    hub.api.calls.clear()


def is_ready(browser: httpx.Client, name: str) -> bool:
    servers = browser.get(f"/hub/api/users/{name}").json()["servers"]
    return bool(servers.get("", {}).get("ready"))


def start(browser: httpx.Client, name: str, **form: str) -> httpx.Response:
    page = browser.get(f"/hub/spawn/{name}")
    action = re.search(r'id="spawn_form" action="([^"]*)"', page.text)
    assert action, page.text
    return browser.post(action[1].replace("&amp;", "&"), data=form)


def test_the_whole_way_from_signing_in_to_stopping(hub: Hub) -> None:
    with hub.signed_in("ada") as browser:
        home = browser.get("/hub/home")
        assert "Not running" in home.text
        assert "script-src 'self'" in home.headers["content-security-policy"]
        page = start(browser, "ada", offer="sim-1x/surplus", account="user:ada")
        assert page.url.path in {"/hub/spawn-pending/ada", "/user/ada/"}, page.text
        wait_for(lambda: is_ready(browser, "ada"), "the server to be ready")
        assert browser.get("/user/ada/").json() == {}
        (asked,) = hub.api.asked("POST", "/leases")
        assert (asked.body["user"], asked.body["flavor"], asked.body["tier"]) == ("ada", "sim-1x", "surplus")

        home = browser.get("/hub/home")
        for text in ("Running", "Simulated", "1 × Simulated GPU", "Runs until", "Your own account"):
            assert text in home.text
        assert browser.delete("/hub/api/users/ada/server").status_code in {202, 204}
        wait_for(lambda: not browser.get("/hub/api/users/ada").json()["servers"], "the server to be gone")
        assert [call.body["reason"] for call in hub.api.asked("POST", "/stop")] == ["user"]
        assert "Your server is not running" in browser.get("/hub/user/ada/").text


def test_a_server_that_is_stopped_is_reached_until_it_has_ended(hub: Hub) -> None:
    """Else a page could not save what is open in it."""
    with hub.signed_in("save-sam") as browser:
        start(browser, "save-sam", offer="cpu/guaranteed")
        wait_for(lambda: is_ready(browser, "save-sam"), "the server to be ready")
        home = hub.settings.homes_dir / "save-sam"
        (home / "address").write_text(f"{hub.settings.public_url}/user/save-sam/api/contents/notebook.ipynb")
        assert browser.delete("/hub/api/users/save-sam/server").status_code in {202, 204}
        wait_for(lambda: not browser.get("/hub/api/users/save-sam").json()["servers"], "the server to be gone")
        assert json.loads((home / "saved").read_bytes()) == {}, "the server itself has answered, not the hub"
        assert [call.body["reason"] for call in hub.api.asked("POST", "/stop")] == ["user"]
        assert "Your server is not running" in browser.get("/hub/user/save-sam/").text


def test_the_progress_of_a_start_tells_of_the_lease(hub: Hub) -> None:
    with hub.signed_in("bea") as browser:
        start(browser, "bea", offer="cpu/guaranteed")
        with browser.stream("GET", "/hub/api/users/bea/server/progress") as stream:
            events = [json.loads(line[6:]) for line in stream.iter_lines() if line.startswith("data: ")]
        assert events[-1].get("ready") is True
        # A quick start may be over before anyone looks; else all of it is told.
        if len(events) > 1:
            assert "Holding" in " ".join(event["message"] for event in events)


def test_a_server_lives_on_over_the_hubs_sudden_death_and_its_end_is_noticed(hub: Hub) -> None:
    with hub.signed_in("cleo") as browser:
        start(browser, "cleo", offer="cpu/guaranteed")
        wait_for(lambda: is_ready(browser, "cleo"), "the server to be ready")
        hub.restart()
        assert is_ready(browser, "cleo")
        assert browser.get("/user/cleo/").json() == {}
        (lease,) = (lease["id"] for lease in hub.api.leases.values() if lease["user"] == "cleo")
        LocalCluster(hub.settings.data).arm(lease, wall_ms(), "quota")
        wait_for(lambda: not is_ready(browser, "cleo"), "the hub to notice the end at the deadline")


def test_a_hub_that_is_killed_while_a_server_starts_takes_it_up_again(hub: Hub) -> None:
    with hub.signed_in("late-lea") as browser:
        start(browser, "late-lea", offer="cpu/guaranteed")
        wait_for(lambda: runs(hub, "late-lea"), "the server's process to run")
        hub.kill()
        (hub.settings.homes_dir / "late-lea" / "go").touch()
        hub.restart()
        wait_for(lambda: is_ready(browser, "late-lea"), "the server to be ready")
        assert browser.get("/user/late-lea/").json() == {}
        assert runs(hub, "late-lea")


def runs(hub: Hub, user: str) -> bool:
    """Whether the process of a user's one lease runs."""
    leases = {lease["id"] for lease in hub.api.leases.values() if lease["user"] == user}
    return any(seen.running and seen.lease_id in leases for seen in LocalCluster(hub.settings.data).observe())


def test_a_start_that_is_cancelled_ends_the_lease_and_the_process(hub: Hub) -> None:
    with hub.signed_in("slow-ida") as browser:
        page = start(browser, "slow-ida", offer="cpu/guaranteed")
        assert "Your server is starting" in page.text
        assert browser.delete("/hub/api/users/slow-ida/server").status_code in {202, 204}
        wait_for(lambda: not browser.get("/hub/api/users/slow-ida").json()["servers"], "the server to be gone")
    assert hub.api.asked("POST", "/stop")
    assert not runs(hub, "slow-ida")


def test_a_refusal_is_shown_beside_the_flavors_with_a_way_on(hub: Hub) -> None:
    hub.api.refusal = used_up("user:dora")
    with hub.signed_in("dora") as browser:
        page = start(browser, "dora", offer="sim-1x/guaranteed", account="user:dora")
        assert page.status_code == 403
        assert 'role="alert"' in page.text
        assert "Your limit of 10 GPU-hours per week is used up." in page.text
        assert "To get more, ask the administrator of this platform." in page.text
        assert "SpawnException" not in page.text
        assert 'value="sim-1x/guaranteed"' in page.text, "the flavors stand below"


@pytest.mark.parametrize("options", [{"flavor": "h100"}, {"flavor": 7}, {"gpus": 8}, {"account": "group:none"}])
def test_the_hubs_api_takes_only_names_that_are_offered(hub: Hub, options: dict[str, object]) -> None:
    with hub.signed_in("eve") as browser:
        answer = browser.post("/hub/api/users/eve/server", json=options)
        assert answer.status_code == 400
        assert not hub.api.asked("POST", "/leases")


def test_the_hubs_api_starts_a_server_without_options(hub: Hub) -> None:
    with hub.signed_in("finn") as browser:
        assert browser.post("/hub/api/users/finn/server").status_code in {201, 202}
        wait_for(lambda: is_ready(browser, "finn"), "the server to be ready")
    (asked,) = hub.api.asked("POST", "/leases")
    assert asked.body["flavor"] == "cpu"


def test_files_and_error_pages_are_ours(hub: Hub) -> None:
    with hub.signed_in("gus") as browser:
        lost = browser.get("/hub/nothing-here")
        assert lost.status_code == 404
        assert "There is no such page" in lost.text
        for path in (
            "/hub/static/sublet/sublet.css",
            "/hub/static/sublet/tokens.css",
            "/hub/static/css/style.min.css",
        ):
            assert browser.get(path).status_code == 200, path
        assert browser.get("/hub/logo").headers["content-type"] == "image/svg+xml"
        for path in ("/hub/token", "/hub/login", "/hub/home"):
            inline = re.findall(r"<script(?![^>]*src=)[^>]*>", browser.get(path).text)
            assert inline == ['<script type="application/json" id="hub-data">'], path
