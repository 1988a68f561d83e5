"""The meter as a process: `sublet meter`."""

from __future__ import annotations

import logging
import signal
from threading import Event
from types import FrameType

from prometheus_client import start_http_server

from sublet_hub.cluster.local import LocalCluster
from sublet_hub.meter.loop import Meter
from sublet_hub.meter.metrics import REGISTRY
from sublet_hub.settings import Settings
from sublet_hub.storage.anchors import Anchors
from sublet_hub.wiring import open_books

log = logging.getLogger(__name__)


def serve(settings: Settings) -> None:
    """Run until SIGTERM or SIGINT, and then one more round. Metrics at `/metrics` of `meter_port`."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    stop = Event()

    def on_signal(number: int, _frame: FrameType | None) -> None:
        log.info("stopping on %s", signal.Signals(number).name)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, on_signal)
    with open_books(settings) as books:
        anchors = Anchors(settings.anchors_file)
        meter = Meter(books, LocalCluster(settings.data), anchors, settings.meter_tick_seconds)
        server, thread = start_http_server(settings.meter_port, addr=settings.internal_host, registry=REGISTRY)
        log.info("metering")
        meter.run(stop)
        server.shutdown()
        thread.join(timeout=5)
