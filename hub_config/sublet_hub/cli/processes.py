"""`sublet up`, `sublet api`, `sublet meter`, `sublet gateway` and `sublet dask`: the platform's own processes."""

from __future__ import annotations

import sys

import click

from sublet_hub.cli.exits import UsageProblem
from sublet_hub.settings import Settings, SettingsError, load_settings

HELP = {"help_option_names": ["-h", "--help"]}


@click.command(context_settings=HELP)
def up() -> None:
    """Start the whole platform on this machine: proxy, hub, api, meter and gateway. Ctrl-C stops it.

    All data is kept in ./.sublet, or where SUBLET_DATA says. The first start writes sublet.toml (pools, flavors,
    prices) and the passwords there. Exits with 1 where it could not start, with 2 where it is running already.
    """
    from sublet_hub.run.up import up as run_up

    sys.exit(run_up(settings_here()))


@click.command(context_settings=HELP)
def api() -> None:
    """Run the api alone: it decides and records. `sublet up` does it for you."""
    from sublet_hub.api.serve import serve

    serve(settings_here())


@click.command(context_settings=HELP)
def meter() -> None:
    """Run the meter alone: it watches what runs, posts its use, warns and stops. `sublet up` does it for you."""
    from sublet_hub.meter.serve import serve

    serve(settings_here())


@click.command(context_settings=HELP)
@click.option("--debug", is_flag=True, help="Log in detail; never what is asked or answered.")
def gateway(*, debug: bool) -> None:
    """Run the gateway alone: the OpenAI-compatible address of the models. `sublet up` does it for you."""
    import logging

    from sublet_hub.gateway.serve import serve

    serve(settings_here(), logging.DEBUG if debug else logging.INFO)


@click.command(context_settings=HELP)
def dask() -> None:
    """Run the gateway of Dask clusters alone, as the setting `dask` says. `sublet up` does it for you."""
    from sublet_hub.dask.serve import serve

    serve(settings_here())


def settings_here() -> Settings:
    """The settings of the process that we are to be; UsageProblem where one is wrong."""
    try:
        return load_settings()
    except SettingsError as error:
        raise UsageProblem(str(error)) from None
