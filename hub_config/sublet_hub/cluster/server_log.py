"""What a parent has to say of its server: kept in the lease folder, and kept small."""

import os
from pathlib import Path

from sublet_hub.cluster.records import LOG

_LIMIT_BYTES = 16 * 1024 * 1024
_KEPT_BYTES = 1024 * 1024


class ServerLog:
    """A file that server and parent append to. Past its limit only its end is kept, in `server.log.1`."""

    def __init__(self, folder: Path) -> None:
        self._older = folder / f"{LOG}.1"
        self.fd = os.open(folder / LOG, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def say(self, text: str) -> None:
        """Add a line of the parent's own. A full disk must not keep it from its work."""
        try:
            os.write(self.fd, f"sublet: {text}\n".encode())
        except OSError:
            return

    def keep_small(self) -> None:
        """Call now and then: the server writes as fast as it likes, past this process."""
        size = os.fstat(self.fd).st_size
        if size <= _LIMIT_BYTES:
            return
        try:
            self._older.write_bytes(os.pread(self.fd, _KEPT_BYTES, size - _KEPT_BYTES))
        except OSError as error:
            self.say(f"the end of the full log could not be kept: {error}")
        os.ftruncate(self.fd, 0)
