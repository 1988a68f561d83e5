"""What the chart writes into `sublet.toml` and the environment is what Sublet reads."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from sublet_hub.catalog import load_catalog, load_models
from sublet_hub.domain.flavors import IdlePolicy, Tier
from sublet_hub.hub.sign_in_options import load_sign_in
from sublet_hub.settings import Settings, load_settings, unknown_environment
from tests.helm.rendering import EVERYTHING, named, pods, render

pytestmark = pytest.mark.helm


def toml(objects: list[dict[str, Any]]) -> str:
    text: str = named(objects, "ConfigMap", "sublet-settings")["data"]["sublet.toml"]
    return text


def environment(pod: dict[str, Any]) -> dict[str, str]:
    return {each["name"]: each["value"] for each in pod["spec"]["containers"][0]["env"] if "value" in each}


def settings_of(objects: list[dict[str, Any]], component: str, folder: Path) -> Settings:
    """The settings that a component reads, with its file in a folder."""
    file = folder / "sublet.toml"
    file.write_text(toml(objects), encoding="utf-8")
    given = environment(pods(objects)[f"sublet-{component}"])
    if "SUBLET_CONFIG_FILE" in given:
        assert given["SUBLET_CONFIG_FILE"] == "/etc/sublet/sublet.toml"
        given["SUBLET_CONFIG_FILE"] = str(file)
    assert unknown_environment(given) == ()
    return load_settings(given)


@pytest.mark.parametrize("component", ["hub", "proxy", "api", "meter", "gateway"])
def test_every_component_reads_its_settings(component: str, tmp_path: Path) -> None:
    settings = settings_of(render(values={"models": {"catalogue": "# none yet"}}), component, tmp_path)
    assert settings.cluster == "kubernetes"
    assert (settings.host, settings.internal_host) == ("0.0.0.0", "0.0.0.0")
    assert settings.hub_address == "http://sublet-hub:8081"
    assert settings.api_address == "http://sublet-api:8082"
    assert settings.gateway_address == "http://sublet-gateway:8084"
    assert settings.proxy_api_address == "http://sublet-proxy-api:8001"
    assert (settings.kube_release, settings.kube_namespace) == ("sublet", "sublet")
    ports = (settings.port, settings.proxy_api_port, settings.hub_port, settings.api_port, settings.meter_port)
    assert (*ports, settings.gateway_port) == (8000, 8001, 8081, 8082, 8083, 8084)


def test_what_follows_from_values_reaches_the_settings(tmp_path: Path) -> None:
    settings = settings_of(render(EVERYTHING), "hub", tmp_path)
    assert settings.kube_notebook_image == "registry.example.org/sublet/notebook:0.1.0-cuda"
    assert settings.kube_warden_image == "registry.example.org/sublet/warden:0.1.0"
    assert settings.kube_image_pull_secrets == ("registry",)
    assert (settings.kube_home_gib, settings.kube_home_storage_class) == (50, "fast")
    assert settings.kube_models_claim == "models"
    assert settings.kube_priority_class_guaranteed == "sublet-guaranteed"
    assert settings.kube_priority_class_surplus == "sublet-surplus"
    assert str(settings.hub_extra_config) == "/etc/sublet/extra_config.py"
    assert settings.contact == 'the "GPU team" <gpus@example.org>'
    assert settings.default_gpus is None
    assert settings.default_money_microunits_per_month == 10**12
    assert settings.notice_seconds == (600, 60)
    assert settings.stop_grace_seconds == 10
    assert settings.admin_users == ("lena.fischer",)


def test_prices_are_whole_numbers_however_large(tmp_path: Path) -> None:
    settings = settings_of(render(EVERYTHING), "api", tmp_path)
    catalog = load_catalog(settings)
    assert catalog.flavors["h100-1x"].prices == {Tier.GUARANTEED: 10**12, Tier.SURPLUS: 1234567}
    assert catalog.pools["h100"].capacity == 64 * 7000
    assert catalog.pools["h100"].idle == IdlePolicy(30)


def test_the_default_catalog_is_one(tmp_path: Path) -> None:
    assert load_catalog(settings_of(render(), "meter", tmp_path)).flavors.keys() == {"cpu"}


def test_signing_in_is_read_by_the_hub(tmp_path: Path) -> None:
    settings = settings_of(render(EVERYTHING), "hub", tmp_path)
    options = load_sign_in(settings, {"OAUTH_CLIENT_SECRET": "given as a file"})
    assert (options.provider, options.client_id) == ("oidc", "sublet")
    assert options.allowed_groups == ("gpu-users",)
    assert "clientSecret" not in toml(render(EVERYTHING))
    assert not load_sign_in(settings_of(render(), "hub", tmp_path), {}).by_oauth


@pytest.mark.parametrize(
    "value", ['"', "\\", "a\nb", "<&>", "ü × 漢", "${x}", "{{ .Values }}", "'''", "#", "\t", "\x01"]
)
def test_text_of_any_kind_arrives_as_it_was(value: str) -> None:
    assert tomllib.loads(toml(render(values={"settings": {"contact": value}})))["contact"] == value


def checksums(objects: list[dict[str, Any]]) -> dict[str, str | None]:
    return {
        name: pod["metadata"]["annotations"].get("checksum/settings")
        for name, pod in pods(objects).items()
        if name != "sublet-check"
    }


def test_a_new_price_restarts_those_who_read_it_and_never_the_proxy() -> None:
    def priced(price: int, **more: Any) -> list[dict[str, Any]]:
        flavor = {"name": "cpu", "title": "CPU", "pool": "cpu", "gpus": 0, "cpus": 1, "memory_gib": 1}
        own = {"existingSecret": "mine"}
        return render(values={"secrets": own, "flavors": [{**flavor, "prices": {"guaranteed": price}}], **more})

    before, after, other = priced(1), priced(2), priced(1, ingress={"enabled": True})
    assert checksums(before) == checksums(other)
    assert {name for name, value in checksums(before).items() if value != checksums(after)[name]} == {
        "sublet-hub",
        "sublet-api",
        "sublet-meter",
    }
    for name, pod in pods(before).items():
        assert pods(other)[name] == pod
        if name in {"sublet-proxy", "sublet-check"}:
            assert pods(after)[name] == pod


def test_the_catalogue_of_models_arrives_as_it_was(tmp_path: Path) -> None:
    objects = render(EVERYTHING)
    for name, text in named(objects, "ConfigMap", "sublet-models")["data"].items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    model, *_ = load_models(settings_of(objects, "gateway", tmp_path)).served
    assert (model.name, model.licence.text_file) == ("llama-3.3-70b", "llama.txt")
    assert (tmp_path / "llama.txt").read_text(encoding="utf-8").strip() == "You may: {{ but not so }}."


def test_the_store_is_filled_anew_when_the_catalogue_changes() -> None:
    def job(catalogue: str) -> str:
        (name,) = (name for name in pods(render(values={"models": {"catalogue": catalogue}})) if "-models-" in name)
        return name

    assert job("# one") == job("# one") != job("# two")


def test_without_models_there_is_neither_store_nor_gateway(tmp_path: Path) -> None:
    objects = render()
    assert not [name for name in pods(objects) if "models" in name or "gateway" in name]
    assert settings_of(objects, "hub", tmp_path).kube_models_claim is None
