"""Records on their way to the platform: kept on disk while it is away, and sent in batches when it is back."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Iterable
from logging import Logger
from pathlib import Path
from urllib.parse import quote, unquote

from sublet_server.loops import pause
from sublet_server.platform_api import PlatformApi, PlatformAwayError
from sublet_server.state import Document

MOST_IN_A_REQUEST = 120
PREFIX, SUFFIX = "records-", ".jsonl"
STALE = frozenset({401, 403})
"""A token that is not good now may be again; what is queued stays."""


class Outbox:
    """The records of one lease that the platform doesn't have yet, oldest first."""

    def __init__(self, api: PlatformApi, file: Path, most: int, log: Logger, *, lease_id: str | None = None) -> None:
        """`most`: how many are kept; then the oldest go, since the platform forgets them first too."""
        self._api = api
        self._path = api.lease_path("/activity", lease_id)
        self._file = file
        self._log = log
        self._waiting: deque[Document] = deque(_read(file), maxlen=most)
        self._arrived = asyncio.Event()
        self._kept = len(self._waiting)
        self._failures = 0
        self._said = ""
        if self._waiting:
            self._arrived.set()

    def put(self, record: Document) -> None:
        """Have a record sent."""
        self._waiting.append(record)
        self._arrived.set()

    def __len__(self) -> int:
        return len(self._waiting)

    async def run(self) -> None:
        """Send what comes, for ever."""
        while True:
            await self._arrived.wait()
            wait = await self._send()
            if wait is not None:
                await asyncio.sleep(wait)
            elif not self._waiting:
                self._arrived.clear()

    async def drain(self) -> None:
        """Send what there is."""
        while self._waiting:
            wait = await self._send()
            if wait is not None:
                await asyncio.sleep(wait)

    async def _send(self) -> float | None:
        """Send a batch; gives how long to wait before the next try where it didn't go."""
        batch = [self._waiting[index] for index in range(min(len(self._waiting), MOST_IN_A_REQUEST))]
        try:
            answer = await self._api.ask("POST", self._path, {"records": batch})
        except PlatformAwayError as away:
            return self._keep(str(away), away.retry_after)
        if answer.status in STALE or answer.status == 429:
            return self._keep(answer.detail, None)
        if answer.status >= 400:
            # Sent again it would be refused again, and hold up all that come after it.
            self._say(f"{len(batch)} records are refused and dropped: {answer.detail}")
        else:
            self._failures, self._said = 0, ""
        for record in batch:
            if self._waiting and self._waiting[0] is record:  # else a full queue has dropped it meanwhile
                self._waiting.popleft()
        if self._kept:
            self._write(self._waiting)
        return None

    def _keep(self, why: str, retry_after: float | None) -> float:
        self._say(f"records wait to be sent: {why}")
        self._write(self._waiting)
        self._failures += 1
        return (retry_after or 0) + pause(self._failures)

    def _write(self, records: Iterable[Document]) -> None:
        lines = [json.dumps(each) + "\n" for each in records]
        self._kept = len(lines)
        try:
            if not lines:
                self._file.unlink(missing_ok=True)
                return
            self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            fresh = self._file.with_suffix(".new")
            fresh.write_text("".join(lines), encoding="utf-8")
            fresh.replace(self._file)
        except OSError as error:
            self._say(f"records can't be kept on disk, and are kept in memory: {error.strerror}")

    def _say(self, text: str) -> None:
        if text != self._said:
            self._log.warning("Sublet: %s", text)
        self._said = text


def outbox_file(folder: Path, lease_id: str) -> Path:
    """Where a lease's records wait."""
    return folder / f"{PREFIX}{quote(lease_id, safe='')}{SUFFIX}"


async def send_leftovers(api: PlatformApi, folder: Path, most: int, log: Logger) -> None:
    """Send what earlier leases could not: the platform takes it when they are over, too."""
    for file in _others(folder, outbox_file(folder, api.lease_id)):
        lease_id = unquote(file.name.removeprefix(PREFIX).removesuffix(SUFFIX))
        await Outbox(api, file, most, log, lease_id=lease_id).drain()


def _others(folder: Path, own: Path) -> list[Path]:
    return sorted(file for file in folder.glob(f"{PREFIX}*{SUFFIX}") if file != own)


def _read(file: Path) -> list[Document]:
    """What an earlier run of this server left; a line that is cut off is left out."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return []
    found = []
    for line in lines:
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict):
            found.append(record)
    return found
