"""Examples can be pasted: commands parse, requests fit the API, files load, code compiles."""

from __future__ import annotations

import itertools
import re
import subprocess
import tarfile
import tomllib
from pathlib import Path
from unittest import mock
from urllib.parse import parse_qs, urlsplit

import click
import pytest
from pydantic import BaseModel, ValidationError

from sublet_hub.api.app import published_document
from sublet_hub.api.models.activity import ActivityReport
from sublet_hub.api.models.allowances import AllowanceModel, AllowanceRequestModel
from sublet_hub.api.models.leases import LeaseModel, StopRequest
from sublet_hub.api.models.model_catalogue import ModelSummary
from sublet_hub.api.models.quotas import QuotaModel, QuotaPatch, QuotaPut
from sublet_hub.catalog import load_catalog, read_models
from sublet_hub.cli import main
from sublet_hub.cli.quota import parse_subject
from sublet_hub.cli.units import parse_limit
from sublet_hub.settings import load_settings
from tests.docs.pages import PAGES, ROOT, Block, blocks, commands, name_of, page

Command = list[str]

SYSTEM = frozenset(
    {
        *("cd", "chmod", "cp", "export", "git", "mkdir", "mv", "openssl", "pg_dump", "psql", "sed", "tar", "umask"),
        *("base64", "helm", "kubectl", "xargs"),
    }
)
"""Programs in examples that are none of ours."""

OF_JUPYTERHUB = re.compile(r"/hub/api/(users|groups)(/|$)")
"""Routes of the hub itself, not in our document."""

BODIES: dict[str, type[BaseModel]] = {
    "PUT quotas": QuotaPut,
    "PATCH quotas": QuotaPatch,
    "POST stop": StopRequest,
    "POST allowances": AllowanceRequestModel,
}


def examples(*programs: str) -> list[tuple[str, Command]]:
    """(page, words) of each command in the pages' shell blocks that runs one of these programs."""
    return [
        (block.page, words[1:])
        for block in blocks("sh")
        for words in commands(block)
        if words[0].rpartition("/")[2] in programs
    ]


def parse(words: Command) -> None:
    """Parse a command line of `sublet` as the command does, and run nothing; raises what says what is wrong."""
    words = list(itertools.takewhile(lambda word: word not in {">", ">>"}, words))
    reached: list[click.Context] = []
    with mock.patch.object(click.Command, "invoke", lambda _self, context: reached.append(context)):
        main.main(words, prog_name="sublet", standalone_mode=False)
    values = reached[-1].params
    for text in values.get("limits", ()):
        parse_limit(text)
    for name in ("subject", "account"):
        if isinstance(values.get(name), tuple) and values[name]:
            parse_subject(values[name])


@pytest.mark.parametrize(("where", "words"), examples("sublet"))
def test_commands_of_sublet_parse(
    where: str, words: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for option, value in itertools.pairwise(words):
        if option == "--file":
            (tmp_path / value).write_text("{}")
    parse(words)


def test_a_backup_leaves_out_nothing_of_users(tmp_path: Path) -> None:
    """Whatever their files are called; and nothing that is copied otherwise, or can be had again, is in it."""
    of_users = {"homes/ann/logs/run", "homes/ann/models/m", "homes/ann/own.sqlite", "homes/ann/up.lock"}
    kept = of_users | {"secrets.json", "models.toml", "leases/l/record.jsonl"}
    left_out = {"logs/hub.log", "models/open/m", "sublet.sqlite", "sublet.sqlite-wal", "jupyterhub.sqlite", "up.lock"}
    for name in kept | left_out:
        path = tmp_path / ".sublet" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "backup").mkdir()
    words = next(words for where, words in examples("tar") if where == "docs/operations.md" and "-cf" in words)
    subprocess.run(["tar", *words], cwd=tmp_path, check=True)
    with tarfile.open(tmp_path / "backup" / "rest.tar") as archive:
        held = {member.name.removeprefix("./") for member in archive if member.isfile()}
    assert held == kept


@pytest.mark.parametrize(
    "words",
    [["quota", "sett", "alice"], ["quota", "get"], ["leases", "--stat", "open"], ["leases", "--state", "opened"],
     ["quota", "set", "alice", "--limit", "gpu_secs=1/day"], ["quota", "set", "team", "lab", "--limit", "gpus=1"]],
)  # fmt: skip
def test_a_wrong_command_is_found(words: Command) -> None:
    with pytest.raises((click.ClickException, ValueError)):
        parse(words)


def test_every_program_in_an_example_is_known() -> None:
    ours = {"make", "sublet", "curl", "python", "uv"}
    for block in blocks("sh"):
        for words in commands(block):
            program = words[0].rpartition("/")[2]
            assert program in SYSTEM | ours or re.match(r"[A-Z_]+=", words[0]), f"{block.page}: {words}"


