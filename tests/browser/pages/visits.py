"""A visit to the platform's pages in a real browser that notes whatever the pages complain of."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import urlencode

from playwright.sync_api import BrowserContext, ConsoleMessage, Page, Response, expect

from tests.fixtures.platform import Platform

OTHER_ORIGIN = "http://other.example:8443"
OTHER_SERVICE = {
    "name": "other",
    "api_token": "a-secret-of-the-other-application",
    "oauth_client_id": "service-other",
    "oauth_redirect_uri": f"{OTHER_ORIGIN}/callback",
    "oauth_no_confirm": False,
}
"""An application elsewhere that signs people in by the hub, and asks them."""

LOADS_REFUSED = re.compile(r"Failed to load resource: the server responded with a status of (4\d\d|500|503)")
"""What Chromium notes of a page that is itself a refusal, such as that of 404."""


@dataclass
class Visit:
    """One browser context on the platform. Leaving it, nothing must have been complained of."""

    platform: Platform
    context: BrowserContext
    complaints: list[str] = field(default_factory=list)
    page: Page = field(init=False)

    def __enter__(self) -> Self:
        self.page = self.context.new_page()
        self.page.on("console", self._note)
        self.page.on("pageerror", lambda error: self.complaints.append(f"{self.page.url}: {error}"))
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            assert self.complaints == []

    def _note(self, message: ConsoleMessage) -> None:
        is_ours = message.type in {"error", "warning"} and not LOADS_REFUSED.match(message.text)
        if is_ours:
            self.complaints.append(f"{self.page.url}: {message.text}")

    def sign_in(self, user: str) -> None:
        credentials = self.platform.credentials()
        password = credentials["admin_password" if user == credentials["admin_user"] else "user_password"]
        self.open("/hub/login?" + urlencode({"next": "/hub/home"}))
        self.page.get_by_label("Username").fill(user)
        self.page.get_by_label("Password").fill(password)
        self.page.get_by_role("button", name="Sign in").click()
        self.page.wait_for_url("**/hub/home")

    def open(self, path: str) -> Response:
        answer = self.page.goto(self.platform.url + path)
        assert answer is not None
        return answer


Prepare = Callable[[Visit], None]


@dataclass(frozen=True)
class State:
    """A page as somebody sees it: who, where, how it came to be so, and a text that it shows then."""

    name: str
    user: str
    path: str
    shows: str
    prepare: Prepare = lambda visit: None
    status: int = 200
    is_jupyterhubs: bool = False

    def reach(self, visit: Visit) -> tuple[Response, str]:
        """Get there. Gives the answer that the address has, and its markup."""
        if self.user:
            visit.sign_in(self.user)
        answer = visit.open(self.path)
        assert answer.status == self.status, self.path
        markup = answer.text()  # not to be had any more once the browser goes elsewhere
        self.prepare(visit)
        expect(visit.page.get_by_text(self.shows).first).to_be_visible()
        expect(visit.page.locator("[aria-busy=true]")).to_have_count(0)
        return answer, markup


def _wrong_password(visit: Visit) -> None:
    visit.page.get_by_label("Username").fill("x")
    visit.page.get_by_label("Password").fill("wrong")
    visit.page.get_by_role("button", name="Sign in").click()


def _ask_to_stop(visit: Visit) -> None:
    visit.page.get_by_role("button", name="Stop", exact=False).first.click()


def _ask_for_cpu(visit: Visit) -> None:
    visit.page.get_by_role("radio", name=re.compile("CPU only")).check()
    visit.page.get_by_role("button", name=re.compile("^Start")).click()


def _start_slowly(visit: Visit) -> None:
    if visit.page.get_by_role("button", name=re.compile("^Start")).count():
        _ask_for_cpu(visit)
    visit.page.wait_for_url("**/spawn-pending/**")


def _edit_the_default(visit: Visit) -> None:
    visit.page.get_by_role("button", name="Edit the quota of the default").click()


def _make_a_token(visit: Visit) -> None:
    visit.page.get_by_role("button", name="Make a token").click()


def _unfold(visit: Visit) -> None:
    visit.page.locator("summary").first.click()


CONSENT = "/hub/api/oauth2/authorize?" + urlencode(
    {
        "client_id": OTHER_SERVICE["oauth_client_id"],
        "redirect_uri": OTHER_SERVICE["oauth_redirect_uri"],
        "response_type": "code",
        "state": "x",
    }
)

STATES = (
    State("sign in", "", "/hub/login", "Password"),
    State("sign in, wrongly", "", "/hub/login", "Invalid username or password", _wrong_password),
    State("home without a server", "ada", "/hub/home", "Not running"),
    State("flavors", "ada", "/hub/spawn", "Held at start"),
    State("flavors, with groups", "grace", "/hub/spawn", "Who pays"),
    State("flavors, nothing allowed", "spent", "/hub/spawn", "Your quota allows no GPU time."),
    State("flavors, after an end", "ended", "/hub/spawn", "Your last server was stopped"),
    State("not running", "ada", "/hub/user/ada/lab", "Nothing is charged while no server runs.", status=424),
    State("not running, after an end", "ended", "/hub/user/ended/", "An administrator stopped it.", status=424),
    State("home with servers", "runner", "/hub/home", "training-of-a-large-model"),
    State("home, asked to stop", "runner", "/hub/home", "Stop now", _ask_to_stop),
    State("starting", "slow-sue", "/hub/spawn", "Waiting for JupyterLab to answer", _start_slowly),
    State("start failed", "fails-fay", "/hub/spawn", "The server could not be started", _ask_for_cpu),
    State("tokens", "ada", "/hub/token", "You have made no token yet."),
    State("tokens, one made", "tom", "/hub/token", "Copy it now", _make_a_token),
    State("tokens, with scopes", "tom", "/hub/token", "With none it may do all that you may.", _unfold),
    State("consent", "admin", CONSENT, "Let this application know who you are?"),
    State("no such page", "ada", "/hub/nothing", "There is no such page", status=404),
    State("nothing answers", "ada", "/hub/error/503", "Nothing answers here just now", status=200),
    State("users", "admin", "/hub/admin", "Displaying", is_jupyterhubs=True),
    State("usage without a lease", "ada", "/services/sublet/", "You have had no lease yet."),
    State("usage with leases", "runner", "/services/sublet/", "paid by your own account"),
    State("usage, asked to stop", "runner", "/services/sublet/", "Stop now", _ask_to_stop),
    State("usage of groups", "grace", "/services/sublet/", "Account of group vision-lab"),
    State("not for you", "ada", "/services/sublet/admin", "This page is for quota admins", status=403),
    State("no such page of the api", "ada", "/services/sublet/nothing", "There is nothing at", status=404),
    State("admin", "admin", "/services/sublet/admin", "Default quota"),
    State("admin, editing", "admin", "/services/sublet/admin", "Add a limit", _edit_the_default),
)
