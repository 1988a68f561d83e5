"""The command line: `sublet`."""

from sublet_hub.cli.main import main

__all__ = ["main"]
