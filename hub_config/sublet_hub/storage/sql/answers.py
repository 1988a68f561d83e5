"""Answers kept by idempotency key, and the heartbeats of processes."""

from __future__ import annotations

import sqlalchemy as sa

from sublet_hub.storage.sql.session import Session
from sublet_hub.storage.sql.statement import Statement, Value, insert, param, upsert
from sublet_hub.storage.sql.tables import heartbeats
from sublet_hub.storage.sql.tables import saved_answers as table
from sublet_hub.storage.store import SavedAnswer

ONE = Statement(
    sa.select(table.c.fingerprint, table.c.status, table.c.body, table.c.at_ms).where(
        table.c.actor == param("by"), table.c.key == param("under")
    )
)
COUNT = Statement(
    sa.select(sa.func.count(), sa.func.coalesce(sa.func.min(table.c.at_ms), 0)).where(
        table.c.actor == param("by"), table.c.at_ms >= param("since")
    )
)
ADD = insert(table)
DROP = Statement(sa.delete(table).where(table.c.at_ms < param("before")))
BEAT = upsert(heartbeats)
LAST_BEAT = Statement(sa.select(heartbeats.c.at_ms).where(heartbeats.c.name == param("of")))


class Answers(Session):
    def saved_answer(self, actor: str, key: str) -> SavedAnswer | None:
        row = self._one(ONE, by=actor, under=key)
        return None if row is None else SavedAnswer(*row)

    def save_answer(self, actor: str, key: str, answer: SavedAnswer) -> None:
        row: dict[str, Value] = {"fingerprint": answer.fingerprint, "status": answer.status, "body": answer.body}
        self._change(ADD, {"actor": actor, "key": key, "at_ms": answer.at_ms, **row})

    def answers_of(self, actor: str, since_ms: int) -> tuple[int, int]:
        row = self._one(COUNT, by=actor, since=since_ms)
        return (0, 0) if row is None else (int(row[0]), int(row[1]))

    def drop_answers(self, before_ms: int) -> int:
        return self._change(DROP, {"before": before_ms})

    def beat(self, name: str, at_ms: int) -> None:
        self._change(BEAT, {"name": name, "at_ms": at_ms})

    def last_beat(self, name: str) -> int | None:
        row = self._one(LAST_BEAT, of=name)
        return None if row is None else int(row[0])
