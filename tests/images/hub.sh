# All that the hub's image is for, without a platform around it.
[ "$(command -v sublet)" = /opt/sublet/venv/bin/sublet ] || fail "sublet is not on PATH"
[ "$SUBLET_DATA" = /var/lib/sublet ] || fail "the data folder is $SUBLET_DATA"
for command in up api meter migrate proxy doctor quota; do
    sublet "$command" --help > /dev/null || fail "sublet $command --help"
done
for module in kubespawner oauthenticator.generic lightkube msgspec psycopg; do
    python -c "import $module" || fail "$module is missing"
done
python - <<'PYTHON' || fail "what it needs is not where it is expected"
import os, subprocess, sys
from pathlib import Path
from sublet_hub.run.parts import hub_config_file, node
from sublet_hub.settings import load_settings

assert os.path.samefile(hub_config_file(), "/opt/sublet/jupyterhub_config.py")
proxy = subprocess.run([node(), load_settings().proxy_script, "--version"], capture_output=True, text=True, check=True)
print("proxy", proxy.stdout.strip(), flush=True)
package = Path(sys.modules["sublet_hub"].__file__).parent
for module in ("cli/main.py", "api/app.py", "hub/configure.py"):
    (compiled,) = (package / module).parent.glob(f"__pycache__/{Path(module).stem}.*.pyc")
    assert compiled.stat().st_size
PYTHON
echo "jupyterhub $(jupyterhub --version)"
sublet --version

mkdir /tmp/secrets
printf %064d 0 > /tmp/secrets/audit_key
python -c 'if True:
    from sublet_hub.catalog import starter_toml
    from sublet_hub.cluster.gpus import simulated
    print(starter_toml(simulated(1)))' > /tmp/sublet.toml
export SUBLET_CONFIG_FILE=/tmp/sublet.toml SUBLET_SECRETS_DIR=/tmp/secrets
sublet migrate
sublet migrate
