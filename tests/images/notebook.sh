# All that the notebook's image is for, as a user who has no name there.
[ "$(id -u)" = 4242 ] || fail "run this as user 4242"
[ "$HOME" = /home/jovyan ] || fail "the home is $HOME"
[ -z "${NVIDIA_VISIBLE_DEVICES:-}" ] || fail "NVIDIA_VISIBLE_DEVICES would show GPUs that were not given"
echo "singleuser $(jupyterhub-singleuser --version)"
python -c 'import getpass, numpy, sublet; assert getpass.getuser() == "jovyan"' || fail "imports"
python - <<'PYTHON' || fail "PyTorch"
import importlib.util

if importlib.util.find_spec("torch"):  # not in images built with TORCH=none, such as those of CI
    import torch

    assert torch.ones(3).sum().item() == 3
    print("torch", torch.__version__)
PYTHON
python -c 'import dask.dataframe, dask_cuda, dask_gateway' || fail "Dask"
jupyter kernelspec list | grep -q /opt/notebook/ || fail "there is no Python kernel"

jupyter labextension list 2>&1 | grep -q '@sublet/lab .*enabled.*OK' || fail "our JupyterLab extension is not there"

# What users install stays in their home.
mkdir /tmp/mine
echo 'answer = 42' > /tmp/mine/mine.py
cat > /tmp/mine/setup.py <<'PYTHON'
from setuptools import setup
setup(name="mine", version="1", py_modules=["mine"])
PYTHON
pip install --quiet --no-index --no-build-isolation --disable-pip-version-check /tmp/mine 2> /tmp/pip.log || cat /tmp/pip.log
python -c 'import mine; assert mine.__file__.startswith("/home/jovyan/.local/")' || fail "pip install"

# JupyterLab starts, and knows our defaults.
python - <<'PYTHON' || fail "JupyterLab"
import json, subprocess, time, urllib.request

URL = "http://127.0.0.1:8888/lab/api/settings/@jupyterlab/docmanager-extension:plugin?token=t"
server = subprocess.Popen(["jupyter", "lab", "--no-browser", "--port=8888", "--IdentityProvider.token=t"])
deadline = time.monotonic() + 120
while True:
    try:
        with urllib.request.urlopen(URL, timeout=60) as answer:
            settings = json.load(answer)
        break
    except OSError:
        assert time.monotonic() < deadline and server.poll() is None, "it does not answer"
        time.sleep(0.1)
assert settings["schema"]["properties"]["autosaveInterval"]["default"] == 10
server.terminate()
assert server.wait(60) == 0
PYTHON

# A process whose parent has ended leaves no zombie.
sh -c 'true & true & exec true'
for _ in 1 2 3 4 5 6 7 8 9 10; do
    zombies=$(grep -l '^State:.Z' /proc/[0-9]*/status 2>/dev/null || true)
    [ -n "$zombies" ] || break
    sleep 0.2
done
[ -z "$zombies" ] || fail "zombies: $zombies"
