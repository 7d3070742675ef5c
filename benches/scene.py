"""A gateway with a simulated provider, an application and alice, who is signed in: for the measurements beside it.

Standard library only. Everything listens on loopback and ends with the script.
"""

import asyncio
import contextlib
import json
import os
import pathlib
import re
import resource
import ssl
import subprocess
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request

PHONE = "+14155550100"
ROOT = pathlib.Path(__file__).resolve().parent.parent
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 1024\r\n\r\n" + b"x" * 1024


def binary() -> str:
    """$VESTIBULE_BIN, or the release build, which is made when it is not there."""
    given = os.environ.get("VESTIBULE_BIN")
    if given:
        return given
    subprocess.run(["cargo", "build", "--release", "--locked", "--quiet"], cwd=ROOT, check=True)
    return str(pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release/vestibule")


def many_files() -> None:
    """As many open files as we may have."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


async def application(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers 1 kB to every request without a body; /large gets 64 MB."""
    with contextlib.suppress(asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            if head.startswith(b"GET /large "):
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 67108864\r\n\r\n")
                for _ in range(1024):
                    writer.write(b"x" * 65536)
                    await writer.drain()
            else:
                writer.write(ANSWER)
                await writer.drain()
    writer.close()


class Scene:
    """Running processes, and what is needed to talk to them."""

    def __init__(self, tls: bool, routes: str = "", host: str = "127.0.0.1", under: tuple[str, ...] = ()):
        """`host` is the gateway's address; `under` is a command that runs the gateway (taskset, chrt)."""
        self.tls = tls
        self.routes = routes
        self.host = host
        self.under = under
        self.stack = contextlib.ExitStack()
        self.processes: list[subprocess.Popen] = []

    async def __aenter__(self) -> "Scene":
        many_files()
        self.binary = binary()
        self.directory = pathlib.Path(self.stack.enter_context(tempfile.TemporaryDirectory()))
        upstream = await asyncio.start_server(application, "127.0.0.1", 0, backlog=1024, limit=1 << 20)
        port = upstream.sockets[0].getsockname()[1]
        line = self.start("simulate", "twilio", "--listen", "127.0.0.1:0", until="listening ")
        self.simulator = line.split("listening ")[1].strip()
        (self.directory / "token").write_text("a-secret-token-of-32-characters!")
        self.config = self.directory / "config.toml"
        self.config.write_text(self.settings(port))
        subprocess.run(
            [self.binary, "user", "add", "alice", "--phone", PHONE, "--config", str(self.config)],
            check=True, stdout=subprocess.DEVNULL,
        )
        line = self.start("serve", "--config", str(self.config), until='"listening"', under=self.under)
        self.port = int(json.loads(line)["address"].rsplit(":", 1)[1])
        self.gateway = self.processes[-1]
        self.cookie = await asyncio.to_thread(self.sign_in)
        return self

    async def __aexit__(self, *_: object) -> None:
        for process in self.processes:
            process.kill()
            process.wait()
        self.stack.close()

    def start(self, *arguments: str, until: str, under: tuple[str, ...] = ()) -> str:
        log = open(self.directory / f"log-{len(self.processes)}", "w+")
        process = subprocess.Popen([*under, self.binary, *arguments], stdout=log, stderr=subprocess.STDOUT)
        self.processes.append(process)
        while process.poll() is None:
            log.seek(0)
            for line in log:
                if until in line and line.endswith("\n"):
                    return line
            time.sleep(0.02)  # nothing runs beside the start
        raise SystemExit(f"vestibule {arguments[0]} ended: {pathlib.Path(log.name).read_text()}")

    def settings(self, upstream: int) -> str:
        scheme, tls = "http", ""
        if self.tls:
            scheme = "https"
            subprocess.run(
                ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                 "-subj", f"/CN={self.host}", "-days", "2", "-keyout", self.directory / "key.pem",
                 "-out", self.directory / "chain.pem"],
                check=True, stderr=subprocess.DEVNULL,
            )
            tls = f'[server.tls]\ncertificate = "{self.directory}/chain.pem"\nprivate_key = "{self.directory}/key.pem"\n'
        return (
            f'[server]\nlisten = ["{self.host}:0"]\npublic_url = "{scheme}://{self.host}"\n'
            f'state_directory = "{self.directory}/state"\nmax_connections = 50000\n{tls}'
            f'[[route]]\nupstream = ["http://127.0.0.1:{upstream}"]\n{self.routes}[observe]\nlisten = "127.0.0.1:0"\n'
            f'[log]\nformat = "json"\n[[provider]]\nkind = "twilio"\nbase_url = "{self.simulator}"\n'
            f'account_sid = "AC{"0" * 32}"\nauth_token = {{ file = "{self.directory}/token" }}\n'
            f'service_sid = "VA{"1" * 32}"\n'
        )

    @property
    def context(self) -> ssl.SSLContext | None:
        if not self.tls:
            return None
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context

    def sign_in(self) -> str:
        challenge = self.post("start", {"phone": PHONE}, "")
        messages = json.load(urllib.request.urlopen(f"{self.simulator}/simulator/messages"))
        return self.post("verify", {"code": messages[-1]["code"]}, challenge)

    def post(self, step: str, form: dict[str, str], cookie: str) -> str:
        class Stay(urllib.request.HTTPRedirectHandler):
            def redirect_request(self, *_: object) -> None:
                return None

        handlers: list = [Stay, urllib.request.ProxyHandler({})]
        if self.tls:
            handlers.append(urllib.request.HTTPSHandler(context=self.context))
        url = f"{'https' if self.tls else 'http'}://{self.host}:{self.port}/.vestibule/challenge/{step}"
        request = urllib.request.Request(url, urllib.parse.urlencode(form).encode(), {"cookie": cookie})
        try:
            answer = urllib.request.build_opener(*handlers).open(request)
        except urllib.error.HTTPError as refused:
            answer = refused
        cookies = [field.split(";")[0] for field in answer.headers.get_all("set-cookie") or []]
        name = "vestibule-challenge" if step == "start" else "vestibule"
        return next(cookie for cookie in cookies if re.match(f"(__Host-)?{name}=.", cookie))

    def request(self, path: str = "/") -> bytes:
        return f"GET {path} HTTP/1.1\r\nhost: {self.host}\r\ncookie: {self.cookie}\r\n\r\n".encode()

    def resident(self) -> int:
        """The gateway's resident memory, in bytes."""
        status = pathlib.Path(f"/proc/{self.gateway.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) * 1024

    def busy(self) -> float:
        """The gateway's processor time so far, in seconds."""
        fields = pathlib.Path(f"/proc/{self.gateway.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
