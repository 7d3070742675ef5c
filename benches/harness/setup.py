"""What every scenario shares: the upstream, a certificate, signed-in sessions, and the proxies' configurations."""

import base64
import hashlib
import hmac
import json
import pathlib
import re
import secrets
import shutil
import socket
import ssl
import subprocess
import tempfile
import time
import urllib.request

from machine import LOAD_CORE, Process, until

CONFIGS = pathlib.Path(__file__).parent.parent / "configs"
MEGABYTE = 1_000_000
PHONE = "+14155550100"


def free_port():
    """A port nobody listens on."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def filled(name, /, **values):
    """A configuration with its @NAMES@ filled in."""
    text = (CONFIGS / name).read_text()
    return re.sub("@([A-Z]+)@", lambda found: str(values[found[1].lower()]), text)


class Site:
    """A directory of its own with all that is set up once. Left clean."""

    def __init__(self, binary):
        self.binary = binary
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="vestibule-bench-"))
        # The proxies' workers may run as another user and write there.
        self.directory.chmod(0o755)
        self.upstream_port = free_port()
        self.secret = secrets.token_hex(32)
        self.tokens = {}
        self.upstream = None

    def __enter__(self):
        self._make_certificate()
        self._start_upstream()
        return self

    def __exit__(self, *_):
        if self.upstream:
            self.upstream.stop()
        shutil.rmtree(self.directory, ignore_errors=True)

    def _make_certificate(self):
        """One ECDSA P-256 certificate for all."""
        self.certificate, self.key = self.directory / "certificate.pem", self.directory / "key.pem"
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30",
             "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1",
             "-keyout", self.key, "-out", self.certificate],
            check=True, stderr=subprocess.DEVNULL)
        both = self.directory / "both.pem"
        both.write_text(self.certificate.read_text() + self.key.read_text())
        self.client_tls = ssl.create_default_context(cafile=str(self.certificate))

    def _start_upstream(self):
        bodies = self.directory / "bodies"
        bodies.mkdir()
        for megabytes in (1, 100):
            (bodies / f"{megabytes}mb").write_bytes(b"x" * (megabytes * MEGABYTE))
        config = self.write("upstream.conf", port=self.upstream_port, page="x" * 1024)
        self.upstream = Process(["nginx", "-c", config], LOAD_CORE, stderr=subprocess.DEVNULL)
        until("the upstream", lambda: answers(self.upstream_port))

    def write(self, name, written=None, /, **values):
        """Writes a configuration; gives its path."""
        path = self.directory / (written or name)
        path.write_text(filled(name, directory=self.directory, **values))
        return path

    def copy_of_state(self, name):
        """A copy of the signed-in state directory: two gateways never run on one."""
        self.cookie("http", ours=True)  # signs in first, when nobody has
        state = self.directory / f"state-{name}"
        shutil.copytree(self.directory / "state-http", state, dirs_exist_ok=True)
        return state

    def vestibule_config(self, scheme, port, workers=1, simulator=1, state=None):
        """A configuration of ours; all of one scheme share a state directory unless another is given."""
        state = state or self.directory / f"state-{scheme}"
        tls = ""
        if scheme == "https":
            tls = f'[server.tls]\ncertificate = "{self.certificate}"\nprivate_key = "{self.key}"'
        return self.write("vestibule.toml", f"vestibule-{port}.toml", scheme=scheme, port=port, workers=workers,
                          simulator=simulator, state=state, tls=tls, upstream=self.upstream_port)

    def cookie(self, scheme, ours):
        """The cookie of a signed-in session: ours, or the same token signed with the key that HAProxy has."""
        if scheme not in self.tokens:
            self.tokens[scheme] = self._sign_in(scheme)
        token = self.tokens[scheme]
        if not ours:
            token = signed_again(token, self.secret)
        return f"{cookie_name(scheme)}={token}"

    def _sign_in(self, scheme):
        """Signs in as a person would, by the simulator's code and the API; gives the token."""
        (self.directory / "provider-token").write_text("secret")
        seen = self.directory / "simulator.log"
        simulator_port, port = free_port(), free_port()
        with seen.open("w") as log:
            simulator = Process([self.binary, "simulate", "twilio", "--listen", f"127.0.0.1:{simulator_port}"],
                                LOAD_CORE, stdout=log)
        config = self.vestibule_config(scheme, port, simulator=simulator_port)
        subprocess.run([self.binary, "user", "add", "bench", "--phone", PHONE, "--config", config],
                       check=True, stdout=subprocess.DEVNULL)
        gateway = Process([self.binary, "serve", "--config", config], LOAD_CORE)
        try:
            until("the simulator", lambda: "listening" in seen.read_text())
            until("vestibule", lambda: answers(port))
            base = f"{scheme}://127.0.0.1:{port}/.vestibule/api/otp"
            asked = json.load(self._post(f"{base}/request", {"phoneNumber": PHONE}))
            until("the code", lambda: "\ncode " in seen.read_text() or seen.read_text().startswith("code "))
            code = re.findall(r"^code \S+ (\d+)", seen.read_text(), re.M)[-1]
            answer = self._post(f"{base}/verify", {"requestId": asked["requestId"], "code": code})
            cookies = answer.headers.get_all("set-cookie")
            found = [re.match(cookie_name(scheme) + "=([^;]+)", cookie) for cookie in cookies]
            return next(match[1] for match in found if match)
        finally:
            gateway.stop()
            simulator.stop()

    def _post(self, url, fields):
        request = urllib.request.Request(url, json.dumps(fields).encode(), {"content-type": "application/json"})
        return urllib.request.urlopen(request, timeout=10, context=self.client_tls)


def cookie_name(scheme):
    """Our session cookie's name."""
    return "__Host-vestibule" if scheme == "https" else "vestibule"


def signed_again(token, secret):
    """The same header and claims under another HS256 key: our own key rests sealed in the store."""
    content = token.rpartition(".")[0]
    signature = hmac.digest(secret.encode(), content.encode(), hashlib.sha256)
    return f"{content}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"


def answers(port):
    """Whether somebody accepts connections there."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
        return True
    except OSError:
        return False


def first_answer(port, request, tls=None, patience=30):
    """Asks until there is an answer; gives its status."""
    end = time.monotonic() + patience
    while time.monotonic() < end:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=5) as plain:
                one = tls.wrap_socket(plain, server_hostname="127.0.0.1") if tls else plain
                one.settimeout(20)
                one.sendall(request)
                head = one.recv(65536)
                if head:
                    return int(head.split()[1])
        except (OSError, ssl.SSLError):
            time.sleep(0.0005)
    raise SystemExit(f"nothing answers on port {port}")
