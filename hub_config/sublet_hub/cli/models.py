"""`sublet models`: fill the store of models, check it, and clear it."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import click
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from sublet_hub.catalog import load_models
from sublet_hub.cli.exits import PROBLEM, CommandError, NotAllowed, UsageProblem
from sublet_hub.cli.model_tables import Verified, human_size, lines_of, list_table, verified_lines
from sublet_hub.cli.options import Output, console, json_option, report_json_option
from sublet_hub.cli.platform import AS_OWNER, find_data, local_settings
from sublet_hub.cli.processes import HELP, settings_here
from sublet_hub.domain.errors import NotFound
from sublet_hub.domain.models import Model, ModelCatalogue
from sublet_hub.models_store import Store, StoreError
from sublet_hub.models_store.adding import Adding
from sublet_hub.models_store.describing import Said, described
from sublet_hub.models_store.keeping import problems_of, publish
from sublet_hub.models_store.keeping import remove as remove_stored
from sublet_hub.models_store.sources import at_hand, source_from
from sublet_hub.settings import Settings, SettingsError

TOKEN_VARIABLE = "HF_TOKEN"  # noqa: S105 - its name, not a token
LOOK_SECONDS = 1.0
"""Between two looks for a model that is waited for."""


@dataclass(frozen=True, slots=True)
class Shelf:
    """The store and its catalogue."""

    settings: Settings
    catalogue: ModelCatalogue
    store: Store

    def chosen(self, names: Sequence[str]) -> list[Model]:
        """These models, or all that have files."""
        if not names:
            return [model for model in self.catalogue.models.values() if model.files]
        try:
            return [self.catalogue.model(name) for name in dict.fromkeys(names)]
        except NotFound as error:
            raise UsageProblem(str(error), hint=f"The catalogue is {self.settings.models_toml}.") from None


def _shelf() -> Shelf:
    """The store of the platform that we are beside; without one, of the settings in the environment."""
    settings = settings_here() if find_data(Path.cwd(), os.environ) is None else local_settings()
    try:
        return Shelf(settings, load_models(settings), Store(settings.models_dir))
    except SettingsError as error:
        raise UsageProblem(str(error)) from None


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except StoreError as error:
        raise CommandError(str(error), hint=error.hint) from None
    except PermissionError as error:
        raise NotAllowed(f"You may not write to {error.filename}.", hint=AS_OWNER) from None
    except OSError as error:
        raise CommandError(f"{error.filename or 'The store'}: {error.strerror or error}.") from None


class Bar:
    """A progress bar on standard error, for one model after another; only where that is a terminal."""

    def __init__(self) -> None:
        out = console(error=True)
        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
        self._progress = Progress(
            *columns, TransferSpeedColumn(), TimeRemainingColumn(), console=out, transient=True,
            disable=not out.is_terminal,
        )  # fmt: skip
        self._task: TaskID | None = None

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, _kind: type[BaseException] | None, _error: object, _trace: TracebackType | None) -> None:
        self._progress.stop()

    def begin(self, what: str, total: int) -> None:
        if self._task is not None:
            self._progress.remove_task(self._task)
        self._task = self._progress.add_task(what, total=total)

    def advance(self, count: int) -> None:
        if self._task is not None:
            self._progress.advance(self._task, count)


@click.group(context_settings=HELP)
def models() -> None:
    """Fill the store of models, check it, and clear it.

    What can be in it is written in the catalogue, models.toml. The commands work on the files themselves, so they run
    beside the platform (which may be stopped), or wherever SUBLET_MODELS_DIR and SUBLET_MODELS_FILE say.
    """


@models.command("add")
@click.argument("names", metavar="[MODEL]...", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="All models of the catalogue that have files.")
@click.option(
    "--from", "source", metavar="SOURCE",
    help="A folder, an http(s):// address, or hub. {name}, {revision} and {repository} in it stand for the model's."
    " Default: what came with Sublet itself, else the setting models_source.",
)  # fmt: skip
@click.option("--again", is_flag=True, help="Fetch it anew though it is there, and put it in the old one's place.")
def add(names: tuple[str, ...], everything: bool, source: str | None, again: bool) -> None:
    """Bring models of the catalogue into the store, each as a whole or not at all.

    Every file must have the size, the SHA-256 and the format that the catalogue says. What is interrupted goes on
    where it stopped when the command is given again. A token for the hub is taken from HF_TOKEN.
    For example: sublet models add llama-3.2-1b --from /mnt/usb/Llama-3.2-1B
    """
    if bool(names) == everything:
        raise UsageProblem("Name the models to add, or give --all.")
    shelf = _shelf()
    wanted = shelf.chosen(names)
    settings = shelf.settings
    chosen = source_from(source or settings.models_source, settings.models_hub_url, os.environ.get(TOKEN_VARIABLE))
    failed = False
    with _explained(), Bar() as bar:
        publish(shelf.store, shelf.catalogue)  # a long fetch keeps no server from starting for want of a folder
        for model in wanted:
            own = None if source else at_hand(settings.starter_models, model)
            try:
                added = Adding(shelf.store, model, own or chosen, bar, again=again).run()
            except StoreError as error:
                if len(wanted) == 1:
                    raise
                failed = True
                CommandError(f"{model.name}: {error}", hint=error.hint).show()
                continue
            publish(shelf.store, shelf.catalogue)
            click.echo(f"{model.name}: {'added' if added else 'is there already'}, {human_size(model.size_bytes)}")
    if failed:
        sys.exit(PROBLEM)


@models.command("prepare")
def prepare() -> None:
    """Make the store's folders, and tell programs what is in it.

    The other commands do it, too. Where the store is mounted read-only into servers, a server can't start before the
    folders are there: that of each gated model is made though the model is not in the store yet.
    """
    shelf = _shelf()
    with _explained():
        publish(shelf.store, shelf.catalogue)
    click.echo(f"{shelf.store.root} is ready.")


@models.command("verify")
@click.argument("names", metavar="[MODEL]...", nargs=-1)
@report_json_option
def verify(names: tuple[str, ...], as_json: bool) -> None:
    """Read every byte of the models in the store, and compare it with the catalogue.

    Without names: all that are there. Exits with 1 where something is wrong.
    """
    shelf = _shelf()
    wanted = [model for model in shelf.chosen(names) if names or shelf.store.has(model)]
    report: list[Verified] = []
    with _explained(), Bar() as bar:
        for model in wanted:
            wrong = problems_of(shelf.store, model, bar) if shelf.store.has(model) else ["It is not in the store."]
            report.append(Verified(model.name, model.revision, tuple(wrong)))
    Output(as_json).show([asdict(each) for each in report], lambda: verified_lines(report))
    if any(each.problems for each in report):
        sys.exit(PROBLEM)


@models.command("path")
@click.argument("name", metavar="MODEL")
@click.option(
    "--wait", "wait_seconds", metavar="SECONDS", type=click.IntRange(min=0), default=0,
    help="Wait so long for it to be in the store. Default: not at all.",
)  # fmt: skip
def path(name: str, wait_seconds: int) -> None:
    """Print the folder of a model's files, for a program that reads them itself."""
    shelf = _shelf()
    (model,) = shelf.chosen([name])
    deadline = time.monotonic() + wait_seconds
    with _explained():
        while not shelf.store.has(model):
            if not model.files or time.monotonic() >= deadline:
                raise CommandError(f"{name} is not in the store.", hint=f"Fetch it with: sublet models add {name}")
            time.sleep(LOOK_SECONDS)
    click.echo(shelf.store.folder_of(model))


