"""`sublet audit`: who did what to whom, before, after and why; and the proof that none of it was changed."""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from sublet_hub.cli import units
from sublet_hub.cli.client import API, PAGE_SIZE, Client
from sublet_hub.cli.exits import PROBLEM, CommandError, NotAllowed, Unreachable
from sublet_hub.cli.options import Output, console, report_json_option, table, with_platform
from sublet_hub.cli.platform import AS_OWNER, local_settings
from sublet_hub.cli.proof import verify_all
from sublet_hub.cli.readings import AuditLine, read
from sublet_hub.credentials import CredentialsError
from sublet_hub.domain.errors import PublicError
from sublet_hub.settings import SettingsError
from sublet_hub.storage.anchors import Anchors
from sublet_hub.wiring import open_books

MOST_LINES = 100_000


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def audit() -> None:
    """Show who did what, and prove that none of it was changed."""


@audit.command("show")
@click.option("--subject", metavar="SUBJECT", help="Only what concerns user:NAME, group:NAME or default.")
@click.option("--lease", metavar="LEASE", help="Only what concerns this lease.")
@click.option("--action", metavar="ACTION", help="Only this, such as quota.set or lease.refused.")
@click.option(
    "-n", "--number", "count", type=click.IntRange(1, MOST_LINES), default=50, show_default=True,
    help="How many records, counted from the newest.",
)  # fmt: skip
@with_platform
def show(
    client: Client, output: Output, subject: str | None, lease: str | None, action: str | None, count: int
) -> None:
    """Show audit records, newest first: an admin's token shows all, any other what concerns its user."""
    wanted = {"subject": subject, "lease": lease, "action": action}
    params: dict[str, str | int] = {name: value for name, value in wanted.items() if value is not None}
    params["limit"] = min(count, PAGE_SIZE)
    documents = list(itertools.islice(client.pages(f"{API}/audit", params), count))
    output.show(documents, lambda: _tables([read(AuditLine, each) for each in documents]))


def _tables(lines: list[AuditLine]) -> Iterator[Table | Text]:
    if not lines:
        yield Text("There are no such records.")
        return
    rows = table("Number", "When", "Who", "What", "Whom", "Change", "Why", right=("Number",))
    now = units.now_utc()
    for line in lines:
        change = " → ".join(_short(value) for value in (line.before, line.after) if value is not None)
        rows.add_row(
            str(line.number), units.moment(line.at, now), line.actor, line.action, line.subject, change, line.reason
        )
    yield rows


def _short(value: object) -> str:
    """A before or after in little room; the whole is in `--json`."""
    if isinstance(value, dict) and isinstance(value.get("limits"), list):
        value = {
            f"{each.get('what')}{'/' + each['window'] if each.get('window') else ''}": each.get("limit")
            for each in value["limits"]
        }
    if isinstance(value, dict):
        return ", ".join(
            f"{name}={item if isinstance(item, str) else json.dumps(item)}" for name, item in value.items()
        )
    return json.dumps(value, ensure_ascii=False)


@audit.command("verify")
@report_json_option
def verify(as_json: bool) -> None:
    """Prove that no audit record and no ledger entry was changed or removed.

    It reads the database and the data folder itself, so it runs beside the platform (which may be stopped), and
    need not trust the api. It recomputes the audit chain under the key in secrets.json, compares it with the MACs
    that the meter noted outside the database, and recomputes every account's ledger. Exits with 1 where something is
    wrong.
    """
    settings = local_settings()
    try:
        with open_books(settings) as books, _progress(quiet=as_json) as progress:
            report = verify_all(books, Anchors(settings.anchors_file).read(), progress)
    except PermissionError as error:
        raise NotAllowed(f"You may not read {error.filename}.", hint=AS_OWNER) from None
    except (PublicError, SettingsError, CredentialsError) as error:
        raise Unreachable(str(error), hint="Look with: sublet doctor") from None
    except ValueError as error:  # a file that was tampered with, in a way that is no chain at all
        raise CommandError(f"What is kept can't be read: {error}") from None
    Output(as_json).show(report.to_json(), lambda: [Text(report.to_text())])
    if report.faults:
        sys.exit(PROBLEM)


@contextmanager
def _progress(*, quiet: bool) -> Iterator[Progress]:
    with Progress(console=console(error=True), transient=True, disable=quiet) as progress:
        yield progress
