"""Reading how many tokens a call took from its server's own record, and guessing where there is none."""

from __future__ import annotations

from typing import Any

from sublet_hub.gateway.amounts import Counts

MOST_TOKENS = 10**8
"""More than any call can take: a record that says so is none."""

BYTES_PER_TOKEN = 4
"""Of text, about, for most tokenizers. Only where a server sends no record."""


def counts_in(said: Any) -> Counts | None:
    """The record of an answer or of a stream's event: `usage`, or within `response` (the Responses API). None where
    there is none that makes sense."""
    if not isinstance(said, dict):
        return None
    response = said.get("response")
    usage = said.get("usage") or (response.get("usage") if isinstance(response, dict) else None)
    if not isinstance(usage, dict):
        return None
    given: Any = usage.get("prompt_tokens", usage.get("input_tokens"))
    made = usage.get("completion_tokens", usage.get("output_tokens", 0))
    if made is None:
        made = 0
    return Counts(int(given), int(made)) if _is_count(given) and _is_count(made) else None


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MOST_TOKENS


def estimated(input_bytes: int, output_bytes: int, events: int, most: tuple[int, int]) -> Counts:
    """A guess in the caller's favour: a token for four bytes, or for each event of a stream. `most` are the bounds
    that the call was let in with."""
    given = min(-(-input_bytes // BYTES_PER_TOKEN), most[0])
    made = events or -(-output_bytes // BYTES_PER_TOKEN)
    return Counts(given, min(made, most[1]), estimated=True)
