"""A stand-in of the platform, and servers that are leases of it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.extension.server.jupyter import PYTHON, Jupyter, jupyter
from tests.extension.server.stand_in import LEASE_ID, TOKEN, StandIn, stand_in

Start = Callable[..., Jupyter]


@pytest.fixture
def platform() -> Iterator[StandIn]:
    with stand_in() as made:
        yield made


@pytest.fixture
def folder() -> Iterator[Path]:
    """Of a short name, as a Unix socket's path needs."""
    with tempfile.TemporaryDirectory(prefix="sub") as made:
        yield Path(made)


def lease_environment(platform: StandIn) -> dict[str, str]:
    return {
        "SUBLET_API_URL": platform.url,
        "SUBLET_LEASE_ID": LEASE_ID,
        "JUPYTERHUB_API_TOKEN": TOKEN,
        "CUDA_VISIBLE_DEVICES": "SIM-0",
    }


@pytest.fixture
def start(platform: StandIn, folder: Path) -> Iterator[Start]:
    """Start a server in the lease: options of the extension, and more of the environment."""
    if not PYTHON.exists():
        pytest.skip("no .venv-notebook: run `make setup`")
    with ExitStack() as stack:

        def started(env: dict[str, str] | None = None, **options: object) -> Jupyter:
            flags = [f"--SubletServer.{name}={value}" for name, value in options.items()]
            return stack.enter_context(jupyter(folder, lease_environment(platform) | (env or {}), *flags))

        yield started
