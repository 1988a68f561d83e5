"""Checks of the running platform: whether it runs, its ports, and whether each part answers."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from sublet_hub.cli.doctor.findings import Finding, ok, problem, warning
from sublet_hub.cli.platform import is_running, running_url
from sublet_hub.credentials import CredentialsError, read_secrets
from sublet_hub.run.parts import Part, PartMissing, parts_of
from sublet_hub.run.ports import PortTaken, check_free
from sublet_hub.settings import Settings, load_settings

TIMEOUT_SECONDS = 5.0
HEALTH = "/services/sublet/health"


def _as_started(settings: Settings) -> Settings:
    """The settings with the port that the running platform was started with, which may have come from its
    environment: the other ports follow from it."""
    at = running_url(settings.data)
    if at is None or at == settings.public_url:
        return settings
    started = {**os.environ, "SUBLET_DATA": str(settings.data), "SUBLET_PORT": str(urlsplit(at).port or 80)}
    return load_settings(started)


def parts(settings: Settings) -> Iterator[Finding]:
    """The platform runs and each part answers; or it is stopped and its ports are free."""
    if not is_running(settings.data):
        try:
            check_free(settings, wait_seconds=0)
            yield warning("parts", "Sublet is not running; its ports are free.", "Start it with: sublet up")
        except PortTaken as error:
            for line in str(error).splitlines():
                yield problem("parts", f"Sublet is not running. {line}", "Free the port, then: sublet up")
        return
    settings = _as_started(settings)
    try:
        for part in parts_of(settings, read_secrets(settings.data)):
            yield _answer(part, settings.logs_dir)
    except (CredentialsError, PartMissing) as error:
        yield problem("parts", str(error), "Run `make run` in the checkout.")
        return
    yield from _through_the_proxy(settings)


def _answer(part: Part, logs: Path) -> Finding:
    mend = f"Read {logs / (part.name + '.log')}; `sublet up` starts it again by itself."
    try:
        answer = httpx.get(part.ready_url, headers=dict(part.ready_headers), timeout=TIMEOUT_SECONDS, trust_env=False)
    except httpx.TransportError as error:
        return problem(part.name, f"The {part.name} does not answer at {part.ready_url} ({error}).", mend)
    if answer.is_server_error:
        return problem(part.name, f"The {part.name} answers with {answer.status_code}.", mend)
    return ok(part.name, f"The {part.name} answers.")


def _through_the_proxy(settings: Settings) -> Iterator[Finding]:
    """The way that browsers take: the public port, and the proxy's route to the api."""
    url = settings.public_url + HEALTH
    try:
        answer = httpx.get(url, timeout=TIMEOUT_SECONDS, trust_env=False)
    except httpx.TransportError as error:
        mend = f"Read {settings.logs_dir / 'proxy.log'}."
        yield problem("routes", f"{settings.public_url} does not answer ({error}).", mend)
        return
    if answer.is_success:
        yield ok("routes", f"{settings.public_url} leads to the hub and the api.")
    else:
        mend = (
            "The hub puts the proxy's routes back within seconds; if not, read the hub's log and start Sublet again."
        )
        yield problem("routes", f"{url} answers with {answer.status_code}: the route to the api is missing.", mend)
