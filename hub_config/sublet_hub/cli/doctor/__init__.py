"""`sublet doctor`: what is wrong with this installation, and how to mend it."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from functools import partial

import click
from rich.console import Console
from rich.text import Text

from sublet_hub.cli.client import Client
from sublet_hub.cli.doctor import books as of_books
from sublet_hub.cli.doctor import data_folder, installation, machine, remote, running
from sublet_hub.cli.doctor import models as of_models
from sublet_hub.cli.doctor.findings import Check, Finding, Level, problem
from sublet_hub.cli.exits import PROBLEM, UsageProblem
from sublet_hub.cli.options import Output, console, report_json_option
from sublet_hub.cli.platform import AS_OWNER, find_target, local_settings
from sublet_hub.credentials import CredentialsError
from sublet_hub.domain.errors import PublicError
from sublet_hub.settings import Settings, SettingsError
from sublet_hub.wiring import open_books

CHECKS: tuple[Check, ...] = (
    installation.python,
    installation.node_and_proxy,
    installation.hub_config,
    installation.notebooks,
    data_folder.files,
    data_folder.configuration,
    data_folder.disk,
    of_models.models,
    machine.clock,
    machine.sandbox,
    machine.gpus,
    running.parts,
)
BOOK_CHECKS: tuple[of_books.BookCheck, ...] = (
    of_books.database,
    of_books.quota,
    of_books.heartbeat,
    of_books.leases,
    of_books.audit,
)
REMOTE_CHECKS: tuple[remote.RemoteCheck, ...] = (remote.hub, remote.api, remote.quotas, remote.platform)
LONGEST_WAIT_SECONDS = 3600
LOOK_AGAIN_SECONDS = 1.0
SIGNS = {Level.OK: ("✓", "green"), Level.WARNING: ("!", "yellow"), Level.PROBLEM: ("✗", "red")}


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--url",
    metavar="URL",
    help="Look at the platform at this public address, with SUBLET_TOKEN set to an admin's token.",
)
@click.option(
    "--wait",
    "wait_seconds",
    type=click.IntRange(0, LONGEST_WAIT_SECONDS),
    metavar="SECONDS",
    help="With --url: how long to look again while there is a problem, for a platform that is just starting.",
)
@report_json_option
def doctor(url: str | None, wait_seconds: int | None, as_json: bool) -> None:
    """Say what is wrong with this installation and how to mend it. Changes nothing.

    Run it beside the platform, as the user whom the platform runs as; or from anywhere with --url, which looks at
    less. Exits with 1 where there is a problem; a warning is none.
    """
    if url is None and wait_seconds is not None:
        raise UsageProblem("--wait goes with --url.")
    found: list[Finding] = []
    out = console()
    for finding in examine(local_settings()) if url is None else examine_remote(url, wait_seconds or 0):
        found.append(finding)
        if not as_json:
            _print(out, finding)
    problems = sum(finding.level is Level.PROBLEM for finding in found)
    Output(as_json).show([finding.to_json() for finding in found], lambda: [_summary(found)])
    if problems:
        sys.exit(PROBLEM)


def examine(settings: Settings) -> Iterator[Finding]:
    """All findings, as they are made."""
    for check in CHECKS:
        yield from _guarded(check.__name__, partial(check, settings))
    if not data_folder.has_platform(settings):
        return
    try:
        with open_books(settings) as books:
            for book_check in BOOK_CHECKS:
                yield from _guarded(book_check.__name__, partial(book_check, settings, books))
    except PermissionError as error:
        yield problem("database", f"You may not read {error.filename}.", AS_OWNER)
    except (PublicError, CredentialsError, SettingsError) as error:
        mend = "`sublet up` makes and migrates the database; with PostgreSQL, look at SUBLET_DATABASE_URL."
        yield problem("database", str(error), mend)


def examine_remote(url: str, wait_seconds: float) -> Iterator[Finding]:
    """What can be found from afar; where it is a problem, what is found at last when so long has passed."""
    deadline = time.monotonic() + wait_seconds
    with Client(find_target(url)) as client:
        while True:
            found = [
                each
                for check in REMOTE_CHECKS
                for each in _guarded(check.__name__, partial(remote.findings, check, client))
            ]
            if time.monotonic() > deadline or all(each.level is not Level.PROBLEM for each in found):
                break
            time.sleep(LOOK_AGAIN_SECONDS)
    yield from found


def _guarded(name: str, check: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """The findings of a check; that it fails itself is one too, and must not hide the others'."""
    try:
        yield from check()
    except Exception as error:  # noqa: BLE001 — the top of the loop; whatever is broken is what we are here to tell
        yield problem(
            name, f"This could not be checked: {type(error).__name__}: {error}", "See what the error names."
        )


def _print(out: Console, finding: Finding) -> None:
    sign, colour = SIGNS[finding.level]
    out.print(Text.assemble((f"{sign} ", f"bold {colour}"), (f"{finding.check:<15}", "bold"), finding.text))
    if finding.mend:
        out.print(Text.assemble(" " * 17, ("→ ", colour), finding.mend))


def _summary(found: list[Finding]) -> Text:
    problems = sum(finding.level is Level.PROBLEM for finding in found)
    warnings = sum(finding.level is Level.WARNING for finding in found)
    if not problems and not warnings:
        return Text("\nAll is well.", style="bold green")
    counts = [
        f"{count} {name}{'s' if count > 1 else ''}"
        for count, name in ((problems, "problem"), (warnings, "warning"))
        if count
    ]
    return Text(f"\n{' and '.join(counts)}.", style="bold red" if problems else "bold yellow")
