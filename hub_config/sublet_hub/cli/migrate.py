"""`sublet migrate`: what must have been done before api and meter start, where `sublet up` doesn't do it."""

from __future__ import annotations

import click

from sublet_hub.cli.exits import CommandError, Unreachable, UsageProblem
from sublet_hub.cli.processes import HELP, settings_here
from sublet_hub.credentials import CredentialsError
from sublet_hub.domain.errors import Unavailable
from sublet_hub.settings import SettingsError

LONGEST_WAIT_SECONDS = 3600


@click.command(context_settings=HELP)
@click.option(
    "--wait",
    "wait_seconds",
    type=click.IntRange(0, LONGEST_WAIT_SECONDS),
    default=0,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait for a database that doesn't answer yet.",
)
def migrate(wait_seconds: int) -> None:
    """Bring the database to the form that this version needs. `sublet up` does it for you.

    Checks settings and catalog, makes or changes the tables, and gives a new platform its default quota. Run again
    it changes nothing, and it may run several times at once. Exits with 3 where the database doesn't answer in time.
    """
    from sublet_hub.run.database import wait_and_bring_up_to_date

    settings = settings_here()
    try:
        seeded = wait_and_bring_up_to_date(
            settings, wait_seconds, lambda why: click.echo(f"Waiting up to {wait_seconds} s for the database: {why}")
        )
    except (SettingsError, ValueError) as error:
        raise UsageProblem(str(error)) from None
    except CredentialsError as error:
        raise CommandError(str(error)) from None
    except Unavailable as error:
        hint = "Is SUBLET_DATABASE_URL right, and may this machine connect? --wait gives it time."
        raise Unreachable(str(error), hint=hint) from None
    except OSError as error:
        hint = f"It must be possible to write there; SUBLET_DATA is {settings.data}."
        raise CommandError(str(error), hint=hint) from None
    click.echo("The database has the form of this version.")
    if seeded:
        click.echo("The platform is new: it was given its default quota.")
