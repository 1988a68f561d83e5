"""Makes a lease of every server: what any spawner needs so that each start is asked for, shown and reported.

    class LeaseKubeSpawner(LeaseMixin, KubeSpawner): ...

The mixin stands first. It knows nothing of where servers run; after a grant it hands over to the spawner's own
`start`, which finds the lease's devices and its deadline in `self.lease_grant`.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Any

from jupyterhub.spawner import Spawner
from jupyterhub.utils import url_escape_path, url_path_join
from traitlets import Float, Instance, Unicode, default

from sublet_hub.hub import flavor_form, lease_view, wording
from sublet_hub.hub.choice import (
    Choice,
    ChoiceError,
    Wish,
    accounts_of,
    choose,
    options_of,
    wish_from_form,
    wish_from_options,
)
from sublet_hub.hub.lease_client import API_PATH, ApiAwayError, Ask, LeaseClient, RefusedError
from sublet_hub.hub.messages import Grant
from sublet_hub.hub.progress import LeaseProgress
from sublet_hub.hub.refusal import AWAY_STATUS, Explanation, LeaseRefusedError, explain, explain_end

BAD_CHOICE_STATUS = 400
NEWEST_LEASES = 20
"""How many of a user's newest leases are looked through for the last one of one server."""

AWAY = "The part of the platform that decides on leases does not answer at the moment. Try again in a minute."


class LeaseMixin(Spawner):
    """For any JupyterHub spawner; see the module's docstring."""

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

    lease_id = Unicode(help="The lease of the running server; empty while there is none.")
    lease_grant = Instance(Grant, allow_none=True, help="What the lease was granted as; None after a restart.")
    lease_asked_at = Float(help="When the lease was asked for, by the monotonic clock: no grant is older than that.")
    lease_progress = Instance(LeaseProgress, ())

    @default("sublet_user_api_url")
    def _default_user_api_url(self) -> str:
        return str(url_path_join(self.sublet_api_url, API_PATH))

    @default("options_form")
    def _default_options_form(self) -> Callable[[LeaseMixin], Awaitable[str]]:
        return LeaseMixin.flavors_form

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

    # ---------------------------------------------------------------- start and stop

    async def start(self) -> Any:
        """Ask for a lease, then start the server in it. A refusal is shown to the user; a server that can't be
        started gives its lease back."""
        progress = self.lease_progress
        try:
            choice = await self._choose()
            progress.add(10, f"Asking for {choice.offer.title}")
            self.lease_asked_at = time.monotonic()
            grant = await self._request(choice)
            self._show_grant(choice, grant)
        finally:
            progress.close()
        self.lease_id, self.lease_grant = grant.id, grant
        try:
            return await super().start()
        except BaseException as error:  # a cancelled start (too slow) gives its lease back too
            why = f"the server could not be started: {type(error).__name__}"
            await asyncio.shield(self._give_back(grant.id, why))
            self.log.error("Lease %s of %s was given back: %s", grant.id, self.user.name, why)
            raise

    async def stop(self, now: bool = False) -> Any:
        """Stop the server, and say to the api who ended its lease. If the api is away the meter finds out."""
        lease_id = self.lease_id
        if lease_id:
            await self._give_back(lease_id, "the server was stopped at the hub")
        return await super().stop(now=now)

    async def poll(self) -> int | None:
        status: int | None = await super().poll()
        return status

    async def progress(self) -> AsyncIterator[dict[str, object]]:
        """What happens with the lease, then what the spawner itself tells."""
        async for event in self.lease_progress.follow():
            yield event
        async with aclosing(super().progress()) as events:
            async for event in events:
                yield event

    def get_env(self) -> dict[str, str]:
        env: dict[str, str] = super().get_env()
        env["SUBLET_API_URL"] = self.sublet_user_api_url
        env["SUBLET_LEASE_ID"] = self.lease_id
        return env

    # ---------------------------------------------------------------- kept over restarts of the hub

    def get_state(self) -> dict[str, Any]:
        state: dict[str, Any] = super().get_state()
        if self.lease_id:
            state["lease_id"] = self.lease_id
        return state

    def load_state(self, state: dict[str, Any]) -> None:
        super().load_state(state)
        self.lease_id = state.get("lease_id", "")

    def clear_state(self) -> None:
        super().clear_state()
        self.lease_id = ""
        self.lease_grant = None
        if self.lease_progress.closed:
            self.lease_progress = LeaseProgress()

    # ---------------------------------------------------------------- for the hub's pages

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

    async def _choose(self) -> Choice:
        try:
            wish = wish_from_options(self.user_options)
            groups = self._groups()
            offers = await self._client().offers(self.user.name, groups)
            return choose(offers, wish, accounts_of(self.user.name, groups))
        except ChoiceError as error:
            raise self._refused(Explanation(str(error)), "choice", status_code=BAD_CHOICE_STATUS) from error
        except (ApiAwayError, RefusedError) as error:
            raise self._away(error) from error

    async def _request(self, choice: Choice) -> Grant:
        ask = Ask(
            user=self.user.name,
            groups=self._groups(),
            account=choice.account,
            flavor=choice.offer.flavor,
            tier=choice.price.tier,
            server_name=self.name,
        )
        try:
            return await self._client().request(ask, idempotency_key=uuid.uuid4().hex)
        except RefusedError as error:
            why = explain(error.problem, self.user.name, choice.offer.currency)
            raise self._refused(why, error.problem.name, log_message=error.problem.detail) from error
        except ApiAwayError as error:
            raise self._away(error) from error

    def _show_grant(self, choice: Choice, grant: Grant) -> None:
        account = wording.account(choice.account, self.user.name)
        held = wording.duration(grant.held_seconds)
        at_deadline = lease_view.runs_until(grant.deadline_at)
        self.lease_progress.add(30, f"Holding {held} of quota on {wording.lower_first(account)}")
        self.lease_progress.add(40, f"Starting {choice.offer.title}")
        self.lease_progress.add(45, at_deadline.text, html=at_deadline.html)

    async def _give_back(self, lease_id: str, why: str) -> None:
        try:
            await self._client(self.sublet_page_timeout).stop(lease_id, "user", why)
        except RefusedError as error:  # it has ended already
            self.log.info("Lease %s needed no stop: %s", lease_id, error)
        except ApiAwayError as error:
            self.log.warning("The meter has to find the end of lease %s: %s", lease_id, error)

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

    def _away(self, error: Exception) -> LeaseRefusedError:
        return self._refused(Explanation(AWAY), "unavailable", status_code=AWAY_STATUS, log_message=str(error))

    def _form_url(self) -> str:
        return str(url_path_join(self.hub.base_url, "spawn", self.user.escaped_name, url_escape_path(self.name)))
