"""Models' servers in pods: they come into the catalogue, and what only one machine can start goes."""

from __future__ import annotations

from pathlib import Path

import pytest

from sublet_hub.catalog import STARTER_MODELS, load_models
from sublet_hub.domain.models import ModelCatalogue, Upstream
from sublet_hub.settings import SettingsError, as_environment, load_settings

HERE = "http://sublet-model-fasttext-lid-176:8000/v1"


def read(folder: Path, toml: str, *servers: str, cluster: str = "kubernetes") -> ModelCatalogue:
    (folder / "models.toml").write_text(toml, encoding="utf-8")
    env = {"SUBLET_DATA": str(folder), "SUBLET_CLUSTER": cluster, "SUBLET_KUBE_MODEL_SERVERS": ",".join(servers)}
    return load_models(load_settings(as_environment(load_settings(env))))


def upstreams(models: ModelCatalogue, name: str) -> tuple[Upstream, ...]:
    serving = models.model(name).serving
    return () if serving is None else serving.upstreams


STARTER = STARTER_MODELS.read_text(encoding="utf-8")


def test_a_pod_comes_in_the_place_of_a_process(tmp_path: Path) -> None:
    models = read(tmp_path, STARTER, f"fasttext-lid-176={HERE}/")
    assert upstreams(models, "fasttext-lid-176") == (Upstream(HERE, "fasttext-lid-176"),)
    assert [model.name for model in models.served] == ["fasttext-lid-176"], "nobody would start the other one"


def test_one_machine_starts_what_it_did(tmp_path: Path) -> None:
    models = read(tmp_path, STARTER, cluster="local")
    assert [each.start for model in models.served for each in upstreams(models, model.name)] == [
        "fasttext",
        "transformers",
    ]


def test_it_comes_before_the_catalogues_own(tmp_path: Path) -> None:
    other = 'upstreams = [{ url = "http://elsewhere/v1", model = "lid" }]'
    models = read(
        tmp_path, STARTER.replace('upstreams = [{ start = "fasttext" }]', other), f"fasttext-lid-176={HERE}"
    )
    assert [each.url for each in upstreams(models, "fasttext-lid-176")] == [HERE, "http://elsewhere/v1"]


def test_a_catalogue_need_not_say_where(tmp_path: Path) -> None:
    silent = STARTER.replace('upstreams = [{ start = "fasttext" }]', "")
    assert upstreams(read(tmp_path, silent, f"fasttext-lid-176={HERE}"), "fasttext-lid-176")
    with pytest.raises(SettingsError, match=r"models\.fasttext-lid-176\.serving\.upstreams.*nobody would serve it"):
        read(tmp_path, silent)


def test_one_that_is_a_lease_stays(tmp_path: Path) -> None:
    """The gateway starts it as a pod."""
    leased = 'upstreams = [{ start = "vllm", flavor = "gpu-1x", arguments = ["--max-model-len", "512"] }]'
    models = read(tmp_path, STARTER.replace('upstreams = [{ start = "transformers" }]', leased))
    (found,) = upstreams(models, "sublet-tiny-llama")
    assert (found.start, found.flavor, found.arguments) == ("vllm", "gpu-1x", ("--max-model-len", "512"))


def test_a_server_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"kube_model_servers names lama: there is no such model"):
        read(tmp_path, STARTER, f"lama={HERE}")
    on_disk = STARTER.partition("[models.serving]")[0]
    with pytest.raises(SettingsError, match=r"names fasttext-lid-176: it has no table serving"):
        read(tmp_path, on_disk, f"fasttext-lid-176={HERE}")
    served_only = STARTER.replace('files = [\n  { path = "lid.176.ftz"', "files = [] #").replace(
        '8039db603e83" },\n]', ""
    )
    with pytest.raises(SettingsError, match=r"names fasttext-lid-176: it has no files"):
        read(tmp_path, served_only, f"fasttext-lid-176={HERE}")
