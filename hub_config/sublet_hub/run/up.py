"""`sublet up`, from the first look at the ports to the last line after Ctrl-C."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Sequence

from sublet_hub.cluster.gpus import GpuDiscoveryError
from sublet_hub.cluster.local import LocalCluster
from sublet_hub.credentials import Credentials, CredentialsError, Secrets
from sublet_hub.domain.errors import PublicError
from sublet_hub.hub.sign_in_options import load_sign_in
from sublet_hub.run.first_start import make_folders, prepare
from sublet_hub.run.lock import AlreadyRunning, hold
from sublet_hub.run.parts import Part, PartMissing, parts_of
from sublet_hub.run.platform import Platform, StartFailed, Stopped, stops_held_back
from sublet_hub.run.ports import PortTaken, check_free
from sublet_hub.run.proxy import tell_of_new_proxy
from sublet_hub.run.shutdown import order_all, stop_all
from sublet_hub.settings import Settings, SettingsError, unknown_environment
from sublet_hub.wiring import open_books

log = logging.getLogger(__name__)

MakeParts = Callable[[Settings, Secrets], Sequence[Part]]

EXIT_STOPPED = 0
EXIT_FAILED = 1
EXIT_ALREADY_RUNNING = 2
SHARED_PASSWORD = "shared-password"  # noqa: S105 - the name of an authenticator

NOT_STARTED = (GpuDiscoveryError, PortTaken, PartMissing, SettingsError, CredentialsError, StartFailed)


def up(settings: Settings, make_parts: MakeParts = parts_of) -> int:
    """Run the platform until Ctrl-C or SIGTERM; gives the exit code.

    0 after a clean stop, 1 where it could not start, 2 where it is running already.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s  %(message)s", datefmt="%H:%M:%S")
    for chatty in ("httpx", "alembic"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    os.umask(0o077)
    for name in unknown_environment(os.environ):
        log.warning("%s is no setting of Sublet; is it misspelt?", name)
    try:
        with stops_held_back():
            make_folders(settings)
            with hold(settings.data / "up.lock", settings.public_url):
                return _run(settings, make_parts)
    except AlreadyRunning as error:
        print(error, file=sys.stderr)
        return EXIT_ALREADY_RUNNING
    except NOT_STARTED as error:
        print(f"Sublet could not start.\n{error}", file=sys.stderr)
        return EXIT_FAILED


def _run(settings: Settings, make_parts: MakeParts) -> int:
    check_free(settings)
    secrets, credentials = prepare(settings)
    platform = Platform(settings, make_parts(settings, secrets), lambda name: _after_restart(name, settings, secrets))
    with platform.signals():
        try:
            platform.start()
        except StartFailed:
            platform.stop_all()  # users' servers of an earlier start go on: a mistake in a setting ends no work
            raise
        except Stopped:
            pass
        else:
            print(welcome(settings, credentials), flush=True)
            platform.watch()
        stop(platform, settings)
    return EXIT_STOPPED


def stop(platform: Platform, settings: Settings) -> None:
    """Dask's gateway first, which would start workers anew; then leases, while their pages still find the hub, which
    servers ask who it is that saves; then the hub, and what it may have started meanwhile; then the models' gateway,
    which gives back leases too; then the meter, which posts their last use."""
    print("\nStopping. (Ctrl-C again: at once.)", flush=True)
    try:
        if settings.dask:
            _end_dask(platform, settings)
        ended = _end_leases(platform, settings)
        platform.stop("hub")
        ended += _end_leases(platform, settings)
        platform.stop("gateway")
        platform.stop("meter")
    finally:
        platform.stop_all()
    servers = "1 server was" if ended == 1 else f"{ended} servers were"
    print(f"Stopped; {servers} ended. Everything is kept in {settings.data}.", flush=True)


def _end_leases(platform: Platform, settings: Settings) -> int:
    """Tell all of them to end, and wait for it; gives how many there were."""
    _record_shutdown(settings)
    patience = settings.stop_grace_seconds + settings.stop_timeout_seconds
    return stop_all(LocalCluster(settings.data), platform.wait_until, patience)


def _end_dask(platform: Platform, settings: Settings) -> None:
    """Its gateway ends the clusters; schedulers that it couldn't end are ended here."""
    _record_shutdown(settings)
    platform.stop("dask")
    patience = settings.stop_grace_seconds + settings.stop_timeout_seconds
    stop_all(LocalCluster(settings.data / "dask"), platform.wait_until, patience)


def _record_shutdown(settings: Settings) -> None:
    try:
        with open_books(settings) as books:
            order_all(books)
    except (PublicError, SettingsError, CredentialsError) as error:
        log.warning("Why the leases end could not be recorded: %s", error)


def _after_restart(name: str, settings: Settings, secrets: Secrets) -> bool:
    """Tell the hub of a new proxy, which knows no route. False: not yet."""
    return name != "proxy" or tell_of_new_proxy(settings, secrets.runner_token)


def welcome(settings: Settings, credentials: Credentials) -> str:
    """What the terminal shows once all is up."""
    return f"""
Sublet is running at {settings.public_url}

{_who_signs_in(settings, credentials)}
The logs are in {settings.logs_dir}.
Ctrl-C stops everything."""


def _who_signs_in(settings: Settings, credentials: Credentials) -> str:
    sign_in = load_sign_in(settings)
    if sign_in.by_oauth:
        admins = ", ".join((*sign_in.admin_users, *(f"members of {name}" for name in sign_in.admin_groups)))
        return f"    People sign in by way of {sign_in.provider}; administrators are: {admins or 'nobody'}.\n"
    if settings.authenticator != SHARED_PASSWORD:
        admins = ", ".join(settings.admin_users)
        return f"    People sign in by way of {settings.authenticator}; administrators are: {admins}.\n"
    return f"""\
    as administrator   {credentials.admin_user}, with the password {credentials.admin_password}
    as a user          any other name, with the password {credentials.user_password}

The passwords are kept in {settings.data / "credentials"}."""
