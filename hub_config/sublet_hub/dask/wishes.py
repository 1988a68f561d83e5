"""What a Dask cluster is to be made of: the names that its user gave, against what is offered to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sublet_hub.hub.choice import Choice, ChoiceError, accounts_of, choose, wish_from_options
from sublet_hub.hub.messages import Offer, Prospect

WAITS_FOR = frozenset({"no-capacity", "meter-away"})
"""Why there may be no worker just now, though there will be: no reason to refuse a cluster."""


class NotOfferedError(Exception):
    """No cluster can be had so. The message is for the user, in one line."""


@dataclass(frozen=True, slots=True)
class Part:
    """What each worker of a cluster is a lease of."""

    flavor: str
    tier: str
    account: str
    gpus: int
    cpus: int
    memory_bytes: int
    gpu_memory_bytes: int
    simulated: bool


@dataclass(frozen=True, slots=True)
class Room:
    """How many more such workers would be granted now (None: no limit is known), and what keeps the next one out."""

    workers: int | None
    why: str = ""

    def has(self, wanted: int) -> bool:
        return self.workers is None or wanted <= self.workers

    def refusal(self, wanted: int, gpus: int) -> str:
        """Why `wanted` more workers can't be had, and how many could."""
        fit = self.workers or 0
        what = "worker" if fit == 1 else "workers"
        in_gpus = f" ({fit * gpus} GPU{'' if fit * gpus == 1 else 's'})" if gpus else ""
        return f"{wanted} more can't be had now. {self.why} {fit} more {what}{in_gpus} would fit.".replace("\n", " ")


def part_of(offers: Sequence[Offer], options: Mapping[str, object], user: str, groups: Sequence[str]) -> Part:
    """The part that options ask for; what they leave open is chosen as for a server. NotOfferedError in words."""
    given = {name: value for name, value in options.items() if value != ""}
    try:
        choice = choose(_of_one_gpu(offers), wish_from_options(given), accounts_of(user, groups))
    except ChoiceError as error:
        several = next((offer for offer in offers if offer.flavor == given.get("flavor") and offer.gpus > 1), None)
        if several is not None:
            raise NotOfferedError(
                f"A Dask worker has one GPU, and {several.flavor} has {several.gpus}. "
                "Ask for more workers of a flavor of one GPU."
            ) from None
        raise NotOfferedError(str(error)) from None
    prospect = choice.offer.prospect(choice.price.tier, choice.account)
    if prospect is not None and prospect.problem is not None and prospect.problem.name not in WAITS_FOR:
        raise NotOfferedError(prospect.problem.detail)
    return _part(choice)


def room_for(offers: Sequence[Offer], part: Part) -> Room:
    """How many more workers would be granted. None at all where the flavor isn't offered any more."""
    offer = next((each for each in offers if each.flavor == part.flavor), None)
    prospect = offer.prospect(part.tier, part.account) if offer else None
    if offer is None or prospect is None:
        return Room(0, f"Flavor {part.flavor} is not offered as {part.tier} on {part.account}.")
    return _room(prospect)


def _room(prospect: Prospect) -> Room:
    if prospect.problem is not None:
        return Room(0, prospect.problem.detail)
    return Room(prospect.fits, "" if prospect.fits_problem is None else prospect.fits_problem.detail)


def _of_one_gpu(offers: Sequence[Offer]) -> list[Offer]:
    """Those that a worker can be: `dask cuda worker` would make several workers of one lease, whose names
    Dask-Gateway doesn't know."""
    return [offer for offer in offers if offer.gpus <= 1]


def _part(choice: Choice) -> Part:
    offer = choice.offer
    return Part(
        flavor=offer.flavor,
        tier=choice.price.tier,
        account=choice.account,
        gpus=offer.gpus,
        cpus=offer.cpus,
        memory_bytes=offer.memory_bytes,
        gpu_memory_bytes=offer.gpu_memory_bytes,
        simulated=offer.simulated,
    )
