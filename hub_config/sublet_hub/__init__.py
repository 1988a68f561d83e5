"""Sublet's hub side: lease the GPUs a fleet is not using, as notebooks."""

from importlib.metadata import version

__version__ = version("sublet-hub")
