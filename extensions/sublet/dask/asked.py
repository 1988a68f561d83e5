"""What the platform's Dask-Gateway answers when it is asked, as errors of this package."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import aiohttp
from dask_gateway import GatewayClusterError
from dask_gateway.client import GatewayServerError

from sublet.errors import Refused, Unavailable

REFUSED = "dask-refused"
"""The type of a refusal by the gateway, which answers with a sentence alone."""
NOT_SIGNED_IN = frozenset({401, 403})


@contextmanager
def starting() -> Iterator[None]:
    """While a cluster is begun. Refused where there can be none, Unavailable where it did not start."""
    try:
        with _answered():
            yield
    except GatewayClusterError as error:
        raise Unavailable(f"The scheduler of the Dask cluster did not start ({error}). Try again.") from None


@contextmanager
def changing() -> Iterator[None]:
    """While a cluster is changed. Refused says which limit and how many would fit."""
    try:
        with _answered():
            yield
    except GatewayClusterError as error:
        raise Refused(str(error), type=REFUSED, status=409) from None


@contextmanager
def _answered() -> Iterator[None]:
    try:
        yield
    except ValueError as error:  # what the client makes of the statuses 404 and 422
        raise Refused(str(error), type=REFUSED, status=422) from None
    except aiohttp.ClientResponseError as error:
        if error.status in NOT_SIGNED_IN:
            raise Refused(
                "The platform's Dask clusters are not open to this server"
                f" ({error.status} {error.message}). Stop it and start it again, or ask an admin.",
                type="not-allowed", status=error.status,
            ) from None  # fmt: skip
        raise Unavailable(f"The platform's Dask clusters answered {error.status} {error.message}.") from None
    except GatewayServerError as error:
        raise Unavailable(f"The platform's Dask clusters failed: {error}. Try again.") from None
    except (aiohttp.ClientError, OSError) as error:
        raise Unavailable(f"The platform's Dask clusters don't answer ({error}). Try again shortly.") from None
