"""Checks of the machine: its clock, how far it can confine servers, and its GPUs."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

from sublet_hub.catalog import load_catalog
from sublet_hub.cli.doctor.findings import Finding, ok, problem, warning
from sublet_hub.cluster.gpus import GpuDiscoveryError, discover
from sublet_hub.cluster.probe import probe
from sublet_hub.settings import Settings, SettingsError

EARLIEST_S = 1_767_225_600
"""2026-01-01 UTC, before which nothing of ours ran."""

LATEST_STEP_MS = 2_000
"""How far in the future a record may lie before the clock must have been set back."""


def clock(settings: Settings) -> Iterator[Finding]:
    """The clock is set, and was not set back since something was recorded."""
    now_s = time.time()
    if now_s < EARLIEST_S:
        yield problem("clock", f"The clock says {time.strftime('%Y-%m-%d')}.", "Set it, best by NTP (chrony).")
        return
    newest = max((file.stat().st_mtime for file in settings.data.glob("*.sqlite*")), default=0.0)
    if newest * 1000 > now_s * 1000 + LATEST_STEP_MS:
        ahead = round(newest - now_s)
        yield problem(
            "clock",
            f"The database was written {ahead} s in the future: the clock was set back.",
            "Set the clock by NTP (chrony), and wait until it has passed that moment before starting Sublet.",
        )
    else:
        yield ok("clock", f"{time.strftime('%Y-%m-%d %H:%M:%S %Z')}.")


def sandbox(_settings: Settings) -> Iterator[Finding]:
    """How far users' servers can be kept from the platform here; tried out, not guessed."""
    report = probe()
    meaning = " ".join(report.meaning)
    if report.contained:
        yield ok("sandbox", f"Level {report.level.value}. {meaning}")
        return
    mend = f"What is missing: {report.missing}."
    if os.geteuid() != 0:
        mend += " Run Sublet as root, or allow user namespaces (sysctl kernel.unprivileged_userns_clone=1)."
    yield warning("sandbox", f"Level {report.level.value}. {meaning}", mend)


def gpus(settings: Settings) -> Iterator[Finding]:
    """The GPUs of the machine answer, and are those that sublet.toml leases."""
    try:
        found = {device.uuid: device.model for device in discover()}
    except GpuDiscoveryError as error:
        yield problem(
            "gpus", f"{str(error)[:1].upper()}{str(error)[1:]}.", "Run nvidia-smi; reload the driver or restart."
        )
        return
    try:
        pools = tuple(load_catalog(settings).pools.values())
    except SettingsError:
        pools = ()  # `files` or `configuration` says what is wrong
    wanted = {device.uuid: pool.name for pool in pools if not pool.simulated for device in pool.devices}
    for uuid in wanted.keys() - found.keys():
        yield problem(
            "gpus",
            f"Pool {wanted[uuid]} leases {uuid}, which this machine does not have.",
            f"Take it out of {settings.toml_file}, or find out with nvidia-smi why it is gone.",
        )
    leased = {device.uuid for pool in pools for device in pool.devices}
    for uuid in found.keys() - leased:
        yield warning("gpus", f"{found[uuid]} ({uuid}) is in no pool.", f"Add it to one in {settings.toml_file}.")
    if found:
        yield ok("gpus", f"{len(found)} GPUs or slices: {', '.join(sorted(set(found.values())))}.")
    elif not wanted:
        yield ok("gpus", "This machine has no GPU; leases get simulated ones, named so everywhere.")
