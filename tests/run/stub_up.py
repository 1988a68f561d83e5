"""`sublet up` with four small stand-ins for the real processes: what the runner does with them is real.

Each stand-in notes its starts and its stop in `<data>/events` and answers on its part's port.
`STUB_BROKEN=name` lets one of them end at once, `STUB_STUBBORN=name` lets one ignore SIGTERM. `STUB_HASTY` has
somebody press Ctrl-C before any of them is started.
"""

from __future__ import annotations

import os
import signal
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

EVENTS = "events"


def note(data: Path, line: str) -> None:
    with (data / EVENTS).open("a", encoding="utf-8") as file:
        file.write(f"{line}\n")


def stand_in(name: str, port: int, data: Path) -> None:
    """Be one part: answer 200 to all, until SIGTERM."""
    if os.environ.get("STUB_BROKEN") == name:
        sys.exit(f"{name} is broken on purpose")

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()

        def do_POST(self) -> None:
            note(data, f"{name} was told {self.path}")
            self.do_GET()

    def stop(_number: int, _frame: object) -> None:
        if os.environ.get("STUB_STUBBORN") == name:
            note(data, f"{name} was asked to stop")
            return
        note(data, f"{name} stopped")
        os._exit(0)

    signal.signal(signal.SIGTERM, stop)
    server = HTTPServer(("127.0.0.1", port), Answer)
    note(data, f"{name} started {os.getpid()}")
    server.serve_forever()


def main() -> int:
    from sublet_hub.credentials import Secrets
    from sublet_hub.run.parts import Part
    from sublet_hub.run.up import up
    from sublet_hub.settings import Settings, load_settings

    def parts(settings: Settings, _secrets: Secrets) -> tuple[Part, ...]:
        if "STUB_HASTY" in os.environ:
            os.kill(os.getpid(), signal.SIGINT)
        ports = {
            "proxy": settings.proxy_api_port,
            "hub": settings.hub_port,
            "api": settings.api_port,
            "gateway": settings.gateway_port,
            "meter": settings.meter_port,
        }
        return tuple(
            Part(name, (sys.executable, __file__, name, str(port), str(settings.data)), f"http://127.0.0.1:{port}/")
            for name, port in ports.items()
        )

    return up(load_settings(), parts)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        stand_in(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
    sys.exit(main())
