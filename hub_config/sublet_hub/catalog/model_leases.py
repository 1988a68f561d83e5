"""Models' servers that run as leases: who holds them, and whether what `models.toml` asks for is there to be had."""

from __future__ import annotations

from sublet_hub.catalog.reading import load_catalog
from sublet_hub.domain.accounts import parse_account
from sublet_hub.domain.errors import NotFound
from sublet_hub.domain.flavors import Catalog
from sublet_hub.domain.model_leases import Holder
from sublet_hub.domain.models import Model, ModelCatalogue, Upstream
from sublet_hub.settings import Settings, SettingsError


def model_holder(settings: Settings) -> Holder | None:
    """Whose the leases of models' servers are; None where no model's server may be one. SettingsError where the
    account is a group's, and no user is named."""
    if settings.model_account is None:
        return None
    account = parse_account(settings.model_account)
    if settings.model_user is not None:
        return Holder(settings.model_user, account)
    if account.kind != "user":
        raise SettingsError(f"model_account is {account}: model_user has to say whose leases they are.")
    return Holder(account.name, account)


def check_model_leases(models: ModelCatalogue, settings: Settings, catalog: Catalog | None = None) -> None:
    """SettingsError where a model's server is to be a lease that can't be had. Without any, nothing is read."""
    if not models.leased:
        return
    catalog = load_catalog(settings) if catalog is None else catalog
    for model, upstream in models.leased:
        if (wrong := _fault(model, upstream, settings, catalog)) is not None:
            raise SettingsError(f"models.{model.name}.serving.upstreams in {settings.models_toml}: {wrong}")


def _fault(model: Model, upstream: Upstream, settings: Settings, catalog: Catalog) -> str | None:
    assert upstream.flavor is not None, "only those that are leases are looked at"
    if settings.cluster == "local" and upstream.start == "vllm":
        return "vLLM is started in pods only; on one machine, give the url of a server"
    if settings.cluster == "kubernetes" and not (model.files and settings.kube_models_claim):
        return "flavor needs the model's files in the store, which the pod of its server reads"
    if model_holder(settings) is None:
        return "flavor needs the setting model_account: who pays for it"
    try:
        catalog.price(catalog.flavor(upstream.flavor), upstream.tier)
    except NotFound as error:
        return error.message
    return None
