"""What is played on the whole platform for `test_not_trusted`, scene by scene, and the evidence left of it."""

from __future__ import annotations

import json
import logging
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil

from tests.chaos import hostile
from tests.chaos.hostile import Answer
from tests.chaos.witness import Witness, ports_of, states_of
from tests.fixtures.cells import Cell, begin_cell, run_cell, start_kernel, start_server
from tests.fixtures.platform import Platform, Session, wait_until

EVERYBODY = ("vera", "pat", "rex", "bo", "flo")
WAYS = {"pat": "patch", "rex": "pose", "bo": "lie"}
SECRET = "what only vera knows"
NOTICE_SECONDS = 8
SOURCE = Path(hostile.__file__).read_text(encoding="utf-8")
API = "/services/sublet/api"
SCRIPT = {"Sec-Fetch-Mode": "cors", "Sec-Fetch-Site": "same-origin", "Sec-Fetch-Dest": "empty"}
"""What a browser sends along with what a page's script asks for; all servers share one origin."""

log = logging.getLogger(__name__)


@dataclass
class Evidence:
    """What came of it all. `first` and `second` are leases by user: the one in which hostile code was planted and
    which it ended itself, and the one that came to its limit."""

    platform: Platform
    sessions: dict[str, Session]
    witness: Witness
    first: dict[str, str] = field(default_factory=dict)
    second: dict[str, str] = field(default_factory=dict)
    stolen: dict[str, dict[str, Answer]] = field(default_factory=dict)
    """By whose token and from where, what was answered to each theft."""
    pages: dict[str, httpx.Response] = field(default_factory=dict)
    """What browsers were answered on vera's server."""
    veras: list[dict[str, Any]] = field(default_factory=list)
    """What only vera may change, before the thefts and after."""
    flooded: dict[str, int] = field(default_factory=dict)
    leases: dict[str, dict[str, Any]] = field(default_factory=dict)
    quotas: dict[str, int] = field(default_factory=dict)
    decided: dict[str, list[object]] = field(default_factory=dict)

    def home(self, user: str) -> Path:
        return self.platform.data / "homes" / user

    def lived(self, user: str) -> float:
        """The seconds that a user's servers really ran; each holds one GPU."""
        return sum(self.witness.lives[of[user]].seconds for of in (self.first, self.second) if user in of)

    def play(self) -> None:
        """All scenes, to the end of all leases."""
        self.plant()
        self.begin_to_flood()
        self.start_planted()
        self.take_what_is_anothers()
        self.open_in_browsers()
        self.come_to_the_limit()
        self.steal_afterwards()
        self.leases = {lease["id"]: lease for lease in self.platform.leases()}
        self.quotas = {user: self._used(user) for user in EVERYBODY}
        self.decided = {user: self._decided(user) for user in EVERYBODY}

    # ---------------------------------------------------------------- scenes

    def plant(self) -> None:
        """The first leases: hostile code is put where the next server finds it, and then ends its own server."""
        self.first = self._start(WAYS)
        for user, way in WAYS.items():
            kernel = start_kernel(self.sessions[user])
            self._run(user, kernel, f"plant({way!r})")
            whom = "-1" if user == "rex" else "os.getppid()"
            begin_cell(self.sessions[user], kernel, f"import os, signal; os.kill({whom}, signal.SIGKILL)")
        self.witness.wait_for_all(60)
        wait_until(lambda: not any(self.sessions[user].server() for user in WAYS), 60, "the hub knows of it")

    def begin_to_flood(self) -> None:
        self.second = self._start(("vera", "flo"))
        secret = {"type": "file", "format": "text", "content": SECRET}
        vera = self.sessions["vera"].client
        vera.put("/user/vera/api/contents/secret.txt", json=secret).raise_for_status()
        kernel = start_kernel(self.sessions["flo"])
        told = self._run("flo", kernel, f"print(json.dumps(overreach({self.platform.url!r})))")
        self.stolen["by overreaching"] = answers(told)
        self._run("flo", kernel, "leave_token(); run('live'); run('flood')")
        wait_until((self.home("flo") / "flood.json").exists, 60, "flo floods")

    def start_planted(self) -> None:
        """The second leases of the others, while the platform is flooded."""
        self.second |= self._start(WAYS)
        wait_until((self.home("pat") / f"patched-{self.second['pat']}").exists, 60, "pat's patches are in place")
        wait_until((self.home("bo") / f"lied-{self.second['bo']}").exists, 60, "bo's extension is lied to")
        assert self.sessions["rex"].client.get("/user/rex/sublet/state").text == "{}", "rex' server is his own"

    def take_what_is_anothers(self) -> None:
        self.veras.append(self._what_is_veras())
        kernel = start_kernel(self.sessions["flo"])
        took = self._run("flo", kernel, f"print(json.dumps(steal({self._facts()!r}, 'flo')))")
        self.stolen["in the server"] = answers(took)
        for user in WAYS:
            token = (self.home(user) / f"token-{self.first[user]}").read_text()
            self.stolen[f"with {user}'s token of before"] = self._replay(user, token) | self._pose(user, token)
        own = self.sessions["flo"].client.headers["Authorization"].removeprefix("token ")
        self.stolen["with flo's own token"] = self._replay("flo", own, signed_in=True)
        self.veras.append(self._what_is_veras())
        self._run("flo", kernel, "threading.Timer(0.5, os.kill, (os.getppid(), signal.SIGSTOP)).start()")
        life = self.witness.lives[self.second["flo"]]
        wait_until(lambda: psutil.STATUS_STOPPED in states_of(life), 30, "flo's server is stopped")

    def open_in_browsers(self) -> None:
        """vera's server in a browser that flo has signed in with, and in vera's by a script of another's page."""
        server = "/user/vera"
        with self.platform.browser("flo") as flo:
            for path in ("lab", "sublet/state", "sublet/events", "api/contents/secret.txt"):
                self.pages[f"flo opens {path}"] = flo.get(f"{server}/{path}")
        with self.platform.browser("vera") as vera:
            self.pages["vera opens her server"] = vera.get(f"{server}/tree")
            for path in ("sublet/state", "sublet/quota", "sublet/flavors", "api/contents/secret.txt"):
                self.pages[f"a script reads {path}"] = vera.get(f"{server}/{path}", headers=SCRIPT)
            for path in ("stop", "keep", "dismiss", "saved"):
                self.pages[f"a script posts {path}"] = vera.post(f"{server}/sublet/{path}", headers=SCRIPT, json={})
            xsrf = next(
                each.value or "" for each in vera.cookies.jar if each.path == f"{server}/" and each.name == "_xsrf"
            )
            allowed = SCRIPT | {"X-XSRFToken": xsrf}
            self.pages["vera's own page reads"] = vera.get(f"{server}/sublet/state", headers=allowed)

    def come_to_the_limit(self) -> None:
        """All leases get one limit, which they are past: they have the notice's time left. The flood goes on."""
        for user in EVERYBODY:
            self._set_limit(user, "lease_seconds", 10)
        self.witness.wait_for_all(NOTICE_SECONDS + 60)
        wait_until(lambda: not any(each["ended_at"] is None for each in self.platform.leases()), 60, "all are closed")
        self.flooded = json.loads((self.home("flo") / "flood.json").read_text())
        log.info("flooded: %s", self.flooded)

    def steal_afterwards(self) -> None:
        token = (self.home("flo") / f"token-{self.second['flo']}").read_text()
        own = f"{self.platform.url}{API}/leases"
        wait_until(lambda: hostile.ask("GET", own, None, token)[0] == 401, 30, "the token of an ended lease is dead")
        self.stolen["after the end"] = self._replay("flo", token) | self._pose("flo", token)

    # ---------------------------------------------------------------- how

    def _start(self, users: Collection[str]) -> dict[str, str]:
        """Start servers side by side; gives their leases, which are watched from now on."""
        with ThreadPoolExecutor() as pool:
            for started in [pool.submit(start_server, self.sessions[user], flavor="one") for user in users]:
                started.result()
        found = {}
        for user in users:
            wait_until(lambda user=user: self.platform.leases(user=user, state="active"), 30, f"{user} has a lease")  # type: ignore[misc]  # mypy takes the default for no str
            (lease,) = self.platform.leases(user=user, state="active")
            found[user] = str(lease["id"])
            self.witness.watch(found[user])
        return found

    def _run(self, user: str, kernel: str, body: str) -> Cell:
        """Run hostile code as a cell, with what it needs beside it as a file."""
        code = f"SOURCE = {SOURCE!r}\nexec(compile(SOURCE, 'hostile', 'exec'))\nSELF.write_text(SOURCE)\n{body}"
        came = run_cell(self.sessions[user], kernel, code)
        assert not came.error, came
        return came

    def _facts(self) -> dict[str, str]:
        lease = self.second["vera"]
        life = self.witness.lives[lease]
        direct = "" if life.ended else f"http://127.0.0.1:{ports_of(life)[0]}"
        return {"public": self.platform.url, "user": "vera", "lease": lease, "direct": direct}

    def _replay(self, user: str, token: str, *, signed_in: bool = False) -> dict[str, Answer]:
        """The thefts again, from outside of any server; who has signed in may do more in her own name."""
        tried = hostile.thefts(me=user, **self._facts())
        return {
            name: hostile.ask(method, url, body, token)
            for name, method, url, body in tried
            if not (signed_in and ("one's own" in name or f" {user}" in name))
        }

    def _pose(self, user: str, token: str) -> dict[str, Answer]:
        """With a token that is over, what its user's server may."""
        tried = hostile.in_ones_own_name(self.platform.url, self.second[user])
        return {name: hostile.ask(method, url, body, token) for name, method, url, body in tried}

    def _what_is_veras(self) -> dict[str, Any]:
        client, lease_id = self.sessions["vera"].client, self.second["vera"]

        def read(path: str) -> Any:
            return client.get(path).raise_for_status().json()

        lease = read(f"{API}/leases/{lease_id}")
        return {
            "deadline": (lease["deadline_at"], lease["deadline_reason"]),
            "reports of flo": [each for each in read(f"{API}/leases/{lease_id}/activity") if "forged" in str(each)],
            "notices": read(f"{API}/notices"),
            "limits": [each["limit"] for each in read(f"{API}/quotas/users/vera")["limits"]],
            "kernels": read("/user/vera/api/kernels"),
            "files": sorted(each["name"] for each in read("/user/vera/api/contents")["content"]),
            "secret": read("/user/vera/api/contents/secret.txt")["content"],
        }

    def _set_limit(self, user: str, what: str, limit: int, window: str | None = None) -> None:
        """Set the one limit that a user has."""
        with self.platform.admin() as client:
            limits = {"limits": [{"what": what, "limit": limit, "window": window}]}
            client.put(f"/hub/api/quotas/users/{user}", json=limits).raise_for_status()

    def _used(self, user: str) -> int:
        """The GPU-seconds that a user has used, by the platform's word."""
        self._set_limit(user, "gpu_seconds", 3600, "day")
        with self.platform.admin() as client:
            (limit,) = client.get(f"/hub/api/quotas/users/{user}").raise_for_status().json()["limits"]
        used: int = limit["used"]
        return used

    def _decided(self, user: str) -> list[object]:
        """What the quota decides with 60 s more than what really ran, and with 5 s more, which are too few."""
        decided: list[object] = []
        for more in (60, 5):
            self._set_limit(user, "gpu_seconds", round(self.lived(user)) + more, "day")
            (offer,) = self.sessions[user].client.get(f"{API}/flavors").raise_for_status().json()
            (choice,) = offer["choices"]
            decided.append(choice["lasts_seconds"] if choice["available"] else choice["problem"]["type"])
        return decided


def answers(of: Cell) -> dict[str, Answer]:
    """What a cell was answered, as it printed it."""
    return {name: (status, body) for name, (status, body) in json.loads(of.printed).items()}
