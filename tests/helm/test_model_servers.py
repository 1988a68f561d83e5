"""Pods that serve models: what they run, where the gateway finds them, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sublet_hub.catalog import STARTER_MODELS, check_model_leases, load_models
from sublet_hub.gateway.pod_place import pod_options
from tests.helm.rendering import EVERYTHING, NAMESPACE, Object, named, of_kind, pods, refusal, render
from tests.helm.test_settings import settings_of

pytestmark = pytest.mark.helm

MODELS_MAX = 96
"""How long a model's name may be."""


def server_of(objects: list[Object], name: str) -> Object:
    container: Object
    (container,) = pods(objects)[name]["spec"]["containers"]
    return container


def rendered(*servers: dict[str, Any], **models: Any) -> list[Object]:
    catalogue = STARTER_MODELS.read_text(encoding="utf-8")
    return render(values={"models": {"catalogue": catalogue, "servers": list(servers), **models}})


def test_vllm_serves_the_stores_files_under_the_catalogues_name() -> None:
    objects = render(EVERYTHING)
    pod = pods(objects)["sublet-model-llama-3-3-70b"]["spec"]
    server = server_of(objects, "sublet-model-llama-3-3-70b")
    assert server["image"] == "registry.example.org/vllm/vllm-openai:v0.30.0"
    assert server["command"] == ["vllm", "serve"]
    assert server["args"] == [
        *("/serving/model", "--served-model-name", "llama-3.3-70b", "--host", "0.0.0.0", "--port", "8000"),
        *("--tensor-parallel-size", "4", "--disable-uvicorn-access-log"),
        *("--max-model-len", "131072", "--enable-prefix-caching"),
    ]
    assert server["resources"]["limits"] == {"memory": "200Gi", "nvidia.com/gpu": 4}
    assert {each["name"]: each.get("value") for each in server["env"]}["HF_HUB_OFFLINE"] == "1"
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert server[probe]["httpGet"] == {"path": "/health", "port": "http"}
    assert {"name": "models", "mountPath": "/models", "readOnly": True} in server["volumeMounts"]
    (store,) = (each for each in pod["volumes"] if each["name"] == "models")
    assert store["persistentVolumeClaim"] == {"claimName": "models", "readOnly": True}
    assert pod["initContainers"][0]["args"][-1] == "llama-3.3-70b"
    assert pod["priorityClassName"] == "sublet-guaranteed", "it must push no lease out"


def test_the_others_run_from_the_notebooks_image_and_see_no_gpu() -> None:
    objects = rendered({"model": "fasttext-lid-176", "engine": "fasttext"})
    server = server_of(objects, "sublet-model-fasttext-lid-176")
    assert server["image"] == "sublet/notebook:0.1.0"
    assert server["command"] == ["python", "-I", "/serving/classify.py"]
    assert server["args"] == ["0.0.0.0:8000", "fasttext-lid-176", "/serving/model"]
    assert server["resources"]["limits"].keys() == {"memory"}
    assert {"name": "NVIDIA_VISIBLE_DEVICES", "value": "void"} in server["env"]


