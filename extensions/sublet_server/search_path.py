"""What terminals and kernels find: the Python of this server first, and the command `sublet`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

COMMANDS = Path(sys.prefix, "share", "sublet", "bin")


def with_command(path: str) -> str:
    """A search path on which the command `sublet` is found."""
    folder = str(COMMANDS)
    return path if folder in path.split(os.pathsep) else f"{folder}{os.pathsep}{path}"


def keep_in_terminals(terminal_manager: Any) -> None:
    """Have terminals run the user's shell with the environment that the spawner has set.

    Where Jupyter Server has no terminal itself it takes this environment to be incomplete, and starts login shells:
    they read /etc/profile, and Debian's sets PATH anew. A command that an admin has set is left as it is.
    """
    command = terminal_manager.shell_command
    if len(command) == 2 and command[1] == "-l":
        terminal_manager.shell_command = command[:1]
