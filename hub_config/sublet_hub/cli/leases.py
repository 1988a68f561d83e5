"""`sublet leases`: who holds what, until when; and stopping a lease."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any, TypeVar
from urllib.parse import quote

import click
from rich.table import Table
from rich.text import Text

from sublet_hub.cli import units
from sublet_hub.cli.client import API, Client
from sublet_hub.cli.options import Output, json_option, table, url_option, with_platform
from sublet_hub.cli.readings import Lease, read

OPEN = ("granted", "active", "ending")
OVER = ("ended", "void")

F = TypeVar("F", bound=Callable[..., Any])


_FILTERS = (
    click.option("--user", metavar="NAME", help="Only this user's."),
    click.option("--account", metavar="ACCOUNT", help="Only those paid by user:NAME or group:NAME."),
    click.option("--state", type=click.Choice((*OPEN, *OVER, "open")), help="Only those in this state."),
    click.option("--since", metavar="TIME", help="Only those not ended before this RFC 3339 time."),
)


def _filtered(command: F) -> F:
    for option in reversed(_FILTERS):
        command = option(command)
    return command


@click.group(invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@_filtered
@url_option
@json_option
@click.pass_context
def leases(ctx: click.Context, /, **given: object) -> None:
    """Show leases and stop them. Alone it is `sublet leases list`."""
    if ctx.invoked_subcommand is None:
        ctx.invoke(list_, **given)
    else:
        said = {name: value for name, value in given.items() if value}
        ctx.default_map = dict.fromkeys(leases.commands, said)


@leases.command("list")
@_filtered
@with_platform
def list_(
    client: Client, output: Output, user: str | None, account: str | None, state: str | None, since: str | None
) -> None:
    """Show leases, newest first: an admin's token shows all, any other its user's own."""
    wanted = {"user": user, "account": account, "since": since}
    params: dict[str, str | int] = {name: value for name, value in wanted.items() if value is not None}
    states: tuple[str | None, ...] = OPEN if state == "open" else (state,)
    documents = [
        each
        for one in states
        for each in client.pages(f"{API}/leases", params if one is None else {**params, "state": one})
    ]
    if state == "open":
        documents.sort(key=operator.itemgetter("requested_at"), reverse=True)
    output.show(documents, lambda: _tables([read(Lease, each) for each in documents]))


def _tables(found: list[Lease]) -> Iterator[Table | Text]:
    if not found:
        yield Text("There are no such leases.")
        return
    rows = table(
        "Lease", "User", "Account", "Flavor", "State", "Since", "Until", "Time", "GPU time", "Cost",
        right=("Time", "GPU time", "Cost"),
    )  # fmt: skip
    now = units.now_utc()
    for lease in found:
        rows.add_row(*_cells(lease, now))
    yield rows


@leases.command("stop")
@click.argument("lease_id", metavar="LEASE")
@click.option("--immediately", is_flag=True, help="End it now, without a notice first: it has a few seconds to save.")
@click.option("--why", metavar="TEXT", help="The reason, for the audit record.")
@with_platform
def stop(client: Client, output: Output, lease_id: str, immediately: bool, why: str | None) -> None:
    """End a lease: your own at once; another's, as an admin, with a notice first."""
    body: dict[str, object] = {"immediately": immediately}
    if why is not None:
        body["why"] = why
    document = client.write("POST", f"{API}/leases/{quote(lease_id, safe='')}/stop", body)
    output.show(document, lambda: [_stopped(read(Lease, document))])


def _stopped(lease: Lease) -> Text:
    when = f"ends {units.distance(lease.deadline_at, units.now_utc())}" if lease.state in OPEN else "has ended"
    return Text(f"Lease {lease.id} of {lease.user} {when}.")


def _cells(lease: Lease, now: datetime) -> tuple[str, ...]:
    started = lease.started_at or lease.requested_at
    ended = lease.ended_at or (now if lease.state in OPEN else started)
    if lease.state in OPEN:
        until = (
            f"{units.moment(lease.deadline_at, now)} ({units.distance(lease.deadline_at, now)},"
            f" {lease.deadline_reason})"
        )
    else:
        until = f"{units.moment(ended, now)} ({lease.end_reason or lease.state})"
    return (
        lease.id,
        lease.user,
        lease.account,
        f"{lease.flavor} {lease.tier}{' (simulated)' if lease.simulated else ''}",
        lease.state,
        units.moment(started, now),
        until,
        units.duration(max(0, round((ended - started).total_seconds()))),
        units.gpu_hours(lease.gpu_seconds),
        units.money(lease.cost_microunits, lease.currency),
    )
