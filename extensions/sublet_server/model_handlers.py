"""The models of the platform, and which of them lie on this server's disk; reading and accepting a licence."""

from __future__ import annotations

import asyncio
import json
import os
from urllib.parse import quote

from jupyter_server.auth.decorator import authorized
from tornado.web import authenticated

from sublet.errors import SubletError
from sublet.models.store import Store
from sublet_server.handlers import SubletHandler

NAME = r"([a-z0-9][a-z0-9.-]{0,94})"
"""As the platform's API has names of models."""


class ModelsHandler(SubletHandler):
    @authenticated
    @authorized
    async def get(self) -> None:
        """What there is, from the platform, and `here`: whose files can be read on this server."""
        answer = await self.asked("GET", "/models")
        if answer is None:
            return
        if answer.status != 200:
            self.pass_on(answer)
            return
        try:
            models = json.loads(answer.body)
        except ValueError:
            self.problem(503, "What answers at SUBLET_API_URL is not Sublet.")
            return
        here = await asyncio.to_thread(names_here)
        self.finish(json.dumps({"models": models, "here": here}))


class ModelHandler(SubletHandler):
    @authenticated
    @authorized
    async def get(self, name: str) -> None:
        """One model, with the text of its licence where the platform has it."""
        await self.forward("GET", f"/models/{quote(name, safe='')}")


class AcceptanceHandler(SubletHandler):
    @authenticated
    @authorized
    async def post(self, name: str) -> None:
        """Accept the licence of a model in the version that was shown."""
        await self.forward("POST", f"/models/{quote(name, safe='')}/acceptance", self.body())


def names_here() -> list[str]:
    """The models whose files are on this server: open ones, and gated ones whose licence was accepted when it
    started. Empty where the platform has no store."""
    try:
        store = Store.of(os.environ)
    except SubletError:
        return []
    return [name for name, model in store.models.items() if model.folder is not None and model.folder.is_dir()]


MODEL_ROUTES = [
    (r"/sublet/models", ModelsHandler),
    (rf"/sublet/models/{NAME}", ModelHandler),
    (rf"/sublet/models/{NAME}/acceptance", AcceptanceHandler),
]