@models.command("list")
@json_option
def list_(as_json: bool) -> None:
    """Show the models of the catalogue, and what of them is in the store."""
    shelf = _shelf()
    with _explained():
        lines = lines_of(shelf.store, shelf.catalogue)
    Output(as_json).show(
        [asdict(line) for line in lines], lambda: [list_table(lines, str(shelf.settings.models_toml))]
    )


@models.command("remove")
@click.argument("name", metavar="MODEL")
@click.option("--revision", metavar="REVISION", help="Only this revision. Default: all that are there.")
def remove(name: str, revision: str | None) -> None:
    """Take a model out of the store. Servers that have its files open keep what they have open."""
    shelf = _shelf()
    with _explained():
        found = [
            each
            for each in shelf.store.stored()
            if each.name == name and (revision is None or each.revision == revision)
        ]
        if not found:
            which = name if revision is None else f"{name} at revision {revision}"
            raise CommandError(f"{which} is not in the store.", hint="Look with: sublet models list")
        for each in found:
            remove_stored(shelf.store, each)
            click.echo(f"{each.name}, revision {each.revision}: removed")
        publish(shelf.store, shelf.catalogue)


@models.command("describe")
@click.argument("source", metavar="FOLDER|REPOSITORY")
@click.option("--revision", metavar="REVISION", default="main", show_default=True, help="Of the hub's repository.")
@click.option("--name", default="", help="What it is to be called here. Default: from its source.")
@click.option("--title", default="", help="What people read. Default: its name.")
@click.option("--family", default="", help="Such as Llama, SAM, DINO.")
@click.option("--task", default="", help="Such as text-generation.")
@click.option("--licence", default="", help="The name of one of the catalogue's licences.")
def describe(source: str, revision: str, **said: str) -> None:
    """Print a model's entry for models.toml: its files with sizes and SHA-256, and what you say of it.

    SOURCE is a folder that holds them, or a repository of the hub such as meta-llama/Llama-3.2-1B. Pickles are left
    out.
    For example: sublet models describe meta-llama/Llama-3.2-1B --licence llama-3.2 >> .sublet/models.toml
    """
    settings = _shelf().settings
    with _explained(), Bar() as bar:
        token = os.environ.get(TOKEN_VARIABLE)
        click.echo(described(source, revision, settings.models_hub_url, token, bar, Said(**said)), nl=False)
