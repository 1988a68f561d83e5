"""Our configuration under the real JupyterHub and the real proxy: what it grants, where it routes, what it
warns of."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, fields
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import httpx
import pytest

from sublet_hub.credentials import Credentials, CredentialsError, Secrets, read_secrets
from sublet_hub.hub.access import CUSTOM_SCOPES, roles, services
from sublet_hub.run.first_start import make_folders, prepare
from sublet_hub.run.parts import Part, environment, parts_of
from sublet_hub.settings import Settings, load_settings
from tests.run.conftest import PORT_NAMES, free_ports, wait_for

MEANT = "Allowing service sublet to complete OAuth without confirmation"
"""The one warning at start that we choose to have: the api's pages are a part of the platform."""


@dataclass(frozen=True)
class Hub:
    """A running hub and proxy, and an api that answers every path with what it was asked."""

    settings: Settings
    secrets: Secrets
    credentials: Credentials
    log: Callable[[], str]

    def get(self, path: str, token: str = "") -> httpx.Response:
        headers = {"Authorization": f"token {token}"} if token else {}
        return httpx.get(self.settings.public_url + path, headers=headers, timeout=20, trust_env=False)

    def whoami(self, token: str) -> Mapping[str, object]:
        answer = self.get("/hub/api/user", token)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())


class Echo(BaseHTTPRequestHandler):
    name = "api"

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(f"{self.name} was asked {self.path}".encode())

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class GatewayEcho(Echo):
    name = "gateway"


@contextmanager
def running(part: Part, settings: Settings, log: Path) -> Iterator[None]:
    with log.open("w") as output:
        process = subprocess.Popen(part.argv, env=environment(settings, part), stdout=output, stderr=output)
    try:
        headers = dict(part.ready_headers)

        def answers() -> bool:
            assert process.poll() is None, log.read_text()
            try:
                return httpx.get(part.ready_url, headers=headers, timeout=2, trust_env=False).status_code < 500
            except httpx.HTTPError:
                return False

        wait_for(answers, f"{part.name} to answer")
        yield
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    data = tmp_path_factory.mktemp("data")
    ports = zip(PORT_NAMES, free_ports(len(PORT_NAMES)), strict=True)
    settings = load_settings({"SUBLET_DATA": str(data), **{f"SUBLET_{name}": str(port) for name, port in ports}})
    make_folders(settings)
    secrets, credentials = prepare(settings)
    with ExitStack() as stack:
        for port, echo in ((settings.api_port, Echo), (settings.gateway_port, GatewayEcho)):
            server = ThreadingHTTPServer(("127.0.0.1", port), echo)
            Thread(target=server.serve_forever, daemon=True).start()
            stack.callback(server.shutdown)
        for part in parts_of(settings, secrets)[:2]:
            stack.enter_context(running(part, settings, data / f"{part.name}.txt"))
        yield Hub(settings, secrets, credentials, (data / "hub.txt").read_text)


pytestmark = [pytest.mark.platform, pytest.mark.timeout(400)]


def test_nothing_that_we_set_is_deprecated_or_warned_of(hub: Hub) -> None:
    suspicious = [
        line
        for line in hub.log().partition("JupyterHub is now running")[0].splitlines()
        if ("deprecat" in line.lower() or line.startswith(("[W", "[E", "[C"))) and MEANT not in line
    ]
    assert suspicious == []


def test_a_quota_admin_needs_no_power_over_users(hub: Hub) -> None:
    admin = hub.whoami(hub.credentials.admin_token)
    assert admin["name"] == "sublet-admin"
    scopes = admin["scopes"]
    assert isinstance(scopes, list)
    assert {"custom:quotas:write", "custom:quotas:read"} <= set(scopes)
    assert not [scope for scope in scopes if scope.startswith(("admin", "users", "servers", "delete", "tokens"))]


def test_the_spawner_may_ask_for_leases_and_nothing_else(hub: Hub) -> None:
    assert hub.whoami(hub.secrets.spawner_token)["scopes"] == ["custom:leases:write"]


def test_the_api_can_look_up_users_and_change_none(hub: Hub) -> None:
    assert hub.get("/hub/api/users/admin", hub.secrets.api_token).json()["name"] == "admin"
    assert hub.get("/hub/api/users/nobody", hub.secrets.api_token).status_code == 404
    assert hub.get("/hub/api/groups/none", hub.secrets.api_token).status_code == 404
    refused = httpx.post(
        f"{hub.settings.hub_api_url}/users/new",
        headers={"Authorization": f"token {hub.secrets.api_token}"},
        trust_env=False,
    )
    assert refused.status_code == 403


@pytest.mark.parametrize("path", ["/services/sublet/", "/services/sublet/api/leases?x=1", "/hub/api/quotas/users/a"])
def test_the_proxy_gives_our_paths_to_the_api_whole(hub: Hub, path: str) -> None:
    wait_for(lambda: hub.get(path).text == f"api was asked {path}", f"{path} to be routed")


