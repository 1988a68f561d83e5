"""fastText's server. On one machine it is run by the users' Python under a supervising parent, on
a socket in the folder where it is started; on Kubernetes in a pod of its own, on a port:

    python -I classify.py SOCKET|HOST:PORT NAME FOLDER

`POST /classify` as vLLM has it: `{"model": …, "input": TEXT or [TEXT, …]}`. Beside the probabilities of all labels it
names the likeliest. Tokens are the words that fastText splits a text into. Nothing is logged.
"""

import json
import re
import socketserver
import sys
import time
import uuid
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

TEXTS_MAX = 1_000
TOP = 5
PREFIX = "__label__"
_SPACE = re.compile(r"\s+")


class Classifier:
    """One model of fastText's."""

    def __init__(self, folder: Path) -> None:
        import fasttext  # type: ignore[import-not-found]  # of the users' environment

        (path,) = folder.glob("*.ftz")
        self._model = fasttext.load_model(str(path))

    def classify(self, text: str) -> list[tuple[str, float]]:
        """All labels with their probabilities, the likeliest first. One line: fastText ends a text at a line's
        end."""
        line = _SPACE.sub(" ", text).strip()
        labels, probabilities = self._model.predict(line, k=-1, threshold=0.0)
        named = ((label.removeprefix(PREFIX), float(p)) for label, p in zip(labels, probabilities, strict=True))
        return sorted(named, key=lambda each: -each[1])


class BadRequest(Exception):
    """What the caller should be told."""


def texts_of(body: Any) -> list[str]:
    given = body.get("input") if isinstance(body, dict) else None
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
        raise BadRequest("input must be a text, or a list of texts.")
    if len(texts) > TEXTS_MAX:
        raise BadRequest(f"input may have {TEXTS_MAX} texts at most.")
    return texts


def answer_to(body: Any, classifier: Classifier, name: str) -> dict[str, object]:
    texts = texts_of(body)
    data = []
    for index, text in enumerate(texts):
        found = classifier.classify(text)
        data.append(
            {
                "index": index,
                "label": found[0][0] if found else "",
                "probs": [round(probability, 6) for _, probability in found],
                "num_classes": len(found),
                "top": [{"label": label, "prob": round(probability, 6)} for label, probability in found[:TOP]],
            }
        )
    words = sum(len(text.split()) for text in texts)
    return {
        "id": f"classify-{uuid.uuid4().hex}",
        "object": "list",
        "created": int(time.time()),
        "model": name,
        "data": data,
        "usage": {"prompt_tokens": words, "completion_tokens": 0, "total_tokens": words},
    }


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    classifier: Classifier
    name: str

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path != "/classify":
            self._send(404, {"error": {"message": "This model classifies only: POST /v1/classify."}})
            return
        try:
            self._send(200, answer_to(json.loads(raw), self.classifier, self.name))
        except BadRequest as error:
            self._send(400, {"error": {"message": str(error)}})
        except ValueError:
            self._send(400, {"error": {"message": "The body is not valid JSON."}})

    def do_GET(self) -> None:
        self._send(200, {"object": "list", "data": [{"id": self.name, "object": "model", "owned_by": "fasttext"}]})

    def _send(self, status: int, said: dict[str, Any]) -> None:
        body = json.dumps(said).encode()
        self.send_response_only(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing."""


class Threads(socketserver.ThreadingMixIn):
    """A thread for each connection, of which the gateway alone makes any."""

    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, *_: object) -> None:
        """Nothing: a traceback may hold what was asked."""


class OnSocket(Threads, socketserver.UnixStreamServer):
    """Where nobody else can come."""


class OnPort(Threads, socketserver.TCPServer):
    """Where a network policy keeps others away."""

    allow_reuse_address = True


def main(address: str, name: str, folder: str) -> None:
    Handler.classifier, Handler.name = Classifier(Path(folder)), name
    host, colon, port = address.rpartition(":")
    with OnPort((host, int(port)), Handler) if colon else OnSocket(address, Handler) as server:
        server.serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:4])
