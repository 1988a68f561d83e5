"""A watch: one request whose answer goes on, a JSON document a line."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Self

import httpx2 as httpx

from sublet_hub.cluster.kube.errors import Ask, KubeError
from sublet_hub.cluster.kube.exchange import Exchange, unanswered

_LINE_BYTES = 16 * 1024 * 1024
"""No object is nearly as large: etcd takes 1.5 MB."""


class Watch:
    """Enter it to send the request, then iterate over its lines, in one thread. It may be cut from any."""

    def __init__(self, exchange: Exchange, ask: Ask, query: Mapping[str, str], silence_seconds: float) -> None:
        self._exchange = exchange
        self._ask = ask
        self._query = query
        self._silence_seconds = silence_seconds
        self._lock = threading.Lock()
        self._response: httpx.Response | None = None
        self._is_cut = False

    def __enter__(self) -> Self:
        response = self._exchange.begin(self._ask, self._query, self._silence_seconds)
        with self._lock:
            self._response = response
            if self._is_cut:
                self._shut()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            response, self._response = self._response, None
        if response is not None:
            response.close()

    def __iter__(self) -> Iterator[bytes]:
        """Every line, as it comes. Ends when the server says so, or when it is cut."""
        assert self._response is not None, "the watch has not been entered"
        rest = b""
        try:
            for chunk in self._response.iter_raw():
                *lines, rest = (rest + chunk).split(b"\n")
                yield from lines
                if len(rest) > _LINE_BYTES:
                    raise KubeError(f"a line of a watch is longer than {_LINE_BYTES} bytes")
        except httpx.RequestError as error:
            if not self._is_cut:
                raise unanswered(self._ask, error) from error

    def cut(self) -> None:
        """End it now, whatever it is waiting for."""
        with self._lock:
            self._is_cut = True
            self._shut()

    def _shut(self) -> None:
        if self._response is None:
            return
        stream = self._response.extensions.get("network_stream")
        held = stream.get_extra_info("socket") if stream is not None else None
        if isinstance(held, socket.socket):
            try:
                socket.socket.shutdown(held, socket.SHUT_RDWR)
            except OSError:  # it is down already
                return