def test_one_gpu_is_vllms_default() -> None:
    server = server_of(rendered({"model": "sublet-tiny-llama"}), "sublet-model-sublet-tiny-llama")
    assert server["image"] == "vllm/vllm-openai:v0.30.0"
    assert server["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert "--tensor-parallel-size" not in server["args"]


def test_what_is_off_stays_off() -> None:
    found = named(render(EVERYTHING), "Deployment", "sublet-model-sublet-tiny-llama")
    assert found["spec"]["replicas"] == 0
    assert not [each for each in of_kind(rendered(), "Deployment") if "-model-" in each["metadata"]["name"]]


def test_the_gateway_finds_them(tmp_path: Path) -> None:
    objects = render(EVERYTHING)
    for name, text in named(objects, "ConfigMap", "sublet-models")["data"].items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    settings = settings_of(objects, "gateway", tmp_path)
    catalogue = load_models(settings)
    check_model_leases(catalogue, settings)
    assert [(model.name, upstream.flavor) for model, upstream in catalogue.leased] == [("llama-3.3-70b", "h100-1x")]
    first = {model.name: model.serving.upstreams[0].url for model in catalogue.served if model.serving}
    assert first == {
        "llama-3.3-70b": "http://sublet-model-llama-3-3-70b:8000/v1",
        "fasttext-lid-176": "http://sublet-model-fasttext-lid-176:8000/v1",
        "sublet-tiny-llama": "http://sublet-model-sublet-tiny-llama:8000/v1",
    }
    services = {each["metadata"]["name"]: each["spec"] for each in of_kind(objects, "Service")}
    for url in first.values():
        name = str(url).split("/")[2].removesuffix(":8000")
        labels = pods(objects)[name]["metadata"]["labels"]
        assert services[name]["selector"].items() <= labels.items()
        assert [each["port"] for each in services[name]["ports"]] == [8000]
        others = [
            each for each in pods(objects) if services[name]["selector"].items() <= _labels(objects, each).items()
        ]
        assert others == [name]


def test_a_model_that_is_leased_is_started_as_the_values_say(tmp_path: Path) -> None:
    """Catalogue, flavor and settings of the chart, as the gateway reads them."""
    leased = 'upstreams = [{ start = "vllm", flavor = "one" }]'
    catalogue = STARTER_MODELS.read_text(encoding="utf-8").replace('upstreams = [{ start = "transformers" }]', leased)
    pool = {"name": "gpu", "gpu_model": "H100", "gpu_memory_gib": 80, "capacity": 2}
    flavor = {"name": "one", "title": "One", "pool": "gpu", "gpus": 1, "cpus": 4, "memory_gib": 16}
    objects = render(
        values={
            "settings": {"model_account": "user:admin"},
            "pools": [pool],
            "flavors": [{**flavor, "prices": {"surplus": 5}}],
            "imagePullSecrets": [{"name": "pull"}],
            "models": {"catalogue": catalogue, "vllmImage": {"repository": "example.org/vllm", "tag": "v2"}},
        }
    )
    for name, text in named(objects, "ConfigMap", "sublet-models")["data"].items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    settings = settings_of(objects, "gateway", tmp_path)
    models = load_models(settings)
    check_model_leases(models, settings)
    ((model, upstream),) = models.leased
    assert (model.name, upstream.start, upstream.flavor) == ("sublet-tiny-llama", "vllm", "one")
    options = pod_options(settings)
    assert options.settings.vllm_image == "example.org/vllm:v2"
    assert options.settings.models_claim == "sublet-models"
    assert options.settings.image_pull_secrets == ("pull",)
    assert options.settings.pods.priority_classes == {"guaranteed": "sublet-guaranteed", "surplus": "sublet-surplus"}
    assert options.namespace == NAMESPACE


def _labels(objects: list[Object], name: str) -> dict[str, str]:
    labels: dict[str, str] = pods(objects)[name]["metadata"]["labels"]
    return labels


def test_long_names_fit_and_stay_apart() -> None:
    long = "a" * (MODELS_MAX - 1)
    objects = rendered({"model": f"{long}b"}, {"model": f"{long}c"})
    names = [
        each["metadata"]["name"] for each in of_kind(objects, "Service") if "-model-" in each["metadata"]["name"]
    ]
    assert len(set(names)) == 2
    assert all(len(name) <= 63 for name in names)


@pytest.mark.parametrize(
    ("models", "said"),
    [
        ({"servers": [{"model": "a"}]}, "models.catalogue, which is empty"),
        ({"catalogue": "#", "servers": [{"model": "a.b"}, {"model": "a-b"}]}, "two entries of the name"),
        (
            {"catalogue": "#", "servers": [{"model": "a", "engine": "fasttext", "arguments": ["--x"]}]},
            "takes no arguments",
        ),
        ({"catalogue": "#", "servers": [{"model": "a", "engine": "llama.cpp"}]}, "specifications of the schema"),
        ({"catalogue": "#", "servers": [{"model": "a", "gpu": 1}]}, "specifications of the schema"),
        ({"catalogue": "#", "servers": [{"engine": "vllm"}]}, "specifications of the schema"),
        ({"catalogue": "#", "servers": [{"model": "A"}]}, "specifications of the schema"),
    ],
)
def test_what_can_not_be_is_refused(models: dict[str, Any], said: str) -> None:
    assert said in refusal({"models": models})
