"""The real programs of the journey: JupyterLab, the simulated provider and the gateway between them."""

import json
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TARGET = ROOT / os.environ.get("CARGO_TARGET_DIR", "target")
VESTIBULE = Path(os.environ.get("VESTIBULE_BIN", TARGET / "debug/vestibule")).absolute()
START_UP_SECONDS = 60


class Program:
    """A child process whose output goes to a file, line by line, and to whoever waits for a line."""

    def __init__(self, name: str, command: list[str], log_directory: Path, env: dict[str, str] | None = None):
        self.name = name
        self.log = log_directory / f"{name}.log"
        self.lines: list[str] = []
        self._news = threading.Condition()
        self._process = subprocess.Popen(
            command, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        with self._process.stdout as output, self.log.open("w") as log:
            for line in output:
                log.write(line)
                log.flush()
                with self._news:
                    self.lines.append(line.rstrip("\n"))
                    self._news.notify_all()

    def line(self, wanted: Callable[[str], bool], nth: int = 1, seconds: float = START_UP_SECONDS) -> str:
        """The nth line that is wanted; waits for it."""

        def found() -> list[str]:
            return [line for line in self.lines if wanted(line)]

        with self._news:
            if not self._news.wait_for(lambda: len(found()) >= nth, seconds):
                raise AssertionError(f"{self.name} did not print the expected line in {seconds} s:\n{self.tail()}")
            return found()[nth - 1]

    def wait_until_up(self, url: str) -> None:
        """Until `url` answers 200."""
        deadline = time.monotonic() + START_UP_SECONDS
        last = "no answer"
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise AssertionError(f"{self.name} ended with {self._process.returncode}:\n{self.tail()}")
            try:
                with urllib.request.urlopen(url, timeout=5):
                    return
            except OSError as error:
                last = str(error)
            time.sleep(0.05)
        raise AssertionError(f"{self.name} was not up after {START_UP_SECONDS} s ({url}: {last}):\n{self.tail()}")

    def tail(self, since: int = 0) -> str:
        return "\n".join(self.lines[since:][-40:])

    def stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join(5)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Simulator:
    """`vestibule simulate twilio`: what it "sends" is what a person reads on the phone."""

    def __init__(self, log_directory: Path):
        command = [str(VESTIBULE), "simulate", "twilio", "--listen", "127.0.0.1:0"]
        self._program = Program("simulator", command, log_directory)
        self.url = self._program.line(lambda line: line.startswith("listening ")).split()[1]

    def messages(self, phone: str) -> list[dict]:
        with urllib.request.urlopen(f"{self.url}/simulator/messages", timeout=5) as answer:
            return [message for message in json.load(answer) if message["to"] == phone]

    def code(self, phone: str, nth: int = 1) -> str:
        """The nth code sent to this phone; waits for it."""
        line = self._program.line(lambda line: line.startswith(f"code {phone} "), nth, seconds=10)
        return line.split()[2]

    def stop(self) -> None:
        self._program.stop()


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


class Gateway:
    """`vestibule serve` behind TLS, in front of Jupyter."""

    def __init__(self, directory: Path, log_directory: Path, jupyter: Jupyter, simulator: Simulator):
        directory.mkdir()
        port, observe = free_port(), free_port()
        self.origin = f"https://localhost:{port}"
        self.config = directory / "config.toml"
        certificate, private_key = directory / "certificate.pem", directory / "private_key.pem"
        self.key_pin = make_certificate(certificate, private_key)
        auth_token = directory / "auth_token"
        auth_token.write_text("not a real token")
        auth_token.chmod(0o600)
        # The last route leads to a closed port, to see the page for an application that is down. The limits
        # per address are raised because everybody in these tests comes from the same one.
        self.config.write_text(f"""
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

[[provider]]
kind = "twilio"
base_url = "{simulator.url}"
account_sid = "AC{"0a" * 16}"
auth_token = {{ file = "{auth_token}" }}
service_sid = "VA{"0b" * 16}"

[limits]
starts_per_address = "10000/1h"
checks_per_address = "10000/1h"

[store]
url = "sqlite:{directory}/vestibule.db"

[observe]
listen = "127.0.0.1:{observe}"
""")
        (directory / "state").mkdir(mode=0o700)
        self.program = Program(
            "gateway", [str(VESTIBULE), "serve", "--config", str(self.config)], log_directory
        )
        self.program.wait_until_up(f"http://127.0.0.1:{observe}/health/ready")

    def command(self, *words: str) -> str:
        """Runs another `vestibule` process on the same configuration, as an administrator would."""
        done = subprocess.run(
            [str(VESTIBULE), *words, "--config", str(self.config)],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30,
        )
        said = f"vestibule {' '.join(words)} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
        assert done.returncode == 0, said
        return done.stdout

    def stop(self) -> None:
        self.program.stop()


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
