"""Notes of the audit chain's head outside the database, so that a tail cut off in the database shows."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path

from sublet_hub.storage.books import Books

log = logging.getLogger(__name__)


class Anchors:
    """An append-only file with a line of JSON per note: `[number, mac, at_ms]`. Copy it elsewhere now and then."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._noted = max(self.read(), default=0)

    def note(self, books: Books) -> bool:
        """Append the chain's head, durably, unless it is noted already; tells whether it did."""
        with books.store.transaction(write=False) as tx:
            head = tx.audit_head()
        if head.number <= self._noted:
            return False
        line = json.dumps([head.number, head.mark, books.clock.now_ms()]) + "\n"
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            os.write(descriptor, line.encode())
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        # The log too: where the file goes with its container, whoever collects logs has it.
        log.info("head of the audit chain: %d %s", head.number, head.mark)
        self._noted = head.number
        return True

    def read(self) -> Mapping[int, str]:
        """MACs by number; a last line that was being written when the machine failed is left out."""
        try:
            lines = self._path.read_text().splitlines(keepends=True)
        except FileNotFoundError:
            return {}
        notes = (json.loads(line) for line in lines if line.endswith("\n"))
        return {number: mac for number, mac, _at in notes}
