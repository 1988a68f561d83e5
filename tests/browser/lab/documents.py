"""What a server tells its browsers: a state with a lease in it, and what the platform answers."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Any

Document = dict[str, Any]

GIB = 2**30


def moment(seconds_from_now: float = 0) -> str:
    at = datetime.now(UTC) + timedelta(seconds=seconds_from_now)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def lease(seconds_left: float = 2 * 3600 + 90, **changes: Any) -> Document:
    """A lease of one GPU at $2.40 an hour, 40 minutes old."""
    return {
        "id": "lease-1",
        "user": "ada",
        "account": "group:lab",
        "flavor": "h100-1x",
        "tier": "surplus",
        "kind": "notebook",
        "state": "active",
        "requested_at": moment(-2405),
        "started_at": moment(-2400),
        "ended_at": None,
        "deadline_at": moment(seconds_left),
        "gpus_milli": 1000,
        "gpu_seconds": 2400,
        "cost_microunits": 1_600_000,
        "currency": "USD",
        "end_reason": None,
        "simulated": False,
        "server_name": "",
        "pool": "h100",
        "deadline_reason": "quota",
        "deadline_limit": {
            "subject": "group:lab",
            "what": "gpu_seconds",
            "limit": 36_000,
            "window": "week",
            "flavor": None,
            "resets_at": moment(3 * 86_400),
        },
        "price_microunits_per_gpu_hour": 2_400_000,
        **changes,
    }


def notice(reason: str, seconds_left: float, **changes: Any) -> Document:
    return {
        "id": f"notice-{reason}-1",
        "lease_id": "lease-1",
        "user": "ada",
        "reason": reason,
        "message": "It stops.",
        "deadline_at": moment(seconds_left),
        "written_at": moment(),
        "withdrawn_at": None,
        "lead_seconds": 300,
        **changes,
    }


def gpu(utilisation: float, memory_gib: float) -> Document:
    return {
        "device": "GPU-1",
        "utilisation_percent": utilisation,
        "memory_used_bytes": int(memory_gib * GIB),
        "memory_total_bytes": 80 * GIB,
    }


def history(minutes: int = 40) -> list[Document]:
    """A training run that waits for its data now and then."""
    told = []
    for ago in range(minutes, 0, -1):
        busy = 78 + 14 * math.sin(ago) if ago % 13 > 2 else 8
        memory = min(52.0, 6.0 + 2.5 * (minutes - ago))
        told.append(
            {"at": moment(-60 * ago), "seconds": 60, "gpus": [gpu(busy, memory)], "kernels": 1, "kernels_busy": 1}
        )
    return told


def state(**changes: Any) -> Document:
    return {
        "lease": lease(),
        "notices": [],
        "connected": True,
        "trouble": None,
        "ending": False,
        "accepting": True,
        "refusal": None,
        "gpu": {"gpus": [{**gpu(82, 52), "processes": []}]},
        "history": history(),
        "previous": None,
        "idle_minutes": 0,
        "idle_stop": None,
        **changes,
    }


def warned(reason: str, seconds_left: float, **changes: Any) -> Document:
    """A state in which a notice stands."""
    bound = {"deadline_reason": reason} | ({} if reason == "quota" else {"deadline_limit": None})
    return state(lease=lease(seconds_left, **bound), notices=[notice(reason, seconds_left)], **changes)


def quota() -> Document:
    def limit(what: str, limit: int, used: int, held: int, window: str | None) -> Document:
        return {
            "what": what,
            "limit": limit,
            "window": window,
            "flavor": None,
            "used": used,
            "held": held,
            "left": limit - used - held,
            "resets_at": moment(3 * 86_400) if window else None,
        }

    own = {
        "subject": "user:ada",
        "own": True,
        "time_zone": "UTC",
        "limits": [limit("gpus", 2, 0, 1, None), limit("lease_seconds", 28_800, 0, 0, None)],
    }
    group = {
        "subject": "group:lab",
        "own": True,
        "time_zone": "UTC",
        "limits": [
            limit("gpu_seconds", 36_000, 24_000, 3_600, "week"),
            limit("money_microunits", 40_000_000, 37_200_000, 0, "month"),
        ],
    }
    return {"user": "ada", "currency": "USD", "leases": [], "accounts": [own, group]}


def flavors() -> list[Document]:
    return [{"flavor": "h100-1x", "title": "H100, whole"}, {"flavor": "h100-2x", "title": "Two H100"}]


def model(name: str, title: str, **changes: Any) -> Document:
    """A model of the catalogue that fits every flavor, is in every server, and needs no acceptance."""
    return {
        "name": name,
        "title": title,
        "family": "Llama",
        "task": "text-generation",
        "description": "",
        "repository": f"meta/{name}",
        "revision": "main",
        "parameters": 1_235_814_400,
        "dtype": "bfloat16",
        "memory_bytes": 3 * GIB,
        "size_bytes": int(2.5 * GIB),
        "loader": "transformers",
        "formats": ["safetensors"],
        "on_disk": True,
        "served": None,
        "flavors": ["h100-1x", "h100-2x"],
        "licence": licence("MIT License"),
        "example": "",
        **changes,
    }


def licence(title: str, **changes: Any) -> Document:
    return {
        "name": title.lower().replace(" ", "-"),
        "title": title,
        "version": "2024-12-06",
        "url": "https://example.org/licence",
        "gated": False,
        "accepted": True,
        "accepted_by": [],
        **changes,
    }


def served(given: int = 600_000, made: int = 800_000) -> Document:
    return {
        "context_tokens": 131_072,
        "output_tokens_max": 8192,
        "input_microunits_per_million_tokens": given,
        "output_microunits_per_million_tokens": made,
        "currency": "USD",
    }


EXAMPLE = 'words = ["Wo", "ist", "der", "Bahnhof?"]\nprint(len(words), "words")\n'


def models(*, accepted: bool = False) -> Document:
    """One that is here, one that is larger than the lease, and a gated one, as a server tells of them."""
    terms = licence("Llama 3.3 Community License", gated=True, accepted=accepted)
    terms["accepted_by"] = ["user:ada"] if accepted else []
    described = "Tells which of 176 languages a text is in. Compressed, of 2017."
    return {
        "models": [
            model(
                "fasttext-lid-176", "fastText language identification", family="fastText", parameters=0, dtype="",
                task="language identification", description=described, memory_bytes=5_000_000, size_bytes=938_013,
                served=served(0, 0), example=EXAMPLE, licence=licence("Creative Commons Attribution-ShareAlike 3.0"),
            ),
            model(
                "llama-3.3-70b", "Llama 3.3 70B Instruct", parameters=70_553_706_496, memory_bytes=150 * GIB,
                size_bytes=141 * GIB, flavors=["h100-2x"], served=served(), licence=terms, example="import openai\n",
            ),
            model(
                "sam-2.1-large", "SAM 2.1 Hiera Large", family="SAM", task="segmentation", flavors=[],
                description="Cuts out what is in a picture or in a film.", licence=licence("Apache License 2.0"),
                memory_bytes=200 * GIB,
                parameters=224_000_000, dtype="float32", example="import sublet\n",
            ),
        ],
        "here": ["fasttext-lid-176", "sam-2.1-large"],
    }  # fmt: skip


def gated(*, accepted: bool = False) -> Document:
    """The gated one, with its licence's text."""
    (one,) = (each for each in models(accepted=accepted)["models"] if each["licence"]["gated"])
    text = "LLAMA 3.3 COMMUNITY LICENSE AGREEMENT\n\n<b>You may use it.</b>\n" + "Further terms apply. " * 200
    return {**one, "licence": {**one["licence"], "text": text}}
