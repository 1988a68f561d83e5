"""Models' servers that are pods of the platform's own: put into the catalogue, in the place of what only one machine
can start."""

from __future__ import annotations

from dataclasses import replace

from sublet_hub.domain.models import Model, ModelCatalogue, Upstream
from sublet_hub.settings import Settings, SettingsError


def with_servers(models: ModelCatalogue, settings: Settings) -> ModelCatalogue:
    """The catalogue with the servers of `kube_model_servers`, which come before a model's others.

    Where leases are pods, the gateway starts nothing but leases: what says `start` and no flavor falls away, and a
    model that has nothing else is on disk only. SettingsError where a model would be served by nobody at all, and
    where there is a server of no such model.
    """
    addresses = dict(each.split("=", 1) for each in settings.kube_model_servers)
    for name in addresses:
        model = models.models.get(name)
        if model is None or model.serving is None or not model.files:
            lacks = "no table serving" if model is not None and model.serving is None else "no files"
            why = "there is no such model" if model is None else f"it has {lacks}"
            raise SettingsError(f"kube_model_servers names {name}: {why} in {settings.models_toml}.")
    found = {name: _with_server(model, addresses.get(name), settings) for name, model in models.models.items()}
    return ModelCatalogue(found, models.licences)


def _with_server(model: Model, address: str | None, settings: Settings) -> Model:
    if model.serving is None:
        return model
    named = model.serving.upstreams
    kept = [each for each in named if settings.cluster == "local" or not _is_started_here(each)]
    if address is not None:
        kept.insert(0, Upstream(address.rstrip("/"), model.name))
    if kept:
        return replace(model, serving=replace(model.serving, upstreams=tuple(kept)))
    if not named or not model.files:
        raise SettingsError(
            f"models.{model.name}.serving.upstreams in {settings.models_toml}: nobody would serve it."
        )
    return replace(model, serving=None)


def _is_started_here(upstream: Upstream) -> bool:
    """Whether it is a process of the gateway's own machine, and no lease."""
    return upstream.start is not None and upstream.flavor is None
