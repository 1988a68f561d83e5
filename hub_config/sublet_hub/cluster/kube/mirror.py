"""A copy of what the API server holds, and what it held until lately."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from threading import Lock
from typing import Generic

from sublet_hub.cluster.kube.objects import ObjectT


@dataclass(frozen=True, slots=True)
class Deleted(Generic[ObjectT]):
    """An object that is no more."""

    last: ObjectT
    """As it was at last; if `missed`, as it was when last seen."""
    noticed_at_ms: int
    missed: bool
    """Nobody told: a later list lacked it. It may have changed before, and ended at any moment since it was known."""


@dataclass(frozen=True, slots=True)
class Snapshot(Generic[ObjectT]):
    """The copy at one moment. An object that has not changed since an earlier snapshot is the same Python object."""

    version: int
    """Grows with every change."""
    current_at_ms: int | None
    """Up to when it is known to be true. None before the first list."""
    items: Mapping[str, ObjectT]
    """By uid: a name may be taken again."""
    deleted: Mapping[str, Deleted[ObjectT]]
    """By uid, until dropped."""


class Mirror(Generic[ObjectT]):
    """The copy. One thread changes it, any may look."""

    def __init__(self, keep_deleted: Callable[[ObjectT], bool]) -> None:
        self._keep_deleted = keep_deleted
        self._lock = Lock()
        self._version = 0
        self._items: dict[str, ObjectT] = {}
        self._deleted: dict[str, Deleted[ObjectT]] = {}
        self._shared = False

    def snapshot(self, current_at_ms: int | None) -> Snapshot[ObjectT]:
        """Look at it. Costs nothing; the first change afterwards costs a copy of the index, not of the objects."""
        with self._lock:
            self._shared = True
            return Snapshot(self._version, current_at_ms, self._items, self._deleted)

    def put(self, item: ObjectT) -> None:
        """Take over an object, new or changed."""
        with self._lock:
            self._before_change()
            self._items[item.metadata.uid] = item

    def remove(self, last: ObjectT, at_ms: int) -> None:
        """Take over that an object was deleted."""
        with self._lock:
            self._before_change()
            self._items.pop(last.metadata.uid, None)
            self._bury(Deleted(last, at_ms, missed=False))

    def replace(self, listed: Iterable[ObjectT], at_ms: int) -> None:
        """Take over a whole list, which may come page by page. If it breaks off, nothing has changed."""
        fresh: dict[str, ObjectT] = {}
        for item in listed:
            known = self._items.get(item.metadata.uid)
            same = known is not None and known.metadata.resource_version == item.metadata.resource_version
            fresh[item.metadata.uid] = known if known is not None and same else item
        with self._lock:
            self._before_change()
            for uid, item in self._items.items():
                if uid not in fresh:
                    self._bury(Deleted(item, at_ms, missed=True))
            self._items = fresh

    def drop(self, uid: str) -> None:
        """Forget a deleted object. Repeating it is harmless."""
        with self._lock:
            if uid in self._deleted:
                self._before_change()
                del self._deleted[uid]

    def _before_change(self) -> None:
        """Leave what was handed out as it is."""
        self._version += 1
        if self._shared:
            self._items, self._deleted = dict(self._items), dict(self._deleted)
            self._shared = False

    def _bury(self, deleted: Deleted[ObjectT]) -> None:
        if self._keep_deleted(deleted.last):
            self._deleted[deleted.last.metadata.uid] = deleted
