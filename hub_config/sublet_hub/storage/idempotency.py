"""One effect for requests that are sent twice with the same Idempotency-Key."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace

from sublet_hub.domain.errors import Conflict, TooManyChanges
from sublet_hub.storage.books import Books
from sublet_hub.storage.store import SavedAnswer, Transaction

KEPT_MS = 24 * 3_600_000
"""How long an answer is remembered."""

MOST_OF_USER = 1_000
"""The most answers that are remembered to a user's keys: code in their server could make up keys without an end."""


class JoinedStore:
    """A store whose transactions are all part of one that is open already."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx

    def transaction(self, *, write: bool) -> AbstractContextManager[Transaction]:  # noqa: ARG002 - the Protocol's
        return self._join()

    @contextmanager
    def _join(self) -> Iterator[Transaction]:
        yield self._tx

    def close(self) -> None:
        """Nothing to close: the outer transaction ends where it began."""


def once(
    books: Books,
    actor: str,
    key: str,
    fingerprint: str,
    produce: Callable[[Books], tuple[int, str]],
    most: int | None = None,
) -> SavedAnswer:
    """The first request's answer; `produce` (status and body) runs only for the first one that succeeds.

    `produce` gets books whose operations join the transaction that remembers the answer: both are kept, or neither
    is, and requests with one key wait for each other. `fingerprint` is a hash of the request; Conflict where the
    key came with another one before. What `produce` raises rolls everything back, so that a refusal isn't
    remembered and may be tried again. TooManyChanges where `most` of the actor's answers are remembered.
    """
    with books.store.transaction(write=True) as tx:
        tx.lock(f"answer:{actor}:{key}")
        saved = tx.saved_answer(actor, key)
        if saved is None:
            _check_room(tx, actor, books.clock.now_ms(), most)
            status, body = produce(replace(books, store=JoinedStore(tx)))
            saved = SavedAnswer(fingerprint, status, body, books.clock.now_ms())
            tx.save_answer(actor, key, saved)
        elif saved.fingerprint != fingerprint:
            raise Conflict("This Idempotency-Key came with a different request before. Use a new key.")
        return saved


def _check_room(tx: Transaction, actor: str, now_ms: int, most: int | None) -> None:
    if most is None:
        return
    count, first_ms = tx.answers_of(actor, now_ms - KEPT_MS)
    if count >= most:
        raise TooManyChanges(
            f"{most} requests came with an Idempotency-Key of their own within a day. Leave it out, or try later.",
            retry_at_ms=first_ms + KEPT_MS,
        )
