"""How a write is carried out: in a thread, and under its Idempotency-Key where it has one."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Header
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from sublet_hub.api.asking import Api, ApiParts, Asker
from sublet_hub.api.auth import Principal
from sublet_hub.api.idempotency import HEADER, LONGEST_KEY, checked_key, fingerprint
from sublet_hub.api.routing import JSON_TYPE
from sublet_hub.storage.books import Books
from sublet_hub.storage.idempotency import MOST_OF_USER, once

NO_CONTENT = 204

Produce = Callable[[Books], "Written"]
"""An operation that writes; raises PublicError to refuse."""

Around = Callable[[Books], AbstractContextManager[None]]


@dataclass(frozen=True, slots=True)
class Written:
    """What a write answers: a status, and a body as JSON text."""

    status: int
    body: str

    @classmethod
    def of(cls, model: BaseModel, status: int = 200) -> Written:
        return cls(status, model.model_dump_json())


@dataclass(frozen=True, slots=True)
class Writer:
    """Carries out one request's write."""

    api: Api
    who: Principal
    key: str | None
    fingerprint: str

    async def write(self, produce: Produce, around: Around = lambda _: nullcontext()) -> Response:
        """The answer of `produce`, or the one given before to the same request with the same key.

        `around` is entered outside the transaction that remembers the answer, so it sees what is raised after all
        of that was rolled back.
        """
        key, actor = self.key, self.who.actor
        most = None if self.who.kind == "service" or self.who.writes_quotas else MOST_OF_USER

        def write(books: Books) -> Written:
            with around(books):
                if key is None:
                    return produce(books)
                saved = once(books, actor, key, self.fingerprint, lambda joined: _pair(produce(joined)), most)
                return Written(saved.status, saved.body)

        write.__name__ = produce.__name__
        return _response(await self.api.database.run(write))


def _pair(written: Written) -> tuple[int, str]:
    return written.status, written.body


def _response(written: Written) -> Response:
    if written.status == NO_CONTENT:
        return Response(status_code=NO_CONTENT)
    return Response(written.body, written.status, media_type=JSON_TYPE)


async def writer(
    request: Request,
    who: Asker,
    api: ApiParts,
    idempotency_key: Annotated[
        str | None,
        Header(
            min_length=1,
            max_length=LONGEST_KEY,
            alias=HEADER,
            description="Sent again with the same key, a request has no second effect and gets the same answer.",
        ),
    ] = None,
) -> Writer:
    key = None if idempotency_key is None else checked_key(idempotency_key)
    if key is None:
        return Writer(api, who, None, "")
    scope = request.scope
    same = fingerprint(request.method, scope["path"], scope["query_string"], await request.body())
    return Writer(api, who, key, same)


Writing = Annotated[Writer, Depends(writer)]
