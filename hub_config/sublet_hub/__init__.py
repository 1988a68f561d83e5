"""Sublet's hub side: lease the GPUs a fleet is not using, as notebooks."""

__version__: str


def __getattr__(name: str) -> str:
    """Look the version up when it is asked for: a lease's supervising parent never does, and starts faster."""
    if name == "__version__":
        from importlib.metadata import version

        return version("sublet-hub")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
