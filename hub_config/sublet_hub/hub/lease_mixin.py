"""Makes a lease of every server: what any spawner needs so that each start is asked for, shown and reported.

    class LeaseKubeSpawner(LeaseMixin, KubeSpawner): ...

The mixin stands first. It knows nothing of where servers run; after a grant it hands over to the spawner's own
`start`, which finds the lease's devices and its deadline in `self.lease_grant`.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

from jupyterhub.spawner import Spawner
from traitlets import Float, Instance

from sublet_hub.hub import lease_view, wording
from sublet_hub.hub.choice import Choice, ChoiceError, accounts_of, choose, wish_from_options
from sublet_hub.hub.lease_client import ApiAwayError, Ask, RefusedError
from sublet_hub.hub.lease_pages import BAD_CHOICE_STATUS, LeasePages
from sublet_hub.hub.messages import Grant
from sublet_hub.hub.progress import LeaseProgress
from sublet_hub.hub.refusal import AWAY_STATUS, Explanation, LeaseRefusedError, explain

AWAY = "The part of the platform that decides on leases does not answer at the moment. Try again in a minute."


class LeaseMixin(LeasePages, Spawner):
    """For any JupyterHub spawner; see the module's docstring."""

    lease_grant = Instance(Grant, allow_none=True, help="What the lease was granted as; None after a restart.")
    lease_asked_at = Float(help="When the lease was asked for, by the monotonic clock: no grant is older than that.")
    lease_progress = Instance(LeaseProgress, ())

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
        if self.sublet_models_url:
            env["OPENAI_BASE_URL"] = self.sublet_models_url
            env["OPENAI_API_KEY"] = env["JUPYTERHUB_API_TOKEN"]
        if self.sublet_dask_url:
            env["SUBLET_DASK_URL"] = self.sublet_dask_url
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

    # ---------------------------------------------------------------- within

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

    def _away(self, error: Exception) -> LeaseRefusedError:
        return self._refused(Explanation(AWAY), "unavailable", status_code=AWAY_STATUS, log_message=str(error))
