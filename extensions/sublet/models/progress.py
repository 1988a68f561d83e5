"""How far the weights of a model have come, where that takes a while."""

from __future__ import annotations

import importlib
import sys
from typing import Any, Self

QUIET_SECONDS = 0.5
"""What is over sooner shows no bar."""


class Progress:
    """A bar of bytes, by tqdm, which whatever loads models brings along."""

    def __init__(self, name: str, size_bytes: int) -> None:
        tqdm: Any = importlib.import_module("tqdm").tqdm
        self._bar = tqdm(
            total=size_bytes, desc=f"Loading {name}", unit="B", unit_scale=True, unit_divisor=1024,
            delay=QUIET_SECONDS, file=sys.stderr, leave=False,
        )  # fmt: skip

    def add(self, size_bytes: int) -> None:
        """So many more bytes have come."""
        self._bar.update(size_bytes)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()
