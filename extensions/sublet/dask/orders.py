"""What a Dask cluster is to be made of: so many leases of one flavor, and what they cost."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from sublet.dask.offers import Choice, Offer
from sublet.errors import Refused
from sublet.leases import Lease

ONE_GPU_MILLI = 1000
FORBIDDEN = 403
"""The status with which the platform refuses a lease."""


@dataclass(frozen=True, slots=True)
class Order:
    """Workers to be leased; each is a lease of the flavor."""

    offer: Offer
    choice: Choice
    workers: int

    @property
    def price_per_hour(self) -> Decimal:
        """For all workers, in units of the flavor's currency."""
        return self.offer.prices_per_hour[self.choice.tier] * self.workers

    @property
    def gpus(self) -> Decimal:
        return self.offer.gpus * self.workers

    def check_room(self) -> None:
        """Refused, with the limit and with how many would fit, where the platform says that so many can't be had.
        It is asked again for each lease: between now and then others may have taken them."""
        if self.choice.problem is not None:
            raise Refused(self.choice.problem.detail, type=self.choice.problem.type, status=FORBIDDEN)
        fits, problem = self.choice.fits, self.choice.fits_problem
        if fits is None or self.workers <= fits:
            return
        detail = f" {problem.detail}" if problem else ""
        raise Refused(
            f"{self.described(self.workers)} can't be had now.{detail} {self.described(fits)} would fit.",
            type=problem.type if problem else "no-capacity",
            status=FORBIDDEN,
        )

    def described(self, workers: int) -> str:
        """`8 GPUs`, or `3 workers` of a flavor without one."""
        gpus = self.offer.gpus * workers
        if not self.offer.gpus_milli or gpus != int(gpus):
            return f"{workers} worker{'' if workers == 1 else 's'}"
        return f"{int(gpus)} GPU{'' if gpus == 1 else 's'}"


@dataclass(frozen=True, slots=True)
class Wish:
    """What was asked for. What is None follows from the lease that asks."""

    gpus: float | None = None
    workers: int | None = None
    flavor: str | None = None
    tier: str | None = None
    account: str | None = None

    def order(self, offers: Sequence[Offer], lease: Lease) -> Order:
        """ValueError where it can't be meant so, Refused where the platform offers no such thing."""
        offer = self._offer(offers, lease)
        account = self.account or lease.account
        tier = self.tier or (lease.tier if lease.tier in offer.prices_per_hour else next(iter(offer.prices_per_hour)))
        choice = offer.choice(tier, account)
        if choice is None:
            raise ValueError(f"{offer.flavor} is not offered so. {_ways(offer.choices)}")
        return Order(offer, choice, self._workers(offer))

    def _offer(self, offers: Sequence[Offer], lease: Lease) -> Offer:
        if self.flavor is not None:
            found = next((each for each in offers if each.flavor == self.flavor), None)
            if found is None:
                raise ValueError(f"There is no flavor {self.flavor!r}. There are: {_names(offers)}.")
            return found
        own = next((each for each in offers if each.flavor == lease.flavor), None)
        wants_gpus = self.gpus is not None
        if own is not None and own.gpus_milli <= ONE_GPU_MILLI and (own.gpus_milli or not wants_gpus):
            return own
        # A worker has one GPU at most: another flavor of the same pool, else the first that can be had.
        fitting = [each for each in offers if each.gpus_milli == (ONE_GPU_MILLI if wants_gpus else 0)]
        fitting.sort(key=lambda each: (own is None or each.pool != own.pool, not _available(each)))
        if not fitting:
            raise ValueError(f"No flavor has just one GPU, so name one. There are: {_names(offers)}.")
        return fitting[0]

    def _workers(self, offer: Offer) -> int:
        if self.workers is not None:
            if self.workers < 1:
                raise ValueError("A Dask cluster has one worker at least.")
            return self.workers
        if self.gpus is None:
            return 1
        if not offer.gpus_milli:
            raise ValueError(f"{offer.flavor} has no GPU. Say how many workers: workers={int(self.gpus)}.")
        wanted = Decimal(str(self.gpus)) * 1000
        if wanted <= 0 or wanted % offer.gpus_milli:
            raise ValueError(
                f"A worker of {offer.flavor} has {offer.gpus.normalize():f} GPU; {self.gpus} can't be made up of it."
                " Say how many workers: workers=2."
            )
        return int(wanted / offer.gpus_milli)


def _available(offer: Offer) -> bool:
    return any(choice.problem is None for choice in offer.choices)


def _names(offers: Iterable[Offer]) -> str:
    return ", ".join(each.flavor for each in offers) or "none"


def _ways(choices: Iterable[Choice]) -> str:
    ways = ", ".join(f"tier={each.tier!r}, account={each.account!r}" for each in choices)
    return f"There is: {ways}." if ways else "Nobody can pay for it; ask an admin."
