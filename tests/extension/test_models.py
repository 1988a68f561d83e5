"""`sublet.models` where nothing is loaded: what there is, where it lies, and what its licence asks for."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import sublet
from sublet import errors, models
from sublet.models import room
from sublet.models.store import Store, StoredModel
from tests.extension.conftest import Platform
from tests.extension.models_store import GATED, SERVING, fill, make_model

FILES = {"notes.txt": b"weights would be here\n"}


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store as a server sees it: open models, and nothing yet of the gated one."""
    open_model = make_model("open-one", FILES)
    gated = make_model("gated-one", FILES, licence=GATED)
    served = make_model("served-one", {}, serving=SERVING)
    absent = make_model("absent-one", FILES)
    fill(tmp_path, (open_model, FILES), (gated, FILES), (served, {}), (absent, FILES), without=("absent-one",))
    monkeypatch.setenv("SUBLET_MODELS_DIR", str(tmp_path))
    return tmp_path


def described(name: str = "gated-one", *, accepted: bool = False, **more: Any) -> dict[str, Any]:
    """A model as the api tells of it."""
    licence = {
        "name": "llama", "title": "Llama Community License", "version": "2024-09-25", "url": "https://example.org/llama",
        "gated": True, "accepted": accepted, "accepted_by": ["user:alice"] if accepted else [], "text": "You may.",
    }  # fmt: skip
    return {
        "name": name, "title": "Gated One", "family": "Llama", "task": "chat", "description": "", "repository": "",
        "revision": "main", "parameters": 1_235_814_400, "dtype": "bfloat16", "memory_bytes": 3 * 2**30,
        "size_bytes": 0, "loader": "transformers", "formats": [], "on_disk": True, "flavors": ["h100-1x"],
        "licence": licence,
        "served": {
            "context_tokens": 4096, "output_tokens_max": 1024, "input_microunits_per_million_tokens": 100_000,
            "output_microunits_per_million_tokens": 300_000, "currency": "USD",
        },
        "example": "",
    } | more  # fmt: skip


def test_where_a_model_lies(root: Path) -> None:
    folder = models.path("open-one")
    assert folder == root / "open" / "open-one" / "main"
    assert (folder / "notes.txt").read_bytes() == FILES["notes.txt"]


