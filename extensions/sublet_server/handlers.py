"""The routes of the user's server, under `sublet/`. All are for the server's own user only."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

from jupyter_server.auth.decorator import authorized
from jupyter_server.base.handlers import APIHandler
from jupyter_server.extension.handler import ExtensionHandlerMixin
from tornado.iostream import StreamClosedError
from tornado.web import HTTPError, authenticated

from sublet_server.browsers import Browser, sse
from sublet_server.platform_api import Answer, PlatformAwayError
from sublet_server.times import epoch

if TYPE_CHECKING:
    from sublet_server.app import SubletServer

PROBLEM_TYPE = "application/problem+json"
LONGEST_QUIET_SECONDS = 30.0
"""Browsers hear something so often, so that they can tell a dead connection."""


class SubletHandler(ExtensionHandlerMixin, APIHandler):
    """What all routes have in common."""

    auth_resource = "sublet"
    _track_activity = False
    """A page that stays open says nothing of whether the server is used."""

    @property
    def app(self) -> SubletServer:
        app: SubletServer = self.extensionapp
        return app

    def pass_on(self, answer: Answer) -> None:
        self.set_status(answer.status)
        self.finish(answer.body, set_content_type=answer.content_type)

    def problem(self, status: int, detail: str, name: str = "unavailable", title: str = "Not available now") -> None:
        """A problem of the API's kind (RFC 9457). `message` is what Jupyter's own clients show."""
        self.set_status(status)
        document = {
            "type": f"https://sublet.dev/problems/{name}",
            "title": title,
            "status": status,
            "detail": detail,
            "instance": self.request.path,
            "message": detail,
        }
        self.finish(json.dumps(document), set_content_type=PROBLEM_TYPE)

    async def asked(self, method: str, path: str, document: object = None) -> Answer | None:
        """The platform's answer; None where there is none, and the browser has been told so."""
        if self.app.api is None:
            self.problem(503, "This server is not a lease of Sublet.")
            return None
        key = self.request.headers.get("Idempotency-Key")
        try:
            return await self.app.api.ask(method, path, document, {"Idempotency-Key": key} if key else None)
        except PlatformAwayError as away:
            self.problem(503, f"{away} Your lease runs on by itself; try again shortly.")
            return None

    async def forward(self, method: str, path: str, document: object = None) -> Answer | None:
        """Ask the platform and pass its answer on; None where that was a problem."""
        answer = await self.asked(method, path, document)
        if answer is None:
            return None
        self.pass_on(answer)
        return answer if answer.status < 400 else None

    def body(self) -> dict[str, Any]:
        """The JSON object that was sent."""
        document = self.get_json_body()
        if document is None:
            return {}
        if not isinstance(document, dict):
            raise HTTPError(400, "The body should be a JSON object.")
        return document


class StateHandler(SubletHandler):
    @authenticated
    @authorized
    def get(self) -> None:
        """All that this server knows of its lease."""
        self.finish(json.dumps(self.app.state.document()))


class EventsHandler(SubletHandler):
    """The same, told anew at each change, and what browsers are asked to do."""

    browser: Browser | None = None

    @authenticated
    @authorized
    async def get(self) -> None:
        self.set_header("Content-Type", "text/event-stream")
        self.set_header("Cache-Control", "no-cache")
        self.set_header("X-Accel-Buffering", "no")
        self.set_header("Content-Encoding", "identity")  # compressing it would cost memory per browser
        browser = self.browser = self.app.browsers.add()
        state = self.app.state
        try:
            while browser.is_open:
                seen = state.version
                self.write(sse("state", state.document()))
                while browser.saves:
                    self.write(sse("save", browser.saves.pop(0)))
                await self.flush()
                await state.wait(seen, LONGEST_QUIET_SECONDS)
                await asyncio.sleep(self.app.coalesce_seconds)
        except StreamClosedError:
            pass
        finally:
            self.app.browsers.drop(browser)

    def on_connection_close(self) -> None:
        if self.browser is not None:
            self.app.browsers.drop(self.browser)
        super().on_connection_close()


class QuotaHandler(SubletHandler):
    @authenticated
    @authorized
    async def get(self) -> None:
        """What is left on each account, from the platform."""
        await self.forward("GET", "/quota")


class FlavorsHandler(SubletHandler):
    @authenticated
    @authorized
    async def get(self) -> None:
        """What else could be leased, from the platform."""
        await self.forward("GET", "/flavors")


class StopHandler(SubletHandler):
    @authenticated
    @authorized
    async def post(self) -> None:
        """Stop the lease: at a moment, or now, once documents are saved and callbacks done."""
        body = self.body()
        at = body.get("at")
        if self.app.api is None or self.app.ending is None:
            self.problem(503, "This server is not a lease of Sublet.")
            return
        if at is not None:
            try:
                epoch(at)
            except ValueError:
                self.problem(
                    422, "`at` should be a moment such as 2026-01-31T12:00:00Z.", "invalid-request", "Invalid"
                )
                return
            await self.forward("POST", self.app.api.lease_path("/stop"), {"at": at})
            return
        await self.app.ending.within(self.app.stop_seconds, "user")
        if await self.forward("POST", self.app.api.lease_path("/stop"), {}) is None:
            self.app.ending.call_off()


class KeepHandler(SubletHandler):
    @authenticated
    @authorized
    async def post(self) -> None:
        """Take back one's own planned stop, or a stop for idleness."""
        path = "" if self.app.api is None else self.app.api.lease_path("/keep")
        await self.forward("POST", path, {})


class SavedHandler(SubletHandler):
    @authenticated
    @authorized
    def post(self) -> None:
        """A browser has saved its open documents: how many, and how many not."""
        body = self.body()
        saved, failed = body.get("saved"), body.get("failed")
        if not (isinstance(saved, int) and isinstance(failed, int) and saved >= 0 and failed >= 0):
            raise HTTPError(400, "`saved` and `failed` should be numbers of documents.")
        if not self.app.browsers.saved(str(body.get("id")), failed):
            raise HTTPError(409, "Nobody has asked for this.")
        self.set_status(204)
        self.finish()


class DismissHandler(SubletHandler):
    @authenticated
    @authorized
    def post(self) -> None:
        """The user has read how the last lease ended."""
        self.app.dismiss()
        self.set_status(204)
        self.finish()


ROUTES = [
    (r"/sublet/state", StateHandler),
    (r"/sublet/events", EventsHandler),
    (r"/sublet/quota", QuotaHandler),
    (r"/sublet/flavors", FlavorsHandler),
    (r"/sublet/stop", StopHandler),
    (r"/sublet/keep", KeepHandler),
    (r"/sublet/saved", SavedHandler),
    (r"/sublet/dismiss", DismissHandler),
]
