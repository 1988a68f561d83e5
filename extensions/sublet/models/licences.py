"""The licence of a model: reading it, accepting it, and why a gated model's files are not here."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

from sublet import fields
from sublet.asking import TIMEOUT_SECONDS, Surroundings, get, post, understood
from sublet.errors import LicenceNeeded, NoSuchModel, Refused, SubletError

PAGE = "/services/sublet/models"


@dataclass(frozen=True, slots=True, repr=False)
class Licence:
    """The licence of a model, and whether you may use what is under it."""

    model: str
    name: str
    title: str
    version: str
    url: str
    gated: bool
    accepted: bool
    text: str | None

    def __repr__(self) -> str:
        head = f"{self.title}, version {self.version} ({self.url}): {self.standing}"
        return f"{head}\n\n{self.text}" if self.text else head

    @property
    def standing(self) -> str:
        """Whether it may be used, in words."""
        if not self.gated:
            return "needs no acceptance"
        return "accepted" if self.accepted else f"not accepted; sublet.models.accept({self.model!r}) accepts it"


def licence(name: str, *, timeout: float = TIMEOUT_SECONDS) -> Licence:
    """The licence of a model, with its text where the platform has it."""
    return _licence(name, asked(Surroundings.of(os.environ), name, timeout))


def accept(name: str, *, account: str | None = None, timeout: float = TIMEOUT_SECONDS) -> Licence:
    """Accept the licence of a model in its present version: for you, or for an account `group:NAME` as its admin.

    It is recorded who accepted which version, and when. The model can be called at once; its files are in your
    servers from their next start on.
    """
    around = Surroundings.of(os.environ)
    shown = _licence(name, asked(around, name, timeout))
    if shown.gated:
        body = {"licence": shown.name, "version": shown.version} | ({"account": account} if account else {})
        post(around, f"{_path(name)}/acceptance", body, timeout)
    return _licence(name, asked(around, name, timeout))


def asked(around: Surroundings, name: str, timeout: float = TIMEOUT_SECONDS) -> Any:
    """What the platform says of a model; NoSuchModel where it knows none of that name."""
    try:
        return get(around, _path(name), timeout)
    except Refused as refused:
        if refused.status == 404:
            raise NoSuchModel(str(refused)) from None
        raise


def why_closed(name: str, title: str) -> SubletError:
    """Why a gated model's files are not in this server."""
    around = Surroundings.of(os.environ)
    url = page(around, name)
    try:
        shown = _licence(name, asked(around, name))
    except SubletError:  # the platform is away: what can be seen from here is enough to go on
        return LicenceNeeded(f"The licence of {title} must be accepted before its files are here: {url}", url=url)
    if shown.accepted:
        return LicenceNeeded(
            f"{shown.title} is accepted; the files of {name} are here from the next start of this server on."
            " Stop it and start it again. The model can be called meanwhile, if it is served.",
            url=url,
        )
    return LicenceNeeded(
        f"{title} is under {shown.title}, version {shown.version}, which must be accepted first: {url}"
        f" or sublet.models.accept({name!r}); then start this server again.",
        url=url,
    )


def page(around: Surroundings, name: str) -> str:
    """The address of a model on the platform's page: the public one where the server knows it."""
    public = os.environ.get("JUPYTERHUB_PUBLIC_HUB_URL") or around.api_url
    parts = urlsplit(public)
    return f"{parts.scheme}://{parts.netloc}{PAGE}?model={quote(name, safe='')}"


def _path(name: str) -> str:
    return f"/models/{quote(name, safe='')}"


def _licence(name: str, document: Any) -> Licence:
    with understood():
        said = document["licence"]
        return Licence(
            model=name,
            name=fields.text(said["name"]),
            title=fields.text(said["title"]),
            version=fields.text(said["version"]),
            url=fields.text(said["url"]),
            gated=bool(said["gated"]),
            accepted=bool(said["accepted"]),
            text=fields.text_or_none(said.get("text")),
        )
