"""`sublet quota`: what each subject may use, and how much of it is used."""

from __future__ import annotations

import json
from typing import IO
from urllib.parse import quote

import click
from rich.text import Text

from sublet_hub.cli import quota_tables, units
from sublet_hub.cli.client import QUOTAS, Client, Json
from sublet_hub.cli.exits import UsageProblem
from sublet_hub.cli.options import Output, with_platform
from sublet_hub.cli.readings import Quota, read

KINDS = ("user", "group", "default")
BODY_MOST_BYTES = 256 * 1024


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
    output.show(document, lambda: quota_tables.one(client, read(Quota, document)))


@quota.command("list")
@with_platform
def list_(client: Client, output: Output) -> None:
    """Show every quota that was set: the default first, then users and groups."""
    documents = list(client.pages(f"{QUOTAS}/"))
    output.show(documents, lambda: quota_tables.several(client, [read(Quota, each) for each in documents]))


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
    output.show(document, lambda: quota_tables.one(client, read(Quota, document)))


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
    output.show(None, lambda: [Text(f"{whose} is deleted.")])


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
