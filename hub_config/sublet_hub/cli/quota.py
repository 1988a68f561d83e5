"""`sublet quota`: what each subject may use, and how much of it is used."""

from __future__ import annotations

import json
from datetime import datetime
from typing import IO
from urllib.parse import quote

import click
from rich.table import Table
from rich.text import Text

from sublet_hub.cli import units
from sublet_hub.cli.client import API, QUOTAS, Client, Json
from sublet_hub.cli.exits import UsageProblem
from sublet_hub.cli.options import Output, table, with_platform
from sublet_hub.cli.readings import Lease, Limit, Quota, Usage, read

KINDS = ("user", "group", "default")
BODY_MOST_BYTES = 256 * 1024

WHAT_NAMES = {
    "gpu_seconds": "GPU time",
    "money_microunits": "Money",
    "model_tokens": "Model tokens",
    "gpus": "GPUs at once",
    "leases": "Leases at once",
    "lease_seconds": "Time per lease",
}
AT_ONCE = frozenset({"gpus", "leases"})


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def quota() -> None:
    """Show and change quotas.

    A quota belongs to a user (`alice` or `user alice`), to a group's account (`group lab`), or is the `default`
    that all have who have none of their own.
    """


def parse_subject(given: tuple[str, ...]) -> tuple[str, str]:
    """(kind, name) of `alice`, `user alice`, `group lab`, `user:alice`, `group:lab`, `default`."""
    words = given
    if words == ("default",):
        return "default", ""
    if len(words) == 1:
        kind, colon, name = words[0].partition(":")
        words = (kind, name) if colon else ("user", "" if kind in KINDS else kind)
    if len(words) == 2 and words[0] in {"user", "group"} and words[1]:
        return words[0], words[1]
    raise UsageProblem(f"{' '.join(given)!r} is no subject; write a user's name, `group NAME`, or `default`.")


def path_of(kind: str, name: str) -> str:
    return f"{QUOTAS}/default" if kind == "default" else f"{QUOTAS}/{kind}s/{quote(name, safe='')}"


subject_argument = click.argument("subject", nargs=-1, required=True)


@quota.command("get")
@subject_argument
@with_platform
def get(client: Client, output: Output, subject: tuple[str, ...]) -> None:
    """Show one quota with what is used, held and left.

    For example: sublet quota get alice
    """
    document = client.get(path_of(*parse_subject(subject)))
    reading = read(Quota, document)
    output.show(document, *_describe(client, reading))


@quota.command("list")
@with_platform
def list_(client: Client, output: Output) -> None:
    """Show every quota that was set: the default first, then users and groups."""
    documents = list(client.pages(f"{QUOTAS}/"))
    readings = [read(Quota, each) for each in documents]
    currency = _currency(client, readings)
    rows = table("Subject", "Limit", "Allowed", "Used", "Held", "Left", "Begins anew", right=_NUMBERS)
    now = units.now_utc()
    for reading in readings:
        for i, limit in enumerate(reading.limits):
            rows.add_row(
                reading.subject if i == 0 else "",
                *_cells(limit, currency, now, of_default=reading.subject == "default"),
            )
        if not reading.limits:
            rows.add_row(reading.subject, "no limits", "", "", "", "", "")
    output.show(documents, rows if readings else Text("No quota is set; nobody can lease anything."))


@quota.command("set")
@subject_argument
@click.option(
    "--limit",
    "limits",
    multiple=True,
    metavar="WHAT=AMOUNT[/WINDOW]",
    help="A limit, such as gpu_seconds=10h/week, gpus=2, money=50/month, lease_seconds=12h, leases=3; with a"
    " flavor gpus@NAME=1. AMOUNT none takes the limit away. May be given several times.",
)
@click.option(
    "--file",
    "source",
    type=click.File("rb"),
    help="Replace the whole quota by this JSON document, as `quota get --json` prints it; - is standard input.",
)
@click.option("--replace", is_flag=True, help="Replace the whole quota by the limits given, instead of adding them.")
@click.option("--time-zone", metavar="ZONE", help="IANA time zone in which days, weeks and months begin.")
@click.option("--why", metavar="TEXT", help="The reason, for the audit record.")
@with_platform
def set_(
    client: Client,
    output: Output,
    subject: tuple[str, ...],
    limits: tuple[str, ...],
    source: IO[bytes] | None,
    replace: bool,
    time_zone: str | None,
    why: str | None,
) -> None:
    """Change a quota; running leases follow at once.

    Only the limits that are given change; a subject that has no quota of its own starts from a copy of the default.

    For example: sublet quota set user alice --limit gpu_seconds=10h/week --limit gpus=2
    """
    path = path_of(*parse_subject(subject))
    body = _body(limits, source, time_zone, why)
    whole = replace or source is not None
    document = client.write("PUT" if whole else "PATCH", path, body)
    reading = read(Quota, document)
    output.show(document, *_describe(client, reading), *_moved(reading.leases))


