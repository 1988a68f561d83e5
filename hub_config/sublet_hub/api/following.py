"""What has become of leases that streams are open for: one short look at the database, for all of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sublet_hub.api.event_text import Shown, shown
from sublet_hub.domain.notices import Notice
from sublet_hub.storage.books import Books


@dataclass(frozen=True, slots=True)
class Look:
    """What one look found: the leases that differ from the last one, each with its new mark; and those gone."""

    changed: Mapping[str, tuple[str, Shown]]
    missing: frozenset[str]


def follow_leases(books: Books, seen: Mapping[str, str]) -> Look:
    """Look at the leases, given the marks that the last look left ("" for none). Reads what changed, no more."""
    with books.store.transaction(write=False) as tx:
        marks = tx.lease_marks(seen.keys())
        changed = [lease_id for lease_id, mark in marks.items() if mark != seen[lease_id]]
        leases = tx.leases_named(changed) if changed else []
        notices = tx.current_notices(changed) if changed else []
    of_lease: dict[str, list[Notice]] = {}
    for notice in notices:
        of_lease.setdefault(notice.lease_id, []).append(notice)
    now_ms = books.clock.now_ms()
    return Look(
        {each.id: (marks[each.id], shown(each, of_lease.get(each.id, ()), now_ms)) for each in leases},
        frozenset(seen.keys() - marks.keys()),
    )
