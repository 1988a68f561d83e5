"""`python -m sublet`: the command `sublet` of a server's terminals, where it is not on the search path."""

from __future__ import annotations

import sys

from sublet.command import main

sys.exit(main(sys.argv[1:]))