@quota.command("delete")
@subject_argument
@with_platform
def delete(client: Client, output: Output, subject: tuple[str, ...]) -> None:
    """Take a subject's own quota away, so that the default's applies.

    Deleting the default itself refuses leases to all who have no quota of their own.
    """
    kind, name = parse_subject(subject)
    client.write("DELETE", path_of(kind, name))
    whose = "The default quota" if kind == "default" else f"The own quota of {kind}:{name}"
    output.show(None, Text(f"{whose} is deleted."))


def _body(limits: tuple[str, ...], source: IO[bytes] | None, time_zone: str | None, why: str | None) -> Json:
    if source is not None and limits:
        raise UsageProblem("Give --limit or --file, not both.")
    if source is None and not limits and time_zone is None:
        raise UsageProblem("Nothing to change.", hint="Give --limit WHAT=AMOUNT[/WINDOW], --file or --time-zone.")
    body = _from_file(source) if source else {}
    if limits:
        try:
            body["limits"] = [units.parse_limit(text).to_json() for text in limits]
        except units.UnitsError as error:
            raise UsageProblem(str(error)) from None
    if time_zone is not None:
        body["time_zone"] = time_zone
    if why is not None:
        body["why"] = why
    return body


def _from_file(source: IO[bytes]) -> dict[str, Json]:
    content = source.read(BODY_MOST_BYTES + 1)
    if len(content) > BODY_MOST_BYTES:
        raise UsageProblem(f"The file is longer than {BODY_MOST_BYTES // 1024} KiB; that is no quota.")
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise UsageProblem(f"The file is not valid JSON: {error}.") from None
    if not isinstance(document, dict):
        raise UsageProblem('The file holds no quota: write {"limits": [...], "time_zone": "UTC"}.')
    return document


_NUMBERS = ("Allowed", "Used", "Held", "Left")


def _describe(client: Client, reading: Quota) -> tuple[Table | Text, ...]:
    inherited = "" if reading.own else ", from the default"
    title = f"Quota of {reading.subject}{inherited} (time zone {reading.time_zone})"
    if not reading.limits:
        return (Text(f"{title}: no limits."),)
    rows = table("Limit", "Allowed", "Used", "Held", "Left", "Begins anew", title=title, right=_NUMBERS)
    currency, now = _currency(client, [reading]), units.now_utc()
    for limit in reading.limits:
        rows.add_row(*_cells(limit, currency, now, of_default=reading.subject == "default"))
    return (rows,)


def _cells(limit: Limit, currency: str, now: datetime, *, of_default: bool) -> tuple[str, ...]:
    name = WHAT_NAMES.get(limit.what, limit.what)
    window = {None: "", "total": " in total"}.get(limit.window, f" per {limit.window}")
    if limit.window and limit.window.startswith("P"):
        window = f" in any {limit.window}"
    flavor = f" on {limit.flavor}" if limit.flavor else ""
    counts = limit.window is not None or limit.what in AT_ONCE
    use = (limit.used, limit.held, limit.left) if counts and not of_default else ()
    amounts = [amount(limit.what, each, currency) for each in (limit.limit, *use)]
    resets = (
        f"{units.moment(limit.resets_at, now)} ({units.distance(limit.resets_at, now)})" if limit.resets_at else ""
    )
    return (name + window + flavor, *amounts, *[""] * (4 - len(amounts)), resets)


def amount(what: str, value: int, currency: str) -> str:
    """A limit's value for people."""
    if what == "gpu_seconds":
        return units.gpu_hours(value)
    if what == "money_microunits":
        return units.money(value, currency)
    return units.duration(value) if what == "lease_seconds" else f"{value:,}"


def _currency(client: Client, readings: list[Quota]) -> str:
    """The platform's currency; asked for only where money is limited."""
    for reading in readings:
        if any(limit.what == "money_microunits" for limit in reading.limits):
            account = reading.subject if reading.subject != "default" else "user:default"
            return read(Usage, client.get(f"{API}/usage", {"account": account, "days": 1})).currency
    return ""


def _moved(leases: tuple[Lease, ...]) -> tuple[Table, ...]:
    if not leases:
        return ()
    now = units.now_utc()
    rows = table("Lease", "User", "Ends", "Because of", title="Leases whose deadline moved")
    for lease in leases:
        rows.add_row(lease.id, lease.user, _until(lease, now), lease.deadline_reason)
    return (rows,)


def _until(lease: Lease, now: datetime) -> str:
    return f"{units.moment(lease.deadline_at, now)} ({units.distance(lease.deadline_at, now)})"
