"""The command `sublet`: its subcommands are imported when they are run, so that `--help` is quick."""

from __future__ import annotations

import importlib
from typing import Any

import click

EPILOG = """Exit status: 0 done; 1 a problem was found, or the platform refused; 2 the command line is wrong;
3 no platform was found or it doesn't answer; 4 not allowed."""

COMMANDS = {
    "up": ("sublet_hub.cli.processes:up", "Start the whole platform on this machine; Ctrl-C stops it."),
    "doctor": ("sublet_hub.cli.doctor:doctor", "Say what is wrong with this installation and how to mend it."),
    "quota": ("sublet_hub.cli.quota:quota", "Show and change quotas: get, set, list, delete."),
    "usage": ("sublet_hub.cli.usage:usage", "Show what an account used, by day."),
    "leases": ("sublet_hub.cli.leases:leases", "Show leases and stop them: list, stop."),
    "audit": (
        "sublet_hub.cli.audit:audit",
        "Show who did what, and prove that none of it was changed: show, verify.",
    ),
    "models": (
        "sublet_hub.cli.models:models",
        "Fill and check the store of models: add, verify, list, path, remove, prepare, describe.",
    ),
    "migrate": ("sublet_hub.cli.migrate:migrate", "Bring the database to this version's form; `up` does it for you."),
    "proxy": ("sublet_hub.cli.proxy:proxy", "Run the proxy alone; `up` does it for you."),
    "api": ("sublet_hub.cli.processes:api", "Run the api alone; `up` does it for you."),
    "meter": ("sublet_hub.cli.processes:meter", "Run the meter alone; `up` does it for you."),
    "gateway": ("sublet_hub.cli.processes:gateway", "Run the gateway alone; `up` does it for you."),
    "dask": ("sublet_hub.cli.processes:dask", "Run the gateway of Dask clusters alone; `up` does it for you."),
}
"""Where each command is, and its line in the help; in the order of the help."""


class LazyGroup(click.Group):
    """A group whose commands are imported only when they are asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 — click's signature
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 — the same
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name][0].partition(":")
        command = getattr(importlib.import_module(module), name)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 — the same
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError:
            known = ", ".join(COMMANDS)
            ctx.fail(f"There is no command {args[0]!r}. Commands: {known}.")


def _version(ctx: click.Context, _param: click.Parameter, wanted: Any) -> None:
    if wanted and not ctx.resilient_parsing:
        from importlib.metadata import version

        click.echo(f"sublet {version('sublet-hub')}")
        ctx.exit()


@click.group(cls=LazyGroup, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version", is_flag=True, expose_value=False, is_eager=True, callback=_version, help="Show the version."
)
def main() -> None:
    """Lease the GPUs that a fleet is not using, as notebooks.

    Beside a platform (in its folder or below) the commands find it and its admin token by themselves. From
    anywhere else, give --url and set SUBLET_TOKEN to a hub token of yours.
    """
