"""The event stream of a lease: how it is, and its notices, as they come."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

from fastapi import APIRouter
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from sublet_hub.api.asking import ApiParts, Asker
from sublet_hub.api.event_text import MEDIA_TYPE
from sublet_hub.api.routers.leases import LeaseId, visible_lease
from sublet_hub.api.routing import Responses, StrictRoute, problems
from sublet_hub.api.stream import Stream
from sublet_hub.api.streams import Streams
from sublet_hub.http_protocol import HANG_UP

router = APIRouter(prefix="/services/sublet/api/leases", route_class=StrictRoute, tags=["leases"])

STREAM: Responses = {
    200: {
        "description": "Events `lease` (data: a LeaseModel), `notice` (a NoticeModel) and `withdrawn` (`id` of a "
        "notice): the whole state first, then each change. Ends after a `lease` that is `ended` or `void`, "
        "and about once an hour: connect again.",
        "content": {MEDIA_TYPE: {"schema": {"type": "string"}}},
    }
}


@router.get(
    "/{id}/events",
    operation_id="follow_lease",
    response_class=Response,
    responses={**problems(404), **STREAM},
)
async def follow_lease(id: LeaseId, who: Asker, api: ApiParts) -> Response:  # noqa: A002 — the path's name
    """One lease and its notices, told as they change; for its user, and those who may read it."""
    await visible_lease(id, who, api)
    api.streams.must_have_room()
    return EventStream(api.streams, id)


class EventStream(Response):
    """Answers with a lease's stream, for as long as it lasts or the client stays."""

    media_type = MEDIA_TYPE

    def __init__(self, streams: Streams, lease_id: str) -> None:
        self.status_code = 200
        self.background = None
        self.init_headers({"X-Accel-Buffering": "no"})  # nginx, as an ingress, would hold events back
        self._streams = streams
        self._lease_id = lease_id

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        stream = self._streams.open(self._lease_id)
        leaving = asyncio.create_task(_until_gone(receive, stream))
        try:
            await self._send_all(stream, send)
        except TimeoutError:
            hang_up = scope.get("extensions", {}).get(HANG_UP)
            if hang_up is not None:  # else the server waits until its client has read what there is
                hang_up["now"]()
                await leaving
        finally:
            leaving.cancel()
            self._streams.forget(stream)

    async def _send_all(self, stream: Stream, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        async with aclosing(stream.chunks()) as chunks:
            async for chunk in chunks:
                async with stream.patience():
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
        async with stream.patience():
            await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _until_gone(receive: Receive, stream: Stream) -> None:
    """Close the stream when its client goes."""
    while (await receive())["type"] != "http.disconnect":
        pass
    stream.close()
