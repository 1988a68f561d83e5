"""The command `sublet` in a server's terminals: what one holds, what is left, and when to stop."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import TextIO

from sublet import client, models, wording
from sublet.errors import NotInALease, Refused, SubletError, Unavailable
from sublet.leases import OVER, Lease
from sublet.models import Models
from sublet.quotas import Quota
from sublet.usages import Usage

DAY = timedelta(days=1)

OK = 0
PROBLEM = 1
"""The platform refused what was asked."""
WRONG_USE = 2
"""The command line is wrong; nothing was done. (argparse ends with it, too.)"""
UNREACHABLE = 3
"""This is no lease, or the platform doesn't answer."""
NOT_ALLOWED = 4
"""The token of this server is unknown, or may not do this."""

EXITS = """\
exit status:
  0  done
  1  the platform refused; the sentence says why
  2  the command line is wrong
  3  this is not in a lease, or the platform does not answer
  4  this server's token may not do that
"""


def main(arguments: Sequence[str]) -> int:
    """Run the command; its exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if not options.command:
        parser.print_help()
        return OK
    try:
        shown, text = options.run(options)
    except SubletError as error:
        _write(sys.stderr, f"Error: {error}")
        return _status(error)
    return _write(sys.stdout, json.dumps(shown.document, indent=2) if options.json else text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="sublet",
        description="What you hold, what it costs, what is left, and when this server stops.",
        epilog=EXITS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")

    def command(
        name: str, run: Callable[[argparse.Namespace], tuple[Shown, str]], told: str
    ) -> argparse.ArgumentParser:
        added = commands.add_parser(
            name, help=told[0].lower() + told[1:].rstrip("."), description=told,
            epilog=EXITS, formatter_class=argparse.RawDescriptionHelpFormatter,
        )  # fmt: skip
        added.add_argument("--json", action="store_true", help="print what the platform answers, as JSON")
        added.set_defaults(run=run)
        return added

    command("quota", _quota, "What is left on each account that may pay for you.")
    command("lease", _lease, "This lease: its price, until when it runs and why, GPU time and money so far.")
    command("usage", _usage, "What was used this month of each account that may pay for you.")
    stop = command("stop", _stop, "Stop this server, in ten seconds or at a time; open documents are saved before.")
    stop.add_argument(
        "--at", type=_moment, metavar="TIME",
        help="when: 18:30 (the next time that it is, in this computer's time zone), or 2026-11-23T18:30",
    )  # fmt: skip
    command("keep", _keep, "Take back a stop that you have planned, or one because the server is idle.")
    listed = command("models", _models, "The models of the platform; with a name, the folder of its files.")
    listed.add_argument("name", nargs="?", metavar="NAME", help="a model that is on this server")
    return parser


@dataclass(frozen=True, slots=True)
class Folder:
    """Where the files of a model are."""

    document: Mapping[str, str]


Shown = Quota | Lease | Usage | Models | Folder


def _quota(_: argparse.Namespace) -> tuple[Shown, str]:
    quota = client.quota()
    return quota, str(quota)


def _lease(_: argparse.Namespace) -> tuple[Shown, str]:
    lease = client.lease()
    return lease, str(lease)


def _usage(_: argparse.Namespace) -> tuple[Shown, str]:
    usage = client.usage()
    return usage, str(usage)


def _stop(options: argparse.Namespace) -> tuple[Shown, str]:
    lease = client.stop(options.at)
    if lease.state in OVER:
        return lease, "This server's lease has ended."
    if options.at is None:
        return lease, f"This server stops in {lease.seconds_left} s; open documents are saved before."
    return lease, f"This server stops at {wording.until(lease, lease.read_at)}. Take it back with: sublet keep"


def _keep(_: argparse.Namespace) -> tuple[Shown, str]:
    lease = client.keep()
    return lease, f"This server is kept. It may run until {wording.until(lease, lease.read_at)}."


def _models(options: argparse.Namespace) -> tuple[Shown, str]:
    if options.name is None:
        listed = models.list()
        return listed, str(listed)
    folder = str(models.path(options.name))
    return Folder({"name": options.name, "path": folder}), folder


def _moment(text: str) -> datetime:
    """A time of day is the next one; a date and time without a zone is in this computer's."""
    now = datetime.now().astimezone()
    try:
        if ":" in text and len(text) <= len("18:30:00"):
            today = datetime.combine(now.date(), time.fromisoformat(text))
            return (today if today.astimezone() > now else today + DAY).astimezone()
        at = datetime.fromisoformat(text)
        if len(text) < len("2026-11-23T18:30"):
            raise ValueError
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no time; write it as 18:30 or 2026-11-23T18:30") from None
    if at.astimezone() <= now:
        raise argparse.ArgumentTypeError(f"{text!r} is over; name a time to come, or leave --at out to stop now")
    return at.astimezone()


def _status(error: SubletError) -> int:
    if isinstance(error, NotInALease | Unavailable):
        return UNREACHABLE
    return NOT_ALLOWED if isinstance(error, Refused) and error.status in {401, 403} else PROBLEM


def _write(stream: TextIO, text: str) -> int:
    try:
        print(text, file=stream, flush=True)
    except BrokenPipeError:
        # `sublet lease | head -1`: nobody reads the rest, and Python shall not complain when it closes the stream.
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    return OK
