"""The published document: complete, stable, and the copy in docs/ is current."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sublet_hub.api.app import published_document
from sublet_hub.api.models.problem import Problem
from sublet_hub.api.openapi import OPEN_OPERATIONS
from sublet_hub.domain.quota import What
from tests.api.conftest import Running

COPY = Path(__file__).parents[2] / "docs" / "openapi.json"

Operation = dict[str, dict[str, object]]


@pytest.fixture(scope="module")
def operations() -> dict[str, Operation]:
    """By operation id."""
    paths = published_document()["paths"].values()
    return {operation["operationId"]: operation for path in paths for operation in path.values()}


async def test_it_is_served_to_anyone_and_is_the_copy_in_docs(platform: Running) -> None:
    served = await platform.ask("GET", "/services/sublet/api/openapi.json")
    assert served.json() == json.loads(COPY.read_text(encoding="utf-8")), "run `make docs`"


def test_operations_keep_their_names(operations: dict[str, Operation]) -> None:
    of_quotas = {f"{method}_{kind}_quota" for method in ("get", "put", "patch", "delete")
                 for kind in ("user", "group", "default")}  # fmt: skip
    assert set(operations) == of_quotas | {
        "list_quotas", "list_leases", "request_lease", "read_lease", "follow_lease", "stop_lease", "keep_lease",
        "report_activity", "list_activity", "list_flavors", "list_pools", "read_own_quota", "read_usage",
        "read_model_use", "list_models", "read_model", "accept_licence", "list_acceptances", "identify_caller",
        "request_allowance", "post_use", "list_notices", "list_audit", "read_health",
        "read_metrics", "read_openapi", "read_platform",
    }  # fmt: skip


def test_every_operation_documents_its_refusals_and_what_it_needs(operations: dict[str, Operation]) -> None:
    for name, operation in operations.items():
        statuses = set(operation["responses"])
        assert {"422", "500"} <= statuses, name
        assert ("401" in statuses) == bool(operation["security"]) == (name not in OPEN_OPERATIONS), name
        for status, response in operation["responses"].items():
            if int(status) >= 400:
                assert isinstance(response, dict)
                assert list(response["content"]) == ["application/problem+json"], (name, status)
        assert operation.get("summary"), name


def test_words_that_the_models_repeat_are_the_domains() -> None:
    schemas = published_document()["components"]["schemas"]
    assert schemas["LimitModel"]["properties"]["what"]["enum"] == [what.value for what in What]
    assert set(schemas["Problem"]["properties"]) == set(Problem.model_fields)
