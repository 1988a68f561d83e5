"""The meter as a process: `sublet meter`."""

from __future__ import annotations

import logging
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Event
from types import FrameType

from prometheus_client import start_http_server

from sublet_hub.cluster.base import Cluster
from sublet_hub.cluster.local import LocalCluster
from sublet_hub.meter import metrics
from sublet_hub.meter.loop import Meter
from sublet_hub.settings import Settings
from sublet_hub.storage.anchors import Anchors
from sublet_hub.wiring import open_books

log = logging.getLogger(__name__)

SCRAPE_SECONDS = 5
"""How long a scrape of the metrics that is under way may take at the end."""


def serve(settings: Settings) -> None:
    """Run until SIGTERM or SIGINT, and then one more round. Metrics at `/metrics` of `meter_port`.

    On Kubernetes one of several meters works, and the others wait for its Lease.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    stop = Event()

    def on_signal(number: int, _frame: FrameType | None) -> None:
        log.info("stopping on %s", signal.Signals(number).name)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, on_signal)
    server, thread = start_http_server(settings.meter_port, addr=settings.internal_host, registry=metrics.REGISTRY)
    try:
        with _cluster(settings, stop) as ours:
            if ours is not None:
                _run(settings, ours, stop)
    finally:
        server.shutdown()
        thread.join(timeout=SCRAPE_SECONDS)


@dataclass(frozen=True, slots=True)
class _Ours:
    """What this meter looks after, and whether it still is the one to do so."""

    cluster: Cluster
    leads: Callable[[], bool] = lambda: True


def _run(settings: Settings, ours: _Ours, stop: Event) -> None:
    with open_books(settings) as books:
        log.info("metering")
        anchors = Anchors(settings.anchors_file)
        Meter(books, ours.cluster, anchors, settings.meter_tick_seconds, ours.leads).run(stop)


@contextmanager
def _cluster(settings: Settings, stop: Event) -> Iterator[_Ours | None]:
    """What runs leases, once it is our turn to look after it. None where we are stopped before."""
    if settings.cluster == "local":
        yield _Ours(LocalCluster(settings.data))
        return
    with _kubernetes(settings, stop) as ours:
        yield ours


@contextmanager
def _kubernetes(settings: Settings, stop: Event) -> Iterator[_Ours | None]:
    # One machine has none of these installed.
    from sublet_hub.cluster.kube.cluster import KubeCluster, KubeOptions
    from sublet_hub.cluster.kube.connection import connect
    from sublet_hub.cluster.kube.election import Leader
    from sublet_hub.cluster.kube.errors import KubeError

    def on_request(verb: str, code: int) -> None:
        metrics.KUBE_REQUESTS.labels(verb, str(code) if code else "none").inc()

    try:
        connection = connect(on_request)
    except KubeError as error:
        sys.exit(f"sublet meter: {error}")
    # The pod's name: a container that is started again takes its own claim up, another pod waits until it lapses.
    leader = Leader(connection, f"{settings.kube_release}-meter", socket.gethostname(), on_lost=stop.set)
    try:
        log.info("waiting for the lead")
        if not leader.wait(stop):
            yield None
            return
        cluster = KubeCluster(connection, KubeOptions(settings.kube_namespace or "", settings.kube_lost_node_seconds))
        try:
            cluster.start()
            yield _Ours(cluster, lambda: leader.is_leader)
        except KubeError as error:
            sys.exit(f"sublet meter: {error}")
        finally:
            cluster.close()
    finally:
        leader.close()
        connection.close()
