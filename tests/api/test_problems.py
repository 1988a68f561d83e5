"""Every type of problem is documented, once, with its status."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from sublet_hub.api import app
from sublet_hub.api.problems import FaultyFields, field_name, problem_of
from sublet_hub.domain.errors import CallsQuotaExceeded, PublicError, QuotaExceeded
from sublet_hub.gateway import app as gateway_app

PAGE = Path(__file__).parents[2] / "docs" / "problems.md"


def subclasses(of: type[PublicError]) -> Iterator[type[PublicError]]:
    for each in of.__subclasses__():
        yield each
        yield from subclasses(each)


def test_the_page_on_problems_has_every_type_with_its_status() -> None:
    assert None not in {app, gateway_app}  # all that raises has been imported
    raised = {(each.type_name, each.status) for each in subclasses(PublicError)}
    rows = re.findall(r"^\| `([a-z-]+)` \| (\d+)(?:, \d+)* \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert {(name, int(status)) for name, status in rows} == raised
    assert len(rows) == len(set(rows))


def test_types_are_told_apart_by_their_name() -> None:
    own = [each for each in subclasses(PublicError) if each not in {FaultyFields, CallsQuotaExceeded}]
    assert len({each.type_name for each in own}) == len(own)


def test_members_that_do_not_apply_are_left_out() -> None:
    plain = problem_of(QuotaExceeded("No."), "/x").model_dump(exclude_unset=True)
    assert set(plain) == {"type", "title", "status", "detail", "instance"}


def test_fields_are_named_as_a_person_would() -> None:
    assert field_name(("body", "limits", 0, "limit")) == "limits[0].limit"
    assert field_name(("query", "state", 1)) == "state[1]"
    assert field_name(("path", "name")) == "name"
    assert field_name(("body", 17)) == "body"
    assert field_name(("body",)) == "body"