def test_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z][a-z-]*):", makefile, re.MULTILINE))
    named = {words[0] for _, words in examples("make")}
    for path in PAGES:
        named |= set(re.findall(r"`make ([a-z][a-z-]*)", path.read_text(encoding="utf-8")))
        named |= set(re.findall(r"^make ([a-z][a-z-]*)", path.read_text(encoding="utf-8"), re.MULTILINE))
    assert {"run", "test", "lint", "bench"} <= named
    assert named - targets == set()


# ---------------------------------------------------------------- curl


def request_of(words: Command) -> tuple[str, str, str | None]:
    """Method, address and body of a curl command."""
    given = dict(itertools.pairwise(words))
    address = next(word for word in words if word.startswith("http"))
    return given.get("-X", "GET"), address, given.get("-d")


def fault(method: str, address: str, body: str | None) -> str | None:
    """What is wrong with a request to the platform; None where nothing is."""
    parts = urlsplit(address)
    if OF_JUPYTERHUB.match(parts.path):
        return None
    for template, operations in published_document()["paths"].items():
        pattern = re.sub(r"\{\w+\}", "[^/]+", template) + "/?"
        if re.fullmatch(pattern, parts.path) and method.lower() in operations:
            known = {each["name"] for each in operations[method.lower()].get("parameters", ())}
            unknown = parse_qs(parts.query).keys() - known
            return f"no parameter {unknown}" if unknown else _fault_of_body(method, template, body)
    return "no such route"


def _fault_of_body(method: str, template: str, body: str | None) -> str | None:
    if body is None:
        return None
    model = BODIES[f"{method} {'quotas' if 'quotas' in template else template.rpartition('/')[2]}"]
    try:
        model.model_validate_json(body)
    except ValidationError as error:
        return str(error)
    return None


@pytest.mark.parametrize(("where", "words"), examples("curl"))
def test_requests_fit_the_api(where: str, words: Command) -> None:
    method, address, body = request_of(words)
    assert fault(method, address, body) is None
    assert body is None or "Content-Type: application/json" in words
    assert any("Authorization: token $" in word for word in words)


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/services/sublet/api/lease", None),
        ("POST", "/hub/api/quotas/default", None),
        ("GET", "/services/sublet/api/leases?status=active", None),
        ("PATCH", "/hub/api/quotas/users/a", '{"limits": [{"what": "gpus", "limit": 1.5}]}'),
        ("PUT", "/hub/api/quotas/users/a", '{"limit": []}'),
    ],
)
def test_a_wrong_request_is_found(method: str, path: str, body: str | None) -> None:
    assert fault(method, f"http://127.0.0.1:8000{path}", body)


# ---------------------------------------------------------------- files and code


@pytest.mark.parametrize("block", blocks("python"), ids=lambda block: block.page)
def test_python_compiles(block: Block) -> None:
    compile(block.code, block.page, "exec")


@pytest.mark.parametrize("block", blocks("toml"), ids=lambda block: block.page)
def test_toml_is_a_file_that_loads(block: Block, tmp_path: Path) -> None:
    parsed = tomllib.loads(block.code)
    if parsed.keys() & {"models", "licences"}:
        shown = {licence["name"] for licence in parsed.get("licences", ())}
        lacking = {model["licence"] for model in parsed.get("models", ())} - shown
        more = "".join(
            f'[[licences]]\nname = "{name}"\ntitle = "T"\nversion = "1"\nurl = "http://a"\n' for name in lacking
        )
        (tmp_path / "models.toml").write_text(f"{block.code}\n{more}", encoding="utf-8")
        catalogue = read_models(tmp_path / "models.toml")
        assert catalogue.licences
        return
    (tmp_path / "sublet.toml").write_text(block.code, encoding="utf-8")
    settings = load_settings({"SUBLET_DATA": str(tmp_path)})
    assert load_catalog(settings) is not None


def test_json_is_what_the_api_gives() -> None:
    shown = [(block.page, block.code) for block in blocks("json")]
    of_admin, of_api = ([code for page, code in shown if page == f"docs/{name}.md"] for name in ("admin", "api"))
    QuotaModel.model_validate_json(of_admin[0])
    LeaseModel.model_validate_json(of_api[0])
    ActivityReport.model_validate_json(of_api[1])
    ModelSummary.model_validate_json(of_api[2])
    AllowanceModel.model_validate_json(of_api[3])


def test_names_of_code_in_the_architecture_are_there() -> None:
    package = ROOT / "hub_config" / "sublet_hub"
    named = re.findall(r"`([a-z_]+(?:/[a-z_]*)*(?:\.py|/))`", page("architecture.md"))
    assert len(named) > 30
    roots = (package, ROOT, package / "storage", package / "api")
    assert [name for name in named if not any((root / name).exists() for root in roots)] == []


def test_pages_are_named_by_where_they_are() -> None:
    assert "README.md" in {name_of(path) for path in PAGES}
