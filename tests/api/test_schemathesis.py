"""Requests made from the published document, good and bad: no 5xx, and no answer that isn't documented."""

from __future__ import annotations

import uuid
from typing import Any

import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import CheckFunction, not_a_server_error
from schemathesis.config import SchemathesisConfig
from schemathesis.specs.openapi import checks as openapi_checks

from sublet_hub.api.app import Options, create_app
from sublet_hub.api.idempotency import HEADER, LONGEST_KEY
from sublet_hub.domain import accounts
from sublet_hub.domain.admission import LeaseRequest
from sublet_hub.domain.flavors import Tier
from sublet_hub.storage import leasing, metering
from sublet_hub.storage.memory import MemoryStore
from tests.api.fake_hub import READ, SERVE, SPAWN, WRITE, FakeHub
from tests.fixtures.books import books, limit

CHECKS: list[CheckFunction] = [
    not_a_server_error,
    openapi_checks.status_code_conformance,
    openapi_checks.content_type_conformance,
    openapi_checks.response_headers_conformance,
    openapi_checks.response_schema_conformance,
    openapi_checks.negative_data_rejection,
    openapi_checks.unsupported_method,
    openapi_checks.allow_header_conformance,
    openapi_checks.ignored_auth,
]


class Everyone(dict[str, list[str]]):
    """Users of any name, in no group."""

    def __contains__(self, name: object) -> bool:
        return True

    def __missing__(self, name: str) -> list[str]:
        return []


class EveryGroup(set[str]):
    """Groups of any name."""

    def __contains__(self, name: object) -> bool:
        return True


def served() -> object:
    """An api whose asker may do everything, on a hub that knows every name."""
    hub = FakeHub(users=Everyone(alice=["lab"]), groups=EveryGroup())
    hub.tokens["all"] = ("user", "alice", ["access:services", READ, WRITE, SPAWN, SERVE])
    kept = books(MemoryStore())
    limit(kept, gpu_seconds=(36000, "day"), gpus=4)
    wanted = LeaseRequest("alice", accounts.user("alice"), "gpu-1x", Tier.GUARANTEED)
    metering.start(kept, leasing.request(kept, wanted, actor="service:x").id, kept.clock.now_ms())
    return create_app(kept, hub.client(), Options(session_key=b"k" * 32))


WORDS_ONLY = "/services/sublet/api/flavors"
"""All its parameters are plain text: a number or a list of one that is sent in their place is text as well, and right
to be answered."""

REJECTED = ["401", "403", "404", "405", "409", "413", "415", "422"]
CONFIG = SchemathesisConfig.from_dict({"checks": {"negative_data_rejection": {"expected-statuses": REJECTED}}})

schema = schemathesis.openapi.from_asgi("/services/sublet/api/openapi.json", served(), config=CONFIG)


@schema.auth()
class Token:
    """Shows the token, except where a case is about not showing it."""

    def get(self, _case: schemathesis.Case[Any], _context: schemathesis.AuthContext) -> str:
        return "token all"

    def set(self, case: schemathesis.Case[Any], data: str, _context: schemathesis.AuthContext) -> None:
        case.headers["Authorization"] = data


# Derandomized, so that what fails once fails again.
@schema.parametrize()
@settings(max_examples=20, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_the_api_keeps_to_its_document(case: schemathesis.Case[Any]) -> None:
    if 0 < len(str(case.headers.get(HEADER, ""))) <= LONGEST_KEY:
        case.headers[HEADER] = uuid.uuid4().hex  # the same few come again and again, and conflict
    over_the_wire = case.operation.path == WORDS_ONLY
    case.call_and_validate(
        checks=[each for each in CHECKS if not (over_the_wire and each is openapi_checks.negative_data_rejection)]
    )
