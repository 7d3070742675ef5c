"""The real programs of the journey: JupyterLab, and the gateway between it and the simulated provider."""

import json
import os
import subprocess
import sys
from pathlib import Path

import programs
from programs import Program, Simulator, free_port


class Jupyter:
    """JupyterLab with its own login switched off: a tool that relies on the gateway alone."""

    def __init__(self, directory: Path, log_directory: Path):
        self.files = directory / "files"
        self.files.mkdir(parents=True)
        # Plain pages, for tests that do not need the whole of JupyterLab. (It refuses /files/… to whoever
        # types the address: it wants a Referer field.)
        static = directory / "static"
        static.mkdir()
        for name in ("first", "second"):
            (static / f"{name}.txt").write_text(f"This is the {name} file.\n")
        labconfig = directory / "config/labconfig"
        labconfig.mkdir(parents=True)
        # Its news dialogue would cover the page, and asks a server on the internet.
        news = {"disabledExtensions": {"@jupyterlab/apputils-extension:announcements": True}}
        (labconfig / "page_config.json").write_text(json.dumps(news))
        port = free_port()
        environment = os.environ | {
            "JUPYTER_CONFIG_DIR": str(directory / "config"),
            "JUPYTER_DATA_DIR": str(directory / "data"),
            "JUPYTER_RUNTIME_DIR": str(directory / "runtime"),
            "IPYTHONDIR": str(directory / "ipython"),
        }
        options = [
            "--no-browser",
            "--ServerApp.ip=127.0.0.1",
            f"--ServerApp.port={port}",
            "--ServerApp.port_retries=0",
            f"--ServerApp.root_dir={self.files}",
            f"--ServerApp.extra_static_paths={static}",
            "--ServerApp.allow_root=True",
            "--ServerApp.allow_remote_access=True",  # the Host field may name the gateway
            "--ServerApp.trust_xheaders=True",
            "--IdentityProvider.token=",
            "--LabApp.extension_manager=readonly",
        ]
        command = [sys.executable, "-m", "jupyterlab", *options]
        self._program = Program("jupyter", command, log_directory, environment)
        self.url = f"http://127.0.0.1:{port}"
        self._program.wait_until_up(f"{self.url}/api/status")

    def stop(self) -> None:
        self._program.stop()


class Gateway(programs.Gateway):
    """`vestibule serve` behind TLS, in front of Jupyter."""

    def __init__(self, directory: Path, log_directory: Path, jupyter: Jupyter, simulator: Simulator):
        directory.mkdir()
        port, observe = free_port(), free_port()
        self.origin = f"https://localhost:{port}"
        config = directory / "config.toml"
        certificate, private_key = directory / "certificate.pem", directory / "private_key.pem"
        self.key_pin = make_certificate(certificate, private_key)
        auth_token = directory / "auth_token"
        auth_token.write_text("not a real token")
        auth_token.chmod(0o600)
        # The last route leads to a closed port, to see the page for an application that is down. The limits
        # per address are raised because everybody in these tests comes from the same one.
        config.write_text(f"""
[server]
listen = ["127.0.0.1:{port}"]
public_url = "{self.origin}"
state_directory = "{directory}/state"

[server.tls]
certificate = "{certificate}"
private_key = "{private_key}"

[[route]]
upstream = ["{jupyter.url}"]

[[route]]
path = "/down"
upstream = ["http://127.0.0.1:{free_port()}"]

{simulator.provider(auth_token)}

[limits]
starts_per_address = "10000/1h"
checks_per_address = "10000/1h"

[store]
url = "sqlite:{directory}/vestibule.db"

[observe]
listen = "127.0.0.1:{observe}"
""")
        (directory / "state").mkdir(mode=0o700)
        super().__init__(config, log_directory)
        self.program.wait_until_up(f"http://127.0.0.1:{observe}/health/ready")


def make_certificate(certificate: Path, private_key: Path) -> str:
    """Makes a self-signed certificate for localhost; returns the pin of its key, as Chromium wants it."""
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
         "-keyout", str(private_key), "-out", str(certificate)],
        check=True, capture_output=True,
    )
    private_key.chmod(0o600)
    pin = "openssl pkey -pubout -outform der | openssl dgst -sha256 -binary | openssl base64"
    with private_key.open("rb") as key:
        return subprocess.run(pin, shell=True, check=True, stdin=key, capture_output=True, text=True).stdout.strip()
