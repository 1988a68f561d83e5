"""Models: what there is, their files on this server, and their licences.

import sublet
sublet.models.list()
model = sublet.models.load("sublet-tiny-llama")
"""

from sublet.models import tables  # noqa: F401 — registers how models show themselves
from sublet.models.licences import Licence, accept, licence
from sublet.models.listing import Model, Models
from sublet.models.listing import list_models as list  # noqa: A004 — as `sublet.models.list()` it hides nothing
from sublet.models.loading import load, path

__all__ = ["Licence", "Model", "Models", "accept", "licence", "list", "load", "path"]
