"""A Jupyter server extension that stands in for sublet_server: it tells browsers what a test has scripted, and notes
what they ask for. It runs in the environment of users' servers, loaded by name from this folder.

    POST sublet/script/state   this is the state from now on (`now` is filled in)
    POST sublet/script/save    tell browsers to save
    POST sublet/script/answer  {"path": "keep", "status": 409, "body": {...}}: answer so from now on
    POST sublet/script/hang-up end all streams, and refuse new ones while {"refuse": true}
    GET  sublet/script/log     what was asked for, as [path, body], and how many streams are open
"""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from typing import Any

from jupyter_server.base.handlers import APIHandler
from jupyter_server.serverapp import ServerApp
from jupyter_server.utils import url_path_join
from tornado.iostream import StreamClosedError
from tornado.web import authenticated


class Script:
    """What is to be told, and what was asked."""

    def __init__(self) -> None:
        self.state: dict[str, Any] | None = None
        self.answers: dict[str, tuple[int, Any]] = {}
        self.log: list[tuple[str, Any]] = []
        self.streams: list[asyncio.Queue[tuple[str, Any] | None]] = []
        self.refuse = False

    def tell(self, event: str, document: Any) -> None:
        for stream in self.streams:
            stream.put_nowait((event, document))

    def present(self) -> dict[str, Any]:
        assert self.state is not None
        return {**self.state, "now": datetime.now(UTC).isoformat().replace("+00:00", "Z")}


SCRIPT = Script()


class Events(APIHandler):  # type: ignore[misc]  # Jupyter Server has no types here
    @authenticated
    async def get(self) -> None:
        if SCRIPT.refuse:
            self.set_status(503)
            self.finish({"message": "away"})
            return
        self.set_header("Content-Type", "text/event-stream")
        mine: asyncio.Queue[tuple[str, Any] | None] = asyncio.Queue()
        SCRIPT.streams.append(mine)
        try:
            if SCRIPT.state is not None:
                mine.put_nowait(("state", None))
            self.write(": here\n\n")
            await self.flush()
            while (told := await mine.get()) is not None:
                event, document = told
                text = json.dumps(SCRIPT.present() if event == "state" else document)
                self.write(f"event: {event}\ndata: {text}\n\n")
                await self.flush()
        except StreamClosedError:
            pass
        finally:
            self._forget(mine)

    def _forget(self, stream: asyncio.Queue[tuple[str, Any] | None]) -> None:
        if stream in SCRIPT.streams:
            SCRIPT.streams.remove(stream)

    def on_connection_close(self) -> None:
        for stream in SCRIPT.streams:
            stream.put_nowait(("ping", {}))  # those that are gone find out by writing
        super().on_connection_close()


class Asked(APIHandler):  # type: ignore[misc]  # Jupyter Server has no types here
    """Any route of the server: noted, and answered as scripted."""

    @authenticated
    def get(self, path: str) -> None:
        self._answer(path)

    @authenticated
    def post(self, path: str) -> None:
        SCRIPT.log.append((path, self.get_json_body()))
        self._answer(path)

    def _answer(self, path: str) -> None:
        status, body = SCRIPT.answers.get(path, (404, {"message": "not scripted"}))
        self.set_status(status)
        self.finish(json.dumps(body) if status != 204 else None)


class Scripting(APIHandler):  # type: ignore[misc]  # Jupyter Server has no types here
    @authenticated
    def get(self, what: str) -> None:
        assert what == "log"
        self.finish(json.dumps({"log": SCRIPT.log, "streams": len(SCRIPT.streams)}))

    @authenticated
    def post(self, what: str) -> None:
        body = self.get_json_body() or {}
        if what == "state":
            SCRIPT.state = body
            SCRIPT.tell("state", None)
        elif what == "save":
            SCRIPT.tell("save", body)
        elif what == "answer":
            SCRIPT.answers[body["path"]] = (body["status"], body["body"])
        elif what == "hang-up":
            SCRIPT.refuse = body["refuse"]
            for stream in SCRIPT.streams:
                stream.put_nowait(None)
        elif what == "forget":
            SCRIPT.log.clear()
        self.set_status(204)
        self.finish()


def _load_jupyter_server_extension(app: ServerApp) -> None:
    base = app.web_app.settings["base_url"]
    routes = [("script/([a-z-]+)", Scripting), ("events", Events), ("([a-z][a-z0-9./-]*)", Asked)]
    app.web_app.add_handlers(".*$", [(url_path_join(base, "sublet", path), handler) for path, handler in routes])
    hub = {"hubPrefix": "/hub/", "hubHost": "", "hubUser": "ada", "hubServerName": ""}
    app.web_app.settings.setdefault("page_config_data", {}).update(hub)


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    return [{"module": "standin"}]
