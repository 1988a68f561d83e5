"""Models on a real cluster, as the chart brings them: a job fills the store, leases are shown what their users may
read, and the gateway's answers come from a real model's server in a pod: one of the chart's, or a lease.

One release and one user for all of it, in this order: who calls, accepts, and comes back; then how leases of models'
servers end.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.fixtures import cells
from tests.fixtures.kube import Image
from tests.fixtures.site import Session, wait_until
from tests.kube import model_source
from tests.kube.installed import RELEASE, Installed, installed, merged, values
from tests.kube.kubectl import Cluster, Object, new_namespace, until
from tests.kube.model_source import ACCEPTED, FLAVOR, LANGUAGE, LEASED, MADE_WITH, NOT_ACCEPTED
from tests.kube.witness import Witness, assert_is_what_ran, witness

pytestmark = [pytest.mark.kube, pytest.mark.slow, pytest.mark.timeout(400)]

USER = "mia"
START_SECONDS = 90
FILL_SECONDS = 120
"""A pod that failed is started again after up to 40 seconds."""

SERVER = f"http://{RELEASE}-model-{LANGUAGE}:8000/v1"
OFFERED = {LANGUAGE, LEASED, ACCEPTED, NOT_ACCEPTED}
IDLE_SECONDS = 20
OWNER = "admin"

LOOK = """
import errno, json, os, pathlib, sublet
root = pathlib.Path(os.environ["SUBLET_MODELS_DIR"])
def denied(folder):
    try:
        (root / folder / "mine").write_text("")
    except OSError as error:
        return errno.errorcode[error.errno]
gated = root / "gated"
print(json.dumps({
    "open": sorted(path.name for path in (root / "open").iterdir() if path.is_dir()),
    "gated": {path.name: [file.read_text() for file in path.glob("*/*")] for path in gated.glob("*")},
    "denied": {denied("open"), denied(".")} == {"EROFS"} or [denied("open"), denied(".")],
}))
"""

LOAD = f"""
import sublet
print(sublet.models.load("{LANGUAGE}").predict("Wo ist der Bahnhof?")[0])
"""

CALL = f"""
import json, openai
client = openai.OpenAI()
def classified(model):
    asked = {{"model": model, "input": "Wo ist der Bahnhof?"}}
    try:
        return client.post("/classify", body=asked, cast_to=object)["data"][0]["label"]
    except openai.PermissionDeniedError as error:
        return error.status_code
models = sorted(each.id for each in client.models.list())
print(json.dumps([models, *map(classified, ("{LANGUAGE}", "{ACCEPTED}", "{NOT_ACCEPTED}"))]))
"""


@pytest.fixture(scope="module")
def release(cluster: Cluster, image: Image) -> Iterator[Installed]:
    for kind in ("hub", "notebook", "warden"):
        image(kind)
    settings = values(
        models_source=model_source.URL,
        token_cache_seconds=1,
        model_account=f"user:{OWNER}",
        model_idle_seconds=IDLE_SECONDS,
    )
    small = {"requests": {"cpu": "10m", "memory": "64Mi"}, "limits": {"memory": "1Gi"}}
    models = {
        "catalogue": model_source.catalogue(SERVER),
        "store": {"size": "1Gi"},
        "resources": small,
        "servers": [{"model": LANGUAGE, "engine": "fasttext", "resources": small}],
    }
    given = merged(settings, {"models": models, "gateway": {"replicas": 1, "resources": small}})
    with new_namespace(cluster) as namespace, installed(namespace, given) as release:
        yield release


@pytest.fixture(autouse=True)
def told(release: Installed, request: pytest.FixtureRequest) -> Iterator[None]:
    """What the cluster saw, beside a failing test."""
    failed = request.session.testsfailed
    yield
    if request.session.testsfailed > failed:
        sys.stdout.write(release.log())


@pytest.fixture(scope="module")
def mia(release: Installed) -> Session:
    return release.sign_in(USER)


def start(session: Session) -> None:
    session.start_server(flavor="cpu").raise_for_status()
    until(lambda: (session.server() or {}).get("ready"), f"{session.user}'s server to be ready", START_SECONDS)


def run(session: Session, code: str) -> str:
    ran = cells.run_cell(session, cells.start_kernel(session), code)
    assert ran.error == "", ran.error
    return ran.printed


def seen(session: Session) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run(session, LOOK))
    return found


def the_job(release: Installed) -> Object:
    (job,) = release.namespace.all("jobs", "app.kubernetes.io/component=models")
    return job


def has_succeeded(job: Object | None) -> bool:
    return job is not None and job["status"].get("succeeded") == 1


def test_a_server_starts_while_the_store_is_being_filled(release: Installed, mia: Session) -> None:
    """Nobody serves the gated models' files yet."""
    start(mia)
    assert not has_succeeded(the_job(release))
    wait_until(lambda: seen(mia)["open"] == sorted(MADE_WITH), FILL_SECONDS, "a running server sees what comes")
    assert seen(mia) == {"open": sorted(MADE_WITH), "gated": {}, "denied": True}
    assert run(mia, LOAD).strip() == "('__label__de',)"


