"""What the hub's pages show of leases: the flavors before a start, the lease of a running server, why one ended."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from jupyterhub.utils import url_escape_path, url_path_join
from traitlets import Float, Unicode, default
from traitlets.config import LoggingConfigurable

from sublet_hub.hub import flavor_form, lease_view
from sublet_hub.hub.choice import ChoiceError, Wish, options_of, wish_from_form, wish_from_options
from sublet_hub.hub.lease_client import API_PATH, ApiAwayError, LeaseClient, RefusedError
from sublet_hub.hub.refusal import Explanation, LeaseRefusedError, explain_end

BAD_CHOICE_STATUS = 400
NEWEST_LEASES = 20
"""How many of a user's newest leases are looked through for the last one of one server."""


class LeasePages(LoggingConfigurable):
    """The part of LeaseMixin that answers pages, and knows the api."""

    user: Any
    hub: Any
    orm_spawner: Any
    name: str
    """As every spawner has them."""

    sublet_api_url = Unicode(help="Scheme, host and port of Sublet's api, as the hub reaches it. Required.").tag(
        config=True
    )

    sublet_api_token = Unicode(
        help="Hub token with the scope `custom:leases:write`, shown to the api. Required. Never given to servers."
    ).tag(config=True)

    sublet_user_api_url = Unicode(
        help="The api as a user's server finds it, with its path: SUBLET_API_URL in its environment."
        " Default: `/services/sublet/api` at `sublet_api_url`."
    ).tag(config=True)

    sublet_request_timeout = Float(
        5.0,
        min=0.1,
        help="Seconds that the api may take for one answer. Three tries are made before a start is given up.",
    ).tag(config=True)

    sublet_page_timeout = Float(
        2.0,
        min=0.1,
        help="Seconds that a page waits for what the api tells of a lease. Without it the page is shown anyway.",
    ).tag(config=True)

    sublet_contact = Unicode(
        "the administrator of this platform",
        help='Whom users are told to ask for more quota; ends the sentence "To get more, ask ...".',
    ).tag(config=True)

    sublet_usage_url = Unicode(
        "/services/sublet/", help="Path of the page that shows users what they have used."
    ).tag(config=True)

    sublet_models_url = Unicode(
        help="OpenAI-compatible address of the models as a user's server finds it: OPENAI_BASE_URL in its"
        " environment. Empty: there is none."
    ).tag(config=True)

    sublet_dask_url = Unicode(
        help="Where a user's server asks for Dask clusters: SUBLET_DASK_URL in its environment. Empty: nowhere."
    ).tag(config=True)

    lease_id = Unicode(help="The lease of the running server; empty while there is none.")

    @default("sublet_user_api_url")
    def _default_user_api_url(self) -> str:
        return str(url_path_join(self.sublet_api_url, API_PATH))

    @default("options_form")
    def _default_options_form(self) -> Callable[[LeasePages], Awaitable[str]]:
        return LeasePages.flavors_form

    @default("options_from_form")
    def _default_options_from_form(self) -> Callable[[Mapping[str, Sequence[object]]], dict[str, str]]:
        return self.choice_from_form

    @default("apply_user_options")
    def _default_apply_user_options(self) -> Callable[[object, Mapping[str, object]], None]:
        # `start` reads the options: what they mean depends on what is offered then.
        return lambda _spawner, _options: None

    # ---------------------------------------------------------------- the flavors page

    async def flavors_form(self) -> str:
        """The form on the spawn page. Where the api is away, a note that says so, and how to try again."""
        groups = self._groups()
        try:
            offers, leases = await asyncio.gather(
                self._client().offers(self.user.name, groups), self._client().last_leases(self.user.name, 1)
            )
        except (ApiAwayError, RefusedError) as error:
            self.log.error("No flavors to show to %s: %s", self.user.name, error)
            return flavor_form.render_away(self._form_url())
        form = flavor_form.build_form(
            offers,
            self.user.name,
            groups,
            self._last_wish(),
            leases[0] if leases else None,
            contact=self.sublet_contact,
            usage_url=self.sublet_usage_url,
        )
        return flavor_form.render_form(form)

    def choice_from_form(self, form_data: Mapping[str, Sequence[object]]) -> dict[str, str]:
        """What the form, or a link with options, picked: names, to be checked against what is offered at start."""
        try:
            return options_of(wish_from_form(form_data))
        except ChoiceError as error:
            raise self._refused(Explanation(str(error)), "choice", status_code=BAD_CHOICE_STATUS) from error

    # ---------------------------------------------------------------- for the hub's pages

    async def leases_shown(self) -> dict[str, lease_view.LeaseView | None]:
        """The leases of all of this user's servers, by the servers' names; asked for at once, so that the home page
        waits for the api no longer with many than with one."""
        servers = [each for each in self.user.spawners.values() if each.active and isinstance(each, LeasePages)]
        shown = await asyncio.gather(*(server.lease_shown() for server in servers))
        return {server.name: lease for server, lease in zip(servers, shown, strict=True)}

    async def lease_shown(self) -> lease_view.LeaseView | None:
        """The running server's lease for the home page; None where there is none or the api is away."""
        if not self.lease_id:
            return None
        client = self._client(self.sublet_page_timeout)
        try:
            lease = await client.lease(self.lease_id)
            return lease_view.show_lease(lease, await client.offers(self.user.name, self._groups()))
        except (ApiAwayError, RefusedError):
            return None

    async def last_end_html(self, server_name: str = "") -> str:
        """Why policy ended a server of this name the last time, as HTML; empty where it didn't."""
        client = self._client(self.sublet_page_timeout)
        try:
            leases = await client.last_leases(self.user.name, NEWEST_LEASES)
            last = next((lease for lease in leases if lease.server_name == server_name), None)
            if last is None or explain_end(last) is None:
                return ""
            ended = lease_view.show_ended(last, await client.offers(self.user.name, self._groups()))
        except (ApiAwayError, RefusedError):
            return ""
        return lease_view.render_ended(ended, self.sublet_contact, self.sublet_usage_url) if ended else ""

    # ---------------------------------------------------------------- within

    def _client(self, timeout_seconds: float | None = None) -> LeaseClient:
        timeout = timeout_seconds or self.sublet_request_timeout
        return LeaseClient(self.sublet_api_url, self.sublet_api_token, timeout)

    def _groups(self) -> tuple[str, ...]:
        return tuple(sorted(group.name for group in self.user.groups))

    def _last_wish(self) -> Wish:
        """What was chosen for this server the last time, as the hub keeps it."""
        try:
            return wish_from_options(self.orm_spawner.user_options or {})
        except ChoiceError:
            return Wish()

    def _refused(
        self, why: Explanation, reason: str, *, status_code: int = 403, log_message: str = ""
    ) -> LeaseRefusedError:
        return LeaseRefusedError(
            why,
            reason=reason,
            status_code=status_code,
            contact=self.sublet_contact,
            form_url=self._form_url(),
            log_message=log_message or why.sentence,
        )

    def _form_url(self) -> str:
        return str(url_path_join(self.hub.base_url, "spawn", self.user.escaped_name, url_escape_path(self.name)))
