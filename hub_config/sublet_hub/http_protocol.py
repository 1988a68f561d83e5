"""HTTP as uvicorn speaks it, and a way to hang up."""

from __future__ import annotations

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HANG_UP = "sublet.hang_up"
"""An extension of the ASGI scope. Its `now` drops the connection, with what its client never read."""


class HangingUp(HttpToolsProtocol):
    """Tells the application how to hang up on a client that reads nothing.

    Closing waits until all that was written is read: for whoever reads nothing, for ever.
    """

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {HANG_UP: {"now": self.transport.abort}}
