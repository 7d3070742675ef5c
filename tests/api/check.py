"""The JSON API against its document: schemathesis sends what docs/openapi.yaml allows, and what it forbids."""

import json
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import yaml
from programs import ROOT, TARGET, Gateway, Simulator

HERE = Path(__file__).resolve().parent
STAGE = TARGET / "api"
REQUEST = "/.vestibule/api/otp/request"
# How people say who they are decides which body the gateway takes.
BODIES = {"phone": "RequestByPhone", "name": "RequestByName"}


def main() -> int:
    shutil.rmtree(STAGE, ignore_errors=True)
    # Most of the time each waits for the gateway, which answers in steps of 200 ms.
    with ThreadPoolExecutor() as pool:
        return 0 if all(list(pool.map(agrees, BODIES))) else 1


def agrees(identify_by: str) -> bool:
    """Whether a gateway that identifies people so is as the document says."""
    directory = STAGE / identify_by
    (directory / "state").mkdir(mode=0o700, parents=True)
    simulator = Simulator(directory, "--fixed-code", "123456")
    try:
        gateway = Gateway(configuration(directory, simulator, identify_by), directory)
        try:
            line = gateway.program.line(lambda line: " listening address=" in line)
            address = line.split('"')[1]
            gateway.command("user", "add", "alice", "--phone", "+14155550100")
            return passes(directory, document(directory, identify_by), address) and somebody_got_in(gateway)
        finally:
            gateway.stop()
    finally:
        simulator.stop()


def configuration(directory: Path, simulator: Simulator, identify_by: str) -> Path:
    auth_token = directory / "auth_token"
    auth_token.write_text("not a real token")
    auth_token.chmod(0o600)
    config = directory / "config.toml"
    # Nothing reaches the application: its port is one that nobody listens on.
    config.write_text(f"""
[server]
listen = ["127.0.0.1:0"]
public_url = "http://127.0.0.1"
state_directory = "{directory}/state"

[[route]]
upstream = ["http://127.0.0.1:9"]

{simulator.provider(auth_token)}

[challenge]
identify_by = "{identify_by}"

[limits]
starts_per_number = "10000/1h"
starts_per_user = "10000/1h"
starts_per_address = "10000/1h"
checks_per_address = "10000/1h"

[observe]
listen = "127.0.0.1:0"
""")
    return config


def document(directory: Path, identify_by: str) -> Path:
    """The document with the one body that this gateway takes."""
    openapi = yaml.safe_load((ROOT / "docs/openapi.yaml").read_text())
    body = openapi["paths"][REQUEST]["post"]["requestBody"]["content"]["application/json"]
    body["schema"] = {"$ref": f"#/components/schemas/{BODIES[identify_by]}"}
    file = directory / "openapi.json"
    file.write_text(json.dumps(openapi))
    return file


def passes(directory: Path, document: Path, address: str) -> bool:
    """Whether schemathesis finds nothing; what it says is shown whole, at its end."""
    schemathesis = [str(Path(sys.executable).with_name("st")), "--no-color"]
    settings = ["--config-file", str(HERE / "schemathesis.toml")]
    command = [*schemathesis, *settings, "run", str(document), "--url", f"http://{address}"]
    done = subprocess.run(
        command, cwd=directory, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    print(done.stdout, flush=True)
    return done.returncode == 0


def somebody_got_in(gateway: Gateway) -> bool:
    """Whether a code was ever right: else nothing was checked of the answer that matters."""
    sessions = json.loads(gateway.command("session", "list", "--json"))
    if not sessions:
        print("tests/api: no request to verify was answered with a session")
    return bool(sessions)


if __name__ == "__main__":
    sys.exit(main())
