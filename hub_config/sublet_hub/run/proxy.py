"""`sublet proxy`: the proxy as a child of ours that tells the hub of each start."""

from __future__ import annotations

import logging
import signal
import subprocess
import threading

import httpx

from sublet_hub.run.child import leash
from sublet_hub.run.parts import Part, environment
from sublet_hub.settings import Settings

log = logging.getLogger(__name__)

TELL_TIMEOUT_SECONDS = 10.0
TELL_AGAIN_SECONDS = 1.0
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def tell_of_new_proxy(settings: Settings, runner_token: str) -> bool:
    """Tell the hub of a proxy that was started anew, which knows no route; by itself the hub would notice in
    minutes. False: it could not be told yet, or could not reach the proxy."""
    try:
        httpx.post(
            f"{settings.hub_api_url}/proxy",
            headers={"Authorization": f"token {runner_token}"},
            timeout=TELL_TIMEOUT_SECONDS,
            trust_env=False,
        ).raise_for_status()
    except httpx.HTTPError as error:
        log.info("The hub could not be told of the new proxy yet (%s).", error)
        return False
    return True


def serve(settings: Settings, part: Part, runner_token: str) -> int:
    """Run the proxy until it ends; gives 0 where that was asked for, else its exit code (of one that a signal ended,
    128 and its number).

    What stops us is passed on to it; it dies with us, and we with it, so that whoever started us starts both anew.
    """
    # We have one thread here, so that nothing can hold a lock across the fork.
    child = subprocess.Popen(
        part.argv,
        env=environment(settings, part),
        stdin=subprocess.DEVNULL,
        preexec_fn=leash(),  # noqa: PLW1509 — see above
    )
    stopping, ended = threading.Event(), threading.Event()

    def pass_on(number: int, _frame: object) -> None:
        stopping.set()
        child.send_signal(number)

    for number in STOP_SIGNALS:
        signal.signal(number, pass_on)
    threading.Thread(target=_tell_until_told, args=(settings, runner_token, ended), name="tell", daemon=True).start()
    code = child.wait()
    ended.set()
    if stopping.is_set():
        return 0  # the proxy itself says 2
    log.error("The proxy ended (exit code %s).", code)
    return code if code >= 0 else 128 - code


def _tell_until_told(settings: Settings, runner_token: str, ended: threading.Event) -> None:
    while not tell_of_new_proxy(settings, runner_token):
        if ended.wait(TELL_AGAIN_SECONDS):
            return
    log.info("The hub knows of the new proxy and gave it its routes.")
