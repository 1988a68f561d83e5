"""The store of models: the folder that holds their files, how it is filled, checked and read.

    open/<name>/<revision>/…    whole models that everybody may read
    gated/<name>/<revision>/…   whole models whose licence must be accepted first: a lease is shown those of its user
    open/catalog.json           what there is, for programs in users' servers; written last, as a whole
    incoming/                   what is being fetched, and locks; never shown to a lease

A model's folder is renamed into place once every file of it holds, so that nobody ever sees half a model.
"""

from sublet_hub.models_store.errors import StoreBusyError, StoreError
from sublet_hub.models_store.layout import Store

__all__ = ["Store", "StoreBusyError", "StoreError"]