def test_the_store_is_filled_and_filling_it_again_fetches_nothing(release: Installed, image: Image) -> None:
    model_source.begin(release.namespace, image("hub"))
    until(lambda: has_succeeded(the_job(release)), "the job to fill the store", FILL_SECONDS)

    first = the_job(release)
    spec = first["spec"]["template"]["spec"]
    again = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "again"},
        "spec": {"template": {"spec": spec}},
    }
    release.namespace.apply(again)
    until(lambda: has_succeeded(release.namespace.get("job", "again")), "the second job to end", FILL_SECONDS)
    said = release.namespace.kubectl("logs", "job/again")
    assert [line.partition(",")[0] for line in said.splitlines()] == [
        f"{name}: is there already" for name in (*MADE_WITH, ACCEPTED, NOT_ACCEPTED, LEASED)
    ]


def test_a_lease_calls_what_its_user_may_and_pays_for_it(release: Installed, mia: Session) -> None:
    offered, language, *gated = json.loads(run(mia, CALL))
    assert set(offered) == OFFERED
    assert (language, gated) == ("de", [403, 403])

    accept(mia, ACCEPTED)
    assert json.loads(run(mia, CALL))[1:] == ["de", "de", 403], "the acceptance opens calls at once"

    def used() -> dict[str, Any]:
        found: dict[str, Any] = mia.client.get("/services/sublet/api/model-use").raise_for_status().json()
        return found

    wait_until(lambda: used()["calls"] == 3, 30, "what was called is booked")
    assert (used()["account"], used()["input_tokens"]) == (f"user:{USER}", 12)


def accept(session: Session, model: str) -> None:
    body = {"licence": model, "version": "7"}
    session.client.post(f"/services/sublet/api/models/{model}/acceptance", json=body).raise_for_status()


def test_the_next_lease_is_shown_what_its_user_accepted(release: Installed, mia: Session) -> None:
    mia.stop_server().raise_for_status()
    until(lambda: not release.lease_pods(), "the first server to be gone")
    start(mia)
    (pod,) = release.lease_pods()
    assert pod["status"]["containerStatuses"][0]["restartCount"] == 0
    content = model_source.CONTENT[ACCEPTED].decode()
    assert seen(mia) == {"open": sorted([*MADE_WITH, LEASED]), "gated": {ACCEPTED: [content]}, "denied": True}


# ---------------------------------------------------------------- servers that are leases

CALL_LEASED = f"""
import openai
asked = {{"model": "{LEASED}", "input": "Wo ist der Bahnhof?"}}
print(openai.OpenAI().post("/classify", body=asked, cast_to=object)["data"][0]["label"])
"""


@pytest.fixture(scope="module")
def pods(release: Installed) -> Iterator[Witness]:
    with witness(release.namespace) as found:
        yield found


def server_leases(release: Installed, *states: str) -> list[Object]:
    """Leases of the leased model's servers in these states (any: none named), the newest first."""
    return [
        lease
        for lease in release.leases(user=OWNER)
        if lease["server_name"].startswith(f"model:{LEASED}-") and lease["state"] in (states or (lease["state"],))
    ]


def server_pod(release: Installed, lease: Object) -> Object | None:
    found = release.namespace.all("pods", f"sublet.dev/lease={lease['id']}")
    return found[0] if found else None


def call(session: Session) -> httpx.Response:
    said = {"model": LEASED, "input": "Wo ist der Bahnhof?"}
    return session.client.post("/services/models/v1/classify", json=said, timeout=120)


