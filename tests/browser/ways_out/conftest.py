"""A platform of its own for servers that end, with short notices and an idle policy."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fixtures.platform import Platform

FLAVORS = """\
[[pools]]
name = "simulated-gpu"
gpu_model = "Simulated GPU"
simulated = true
devices = ["SIM-0", "SIM-1", "SIM-2", "SIM-3"]

[pools.idle]
after_minutes = 1

[[flavors]]
name = "one"
title = "1 × Simulated GPU"
pool = "simulated-gpu"
gpus = 1
cpus = 1
memory_gib = 2
prices = { guaranteed = 2000000, surplus = 1000000 }
"""
NOTICE_SECONDS = 12
ASKS_OFTEN = "c.Spawner.args.append('--HubAuth.cache_max_age=1')\n"
"""Servers remember for five minutes who somebody is. That must not be what lets a page save at the very end."""


@pytest.fixture(scope="session")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    folder: Path = tmp_path_factory.mktemp("ways-out")
    extra = folder / "extra.py"
    extra.write_text(ASKS_OFTEN, encoding="utf-8")
    settings = {
        "SUBLET_HUB_EXTRA_CONFIG": str(extra),
        "SUBLET_NOTICE_SECONDS": f"{NOTICE_SECONDS},4",
        "SUBLET_STOP_GRACE_SECONDS": "8",
        "SUBLET_METER_TICK_SECONDS": "0.5",
        "SUBLET_POST_INTERVAL_SECONDS": "5",
        "SUBLET_TOKEN_CACHE_SECONDS": "2",
        "SUBLET_SPAWN_TIMEOUT_SECONDS": "180",
    }
    made = Platform(folder, settings, tiny=False).with_catalogue(FLAVORS).start()
    yield made
    assert made.stop() == 0