def test_the_proxy_gives_calls_of_models_to_the_gateway_whole(hub: Hub) -> None:
    path = "/services/models/v1/models?x=1"
    wait_for(lambda: hub.get(path).text == f"gateway was asked {path}", f"{path} to be routed")


def test_the_gateway_may_ask_the_api_for_calls_and_nothing_else(hub: Hub) -> None:
    assert hub.whoami(hub.secrets.gateway_token)["scopes"] == ["custom:models:serve"]


def test_the_hubs_own_api_stays_the_hubs(hub: Hub) -> None:
    assert "version" in hub.get("/hub/api/").json()


@contextmanager
def signed_in(hub: Hub, name: str, password: str) -> Iterator[httpx.Client]:
    """A browser that has sent the sign-in form, whatever came of it; it shows its XSRF cookie with every
    request."""
    with httpx.Client(
        base_url=hub.settings.public_url, follow_redirects=True, trust_env=False, timeout=20
    ) as browser:
        browser.get("/hub/login")
        xsrf = browser.cookies.get("_xsrf", path="/hub/") or ""
        browser.post("/hub/login", data={"username": name, "password": password, "_xsrf": xsrf})
        browser.get("/hub/home")
        browser.headers["X-XSRFToken"] = browser.cookies.get("_xsrf", path="/hub/") or ""
        yield browser


def comes_in(hub: Hub, name: str, password: str) -> bool:
    with signed_in(hub, name, password) as browser:
        return browser.get("/hub/home").url.path == "/hub/home"


def scopes_of(hub: Hub, name: str, password: str) -> set[str]:
    """The scopes of a token that a user makes for themselves with all that they may."""
    with signed_in(hub, name, password) as browser:
        made = browser.post(f"/hub/api/users/{name}/tokens", json={"note": "test"})
        assert made.status_code == 201, made.text
        scopes = hub.whoami(made.json()["token"])["scopes"]
    assert isinstance(scopes, list)
    return set(scopes)


def test_anyone_signs_in_with_the_user_password_and_the_admin_with_the_admins(hub: Hub) -> None:
    assert comes_in(hub, "ada", hub.credentials.user_password)
    assert comes_in(hub, "admin", hub.credentials.admin_password)


def test_no_one_signs_in_with_the_wrong_one(hub: Hub) -> None:
    assert not comes_in(hub, "admin", hub.credentials.user_password)
    assert not comes_in(hub, "ada", hub.credentials.admin_password)
    assert not comes_in(hub, "ada", "guess")


def test_the_admin_user_is_a_quota_admin_and_others_are_not(hub: Hub) -> None:
    assert "custom:quotas:write" in scopes_of(hub, "admin", hub.credentials.admin_password)
    of_user = scopes_of(hub, "ada", hub.credentials.user_password)
    assert "access:services!service=sublet" in of_user
    assert [scope for scope in of_user if scope.startswith(("custom", "admin"))] == []


def test_what_the_hub_keeps_is_private(hub: Hub) -> None:
    assert (hub.settings.data / "jupyterhub.sqlite").exists()
    assert not (Path.cwd() / "jupyterhub_cookie_secret").exists()


def test_every_role_uses_only_scopes_of_ours_or_the_hubs() -> None:
    from jupyterhub.scopes import scope_definitions

    used = {scope.partition("!")[0] for role in roles([], with_model_leases=True) for scope in role["scopes"]}
    assert used - set(scope_definitions) - set(CUSTOM_SCOPES) == set()


def test_secrets_that_were_made_before_there_were_models_start_a_hub_without_a_gateway(tmp_path: Path) -> None:
    credentials = Credentials.generate("admin")
    made = Secrets.generate()
    for name in (each.name for each in fields(Secrets) if each.name != "gateway_token"):
        (tmp_path / name).write_text(getattr(made, name), encoding="utf-8")
    given = read_secrets(tmp_path, tmp_path)
    assert given.has("api_token")
    assert not given.has("gateway_token")
    with_one = {each["name"] for each in services(made, credentials)}
    assert with_one - {each["name"] for each in services(given, credentials)} == {"sublet-gateway"}
    named = {name for role in roles([], with_gateway=False) for name in role["services"]}
    assert "sublet-gateway" not in named
    with pytest.raises(CredentialsError, match="was not given the secret gateway_token"):
        _ = given.gateway_token


def test_the_environment_of_a_part_has_no_secret_but_its_own(hub: Hub) -> None:
    for part in parts_of(hub.settings, hub.secrets):
        env = environment(hub.settings, part)
        ours = {name: value for name, value in env.items() if name not in os.environ}
        secret = {hub.secrets.proxy_token} if part.name == "proxy" else set()
        secrets = hub.secrets
        all_of_them = {secrets.proxy_token, secrets.api_token, secrets.spawner_token, secrets.gateway_token}
        shown = set(ours.values()) & all_of_them
        assert shown == secret
