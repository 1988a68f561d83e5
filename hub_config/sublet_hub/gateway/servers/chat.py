"""A model's server for chat: Transformers' own (`transformers serve`). On one machine it is run by the users' Python
under a supervising parent, on a socket in the folder where it is started; on Kubernetes in a pod
of its own, on a port:

    python -I chat.py SOCKET|HOST:PORT NAME FOLDER

Once it serves, it prints nothing any more: what a library logs may hold what was asked.
"""

import os
import sys
from pathlib import Path
from typing import Any


def main(address: str, name: str, folder: str) -> None:
    import torch
    import uvicorn
    from transformers.cli.serve import Serve
    from transformers.cli.serving import model_manager

    # Under its name, so that answers bear that rather than a path. In a pod an earlier start may have made it.
    Path(name).unlink(missing_ok=True)
    Path(name).symlink_to(folder)
    plain = uvicorn.Config
    host, colon, port = address.rpartition(":")
    where: dict[str, Any] = {"host": host, "port": int(port)} if colon else {"uds": address}

    def there(app: Any, **_told: object) -> uvicorn.Config:
        """The command listens on a port only, where every user of one machine could reach it."""
        fall_silent()
        return plain(app, log_config=None, access_log=False, timeout_keep_alive=75, server_header=False, **where)

    class Moved(model_manager.ModelManager):  # type: ignore[misc]  # the same
        """Loads a model, then moves it to where it is to run: the command would need `accelerate` for that."""

        def _load_model(self, *told: Any, **named: Any) -> Any:
            device: Any = self.device
            self.device: Any = None
            try:
                return super()._load_model(*told, **named).to(device)
            finally:
                self.device = device

    model_manager.ModelManager = Moved
    uvicorn.Config = there  # type: ignore[assignment,misc]  # the command asks for no more than this
    Serve(name, device="cuda:0" if torch.cuda.is_available() else "cpu", log_level="error")


def fall_silent() -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)


if __name__ == "__main__":
    main(*sys.argv[1:4])
