"""What all commands that talk to a platform have in common: `--url`, `--json`, the connection, the printing."""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Concatenate, ParamSpec, TypeVar

import click
from rich import box
from rich.console import Console, RenderableType
from rich.table import Table

from sublet_hub.cli.client import Client, Json
from sublet_hub.cli.platform import find_target

P = ParamSpec("P")
R = TypeVar("R")

WIDTH_WITHOUT_TERMINAL = 200
"""Columns where the output is a pipe or a file: wide enough that no cell is cut."""


@dataclass(frozen=True, slots=True)
class Output:
    """Where a command writes: tables for people, or one JSON document for programs."""

    as_json: bool

    def show(self, document: Json, draw: Callable[[], Iterable[RenderableType]]) -> None:
        """The document where `--json` was given, else what `draw` makes of it."""
        if self.as_json:
            click.echo(json.dumps(document, indent=2, ensure_ascii=False))
            return
        out = console()
        for each in draw():
            out.print(each)


def console(*, error: bool = False) -> Console:
    stream = sys.stderr if error else sys.stdout
    width = None if stream.isatty() else WIDTH_WITHOUT_TERMINAL
    return Console(file=stream, width=width, highlight=False, soft_wrap=False)


def table(*headings: str, title: str | None = None, right: Iterable[str] = ()) -> Table:
    """An empty table in our one style; columns named in `right` are numbers."""
    made = Table(
        title=title, box=box.SIMPLE_HEAD, title_justify="left", title_style="bold", pad_edge=False, padding=(0, 1)
    )
    for heading in headings:
        made.add_column(heading, justify="right" if heading in set(right) else "left", overflow="fold")
    return made


json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print the answer as JSON, exactly as the API gives it."
)
report_json_option = click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
url_option = click.option(
    "--url",
    metavar="URL",
    help="Public address of the platform, with SUBLET_TOKEN set. Default: the platform in this folder or above it.",
)


def with_platform(command: Callable[Concatenate[Client, Output, P], R]) -> Callable[P, R]:
    """Give a command `--url` and `--json`, and pass it a connection and the output."""

    @url_option
    @json_option
    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        url, as_json = kwargs.pop("url"), kwargs.pop("as_json")
        assert url is None or isinstance(url, str)
        with Client(find_target(url)) as client:
            return command(client, Output(bool(as_json)), *args, **kwargs)

    return run
