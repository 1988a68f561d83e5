"""Run a command as an ordinary user, from root: `as_user.py UID NEEDED… -- argv…`, in a new mount namespace.

The folders needed are made reachable for that user where they lie under one it may not pass, such as /root.
"""

import os
import sys
from pathlib import Path

from sublet_hub.cluster import linux, mounts


def main(uid: int, needed: list[str], argv: list[str]) -> None:
    """Become the user and the command."""
    linux.mount("none", "/", flags=linux.MS_REC | linux.MS_PRIVATE)
    paths = mounts.resolved(needed)
    keeps = [mounts._Keep(path, path, writable=True) for path in paths]
    mounts._apply(mounts.closed_ancestors(paths, uid, uid), keeps)
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    os.execvp(argv[0], argv)


if __name__ == "__main__":
    split = sys.argv.index("--")
    main(int(sys.argv[1]), [str(Path(path)) for path in sys.argv[2:split]], sys.argv[split + 1 :])
