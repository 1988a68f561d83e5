"""The kinds of values that settings have, and how they are read from text."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BeforeValidator, Field


def split_list(value: object) -> object:
    """Lists come from the environment as `a,b`."""
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return value


def none_if_said(value: object) -> object:
    return None if isinstance(value, str) and value.strip().lower() in {"", "none"} else value


def existing_zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"{value!r} is not a time zone of the IANA database, such as Europe/Berlin") from None
    return value


def longest_first(value: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(sorted(set(value), reverse=True))


def absolute(value: Path) -> Path:
    return value.expanduser().absolute()


Port = Annotated[int, Field(ge=1, le=65535)]
Seconds = Annotated[int, Field(ge=1, le=10**9)]
PreciseSeconds = Annotated[float, Field(gt=0, le=10**6)]
Number = Annotated[int, Field(ge=1, le=10_000)]
Count = Annotated[int, Field(ge=0, le=10**12)]
Names = Annotated[tuple[str, ...], BeforeValidator(split_list)]
OptionalCount = Annotated[Count | None, BeforeValidator(none_if_said)]
NoticeTimes = Annotated[
    tuple[Seconds, ...], BeforeValidator(split_list), AfterValidator(longest_first), Field(max_length=8)
]
AbsolutePath = Annotated[Path, AfterValidator(absolute)]
OptionalPath = Annotated[AbsolutePath | None, BeforeValidator(none_if_said)]
OptionalName = Annotated[
    Annotated[str, Field(min_length=1, max_length=255, pattern=r"^[^\x00-\x1f\x7f]+$")] | None,
    BeforeValidator(none_if_said),
]
OptionalAccount = Annotated[
    Annotated[str, Field(max_length=261, pattern=r"^(user|group):[^\x00-\x1f\x7f]+$")] | None,
    BeforeValidator(none_if_said),
]