def test_outside_of_the_platform(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SUBLET_MODELS_DIR", raising=False)
    with pytest.raises(sublet.NotInALease, match="ask an admin to fill the store"):
        models.path("open-one")


@pytest.mark.parametrize("catalogue", [b"", b"[]", b'{"format": 1}', b'{"format": 2, "models": []}'])
def test_a_catalogue_that_is_none(root: Path, catalogue: bytes) -> None:
    (root / "open" / "catalog.json").unlink()
    (root / "open" / "catalog.json").write_bytes(catalogue)
    with pytest.raises(errors.NotHere, match=r"can't be read"):
        models.path("open-one")


def test_an_empty_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUBLET_MODELS_DIR", str(tmp_path))
    with pytest.raises(errors.NotHere, match=r"no models in .* yet"):
        models.path("open-one")


def test_an_unknown_model_names_what_is_near(root: Path) -> None:
    with pytest.raises(errors.NoSuchModel, match=r"Did you mean open-one"):
        models.load("open-won")


def test_models_without_files(root: Path) -> None:
    with pytest.raises(errors.NotHere, match="OPENAI_BASE_URL"):
        models.path("served-one")
    with pytest.raises(errors.NotHere, match="sublet models add"):
        models.path("absent-one")


def test_a_model_of_a_package_of_its_own(root: Path) -> None:
    with pytest.raises(errors.NotHere, match=r"sublet\.models\.path\('open-one'\)"):
        models.load("open-one")


def test_a_licence_that_is_not_accepted(root: Path, platform: Platform) -> None:
    shutil.rmtree(root / "gated")  # as it is in the server of one who has not
    platform.answers["/models/gated-one"] = described()
    with pytest.raises(errors.LicenceNeeded, match="must be accepted first") as raised:
        models.path("gated-one")
    assert raised.value.url == f"{platform.url}/services/sublet/models?model=gated-one"
    assert raised.value.url in str(raised.value)


def test_a_licence_that_was_accepted_since(root: Path, platform: Platform) -> None:
    shutil.rmtree(root / "gated")
    platform.answers["/models/gated-one"] = described(accepted=True)
    with pytest.raises(errors.LicenceNeeded, match="from the next start of this server on"):
        models.load("gated-one")


def test_a_closed_model_while_the_platform_is_away(
    root: Path, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(root / "gated")
    monkeypatch.setenv("SUBLET_API_URL", "http://127.0.0.1:9/services/sublet/api")
    with pytest.raises(errors.LicenceNeeded, match="must be accepted before its files are here"):
        models.path("gated-one")


def test_accepting_sends_the_version_that_was_shown(platform: Platform) -> None:
    platform.answers["/models/gated-one"] = described(accepted=True)
    accepted = models.accept("gated-one", account="group:lab")
    assert platform.sent == [
        ("/models/gated-one/acceptance", {"licence": "llama", "version": "2024-09-25", "account": "group:lab"})
    ]
    assert accepted.accepted
    assert str(accepted).endswith("accepted\n\nYou may.")


def test_a_licence_that_needs_no_acceptance_is_not_accepted(platform: Platform) -> None:
    document = described()
    document["licence"] |= {"gated": False, "text": None}
    platform.answers["/models/gated-one"] = document
    assert "needs no acceptance" in str(models.accept("gated-one"))
    assert platform.sent == []


def test_a_model_that_the_platform_does_not_know(platform: Platform) -> None:
    platform.answer({"type": "https://sublet.dev/problems/not-found", "detail": "There is no model."}, 404)
    with pytest.raises(errors.NoSuchModel, match="There is no model"):
        models.licence("nothing")


def test_the_list(platform: Platform) -> None:
    other = described("free-one", family="fastText", served=None, flavors=[], parameters=900_000)
    platform.answers["/models"] = [described(), other]
    listed = models.list()
    assert [each.name for each in listed] == ["gated-one", "free-one"]
    assert len(models.list("llama")) == 1
    shown = str(listed)
    for part in (
        "1.2B bfloat16",
        "3 GiB",
        "on disk and served",
        "$0.10 in, $0.30 out",
        "to be accepted",
        "fits no flavor",
    ):
        assert part in shown
    assert "$0.10 in, $0.30 out" in listed._repr_html_()
    assert json.dumps(listed.document)  # what the platform answered, for programs


def test_an_empty_list_says_what_to_do(platform: Platform) -> None:
    platform.answers["/models"] = []
    assert "sublet models add" in str(models.list())
    assert "sublet models add" in models.list()._repr_html_()


def test_markup_in_a_models_words_stays_text(platform: Platform) -> None:
    platform.answers["/models"] = [described("<b>x</b>", task="<script>")]
    assert "<script>" not in models.list()._repr_html_()


@pytest.mark.parametrize("wrong", [{"models": []}, [{"name": 3}], ["x"]])
def test_an_answer_that_is_none(platform: Platform, wrong: object) -> None:
    platform.answers["/models"] = wrong
    with pytest.raises(sublet.Unavailable, match="not understood"):
        models.list()


def big(memory_bytes: int) -> StoredModel:
    return StoredModel(
        name="big", title="Big", loader="transformers", repository="", revision="main", dtype="",
        memory_bytes=memory_bytes, gated=False, licence="mit", folder=None, served=False, files=(),
    )  # fmt: skip


def test_a_model_that_does_not_fit(platform: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limit = tmp_path / "memory.max"
    limit.write_text(f"{2**30}\n")
    monkeypatch.setattr(room, "CGROUP_LIMIT", limit)
    platform.answers["/models/big"] = described("big", flavors=["h100-1x", "h100-8x"])
    room.check_room(big(2**30), "cpu", None)
    with pytest.raises(errors.DoesNotFit, match=r"needs 2\.0 GiB of memory.*has 1\.0 GiB.*h100-1x or h100-8x"):
        room.check_room(big(2**31), "cpu", None)
    limit.write_text("max\n")
    room.check_room(big(2**31), "cpu", None)


def test_a_gpu_that_is_too_small(platform: Platform) -> None:
    class Cuda:
        class cuda:  # noqa: N801 — as torch names it
            @staticmethod
            def get_device_properties(device: str) -> Any:
                assert device == "cuda:0"
                return type("Properties", (), {"total_memory": 10 * 2**30})

    platform.answers["/models/big"] = described("big", flavors=[])
    with pytest.raises(errors.DoesNotFit, match=r"The GPU cuda:0 has 10\.0 GiB\. No flavor here has so much"):
        room.check_room(big(11 * 2**30), "cuda:0", Cuda)


def test_the_stores_own_words(root: Path) -> None:
    store = Store.of()
    assert store.models["served-one"].served
    assert store.models["gated-one"].gated
    assert store.models["absent-one"].folder is None
