"""`sublet proxy`: what browsers talk to, where it doesn't run beside the hub."""

from __future__ import annotations

import logging
import sys

import click

from sublet_hub.cli.exits import CommandError
from sublet_hub.cli.processes import HELP, settings_here
from sublet_hub.credentials import CredentialsError, read_secrets


@click.command(context_settings=HELP)
def proxy() -> None:
    """Run the proxy alone: what browsers talk to. `sublet up` does it for you.

    Each time it starts it asks the hub for its routes, until the hub has given them. Ends when the proxy ends, with
    its exit code.
    """
    from sublet_hub.run.parts import PartMissing, proxy_part
    from sublet_hub.run.proxy import serve

    settings = settings_here()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s  %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        secrets = read_secrets(settings.data, settings.secrets_dir)
        part, runner_token = proxy_part(settings, secrets), secrets.runner_token
    except (CredentialsError, PartMissing) as error:
        raise CommandError(str(error)) from None
    sys.exit(serve(settings, part, runner_token))