def called(release: Installed, session: Session) -> Object:
    """The lease of the server that answers, which is called until the meter has seen it run."""

    def is_active() -> bool:
        answer = call(session)
        assert answer.status_code == 200, answer.text
        assert answer.json()["data"][0]["label"] == "de"
        return bool(server_leases(release, "active"))

    until(is_active, "a server that answers to be an active lease")
    (lease,) = server_leases(release, "active")
    return lease


def ended(release: Installed, lease: Object, seconds: float = 60) -> Object:
    """The same lease when it has ended and its pod is gone."""

    def now() -> Object:
        (found,) = [each for each in server_leases(release) if each["id"] == lease["id"]]
        return found

    wait_until(lambda: now()["state"] == "ended", seconds, "the lease has ended")
    until(lambda: server_pod(release, lease) is None, "its pod to be gone")
    return now()


def test_a_call_from_a_lease_starts_a_server_that_the_owner_pays_for(
    release: Installed, mia: Session, pods: Witness
) -> None:
    assert server_leases(release) == []
    assert run(mia, CALL_LEASED).strip() == "de"
    lease = called(release, mia)
    expected = {"kind": "worker", "user": OWNER, "account": f"user:{OWNER}", "flavor": FLAVOR, "gpus_milli": 1000}
    assert {name: lease[name] for name in expected} == expected

    pod = server_pod(release, lease)
    assert pod is not None
    (gateway,) = release.component("gateway")
    assert [owner["name"] for owner in pod["metadata"]["ownerReferences"]] == [gateway]
    name = pod["metadata"]["name"]
    told = (
        "ls /serving/model; touch /serving/model/mine 2>&1 | grep -o Read-only; ls -d /var/run/secrets/kubernetes.io"
    )
    said = release.namespace.execute(name, "sh", "-c", f"{told} 2>/dev/null; true", container="notebook")
    assert said.split() == ["lid.176.ftz", "Read-only"], "its model alone, and no token"

    # By the owner's order it is drained: it takes no more calls, and the next one starts another.
    with release.admin() as admin:
        admin.post(f"/services/sublet/api/leases/{lease['id']}/stop", json={"why": "a test"}).raise_for_status()
    first = ended(release, lease)
    assert first["end_reason"] == "admin"
    assert_is_what_ran(first, pods, name, release.namespace.cluster)
    assert called(release, mia)["id"] != lease["id"]


def test_an_idle_server_is_given_back(release: Installed, mia: Session) -> None:
    lease = ended(release, called(release, mia), IDLE_SECONDS + 60)
    assert lease["end_reason"] == "idle"
    assert server_leases(release, "granted", "active", "ending") == []


@pytest.mark.parametrize("how", ["crash", "vanish"])
def test_no_server_outlives_its_gateway(release: Installed, mia: Session, pods: Witness, how: str) -> None:
    """After a crash of its process alone, the next one ends it; with its pod, the cluster does, needing nobody."""
    lease = called(release, mia)
    pod = server_pod(release, lease)
    assert pod is not None
    (gateway,) = release.component("gateway")
    if how == "crash":
        release.namespace.execute(gateway, "sh", "-c", "kill -9 -1")
    else:
        release.namespace.execute(gateway, "sh", "-c", "kill -STOP -1")  # it gives nothing back before it goes
        release.namespace.delete("pod", gateway, "--force", "--grace-period=0")
    over = ended(release, lease)
    assert over["end_reason"] == {"crash": "shutdown", "vanish": "evicted"}[how]
    assert_is_what_ran(over, pods, pod["metadata"]["name"], release.namespace.cluster)
    wait_until(lambda: call(mia).is_success, 60, "the next gateway starts another server")
    assert called(release, mia)["id"] != lease["id"]


def test_a_gateway_that_is_stopped_takes_its_servers_along(release: Installed, mia: Session) -> None:
    lease = called(release, mia)
    release.namespace.kubectl("scale", f"deployment/{RELEASE}-gateway", "--replicas=0")
    assert ended(release, lease)["end_reason"] == "shutdown"
    assert server_leases(release, "granted", "active", "ending") == []
    assert {each["metadata"]["annotations"]["sublet.dev/user"] for each in release.lease_pods()} == {USER}
