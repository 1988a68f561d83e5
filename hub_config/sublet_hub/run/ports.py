"""Whether the ports we need are free, said before anything starts rather than in a child's traceback."""

from __future__ import annotations

import errno
import socket
import time
from collections.abc import Mapping

import psutil

from sublet_hub.settings import Settings, env_name

WAIT_SECONDS = 5.0
"""How long a busy port may take to come free: children of a killed `up` die with it, but not in no time."""


class PortTaken(Exception):
    """Something else listens on a port we need; the message says which port, who, and which setting moves
    us."""


def check_free(settings: Settings, wait_seconds: float = WAIT_SECONDS) -> None:
    """PortTaken unless all ports of the settings can be listened on."""
    wanted = {
        "port": (settings.host, settings.port),
        **{
            name: ("127.0.0.1", getattr(settings, name))
            for name in (
                *("proxy_api_port", "hub_port", "api_port", "meter_port", "gateway_port"),
                *(("dask_port", "dask_api_port") if settings.dask else ()),
            )
        },
    }
    deadline = time.monotonic() + wait_seconds
    while taken := _taken(wanted):
        if time.monotonic() > deadline:
            raise PortTaken("\n".join(_describe(name, port) for name, port in taken.items()))
        time.sleep(0.1)


def _taken(wanted: Mapping[str, tuple[str, int]]) -> dict[str, int]:
    return {name: port for name, (host, port) in wanted.items() if not _can_listen(host, port)}


def _can_listen(host: str, port: int) -> bool:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return False
            raise PortTaken(f"Cannot listen on {host} port {port}: {error.strerror}.") from None
    return True


def _describe(name: str, port: int) -> str:
    return f"Port {port} is in use{_by_whom(port)}. Stop that, or choose another with {env_name(name)}."


def _by_whom(port: int) -> str:
    try:
        for connection in psutil.net_connections("tcp"):
            there = connection.status == psutil.CONN_LISTEN and getattr(connection.laddr, "port", None) == port
            if there and connection.pid:
                return f" by process {connection.pid} ({psutil.Process(connection.pid).name()})"
    except psutil.Error:
        pass  # not ours to see; the port is what matters
    return ""
