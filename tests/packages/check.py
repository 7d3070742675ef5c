#!/usr/bin/env python3
"""Installs, upgrades, removes and purges the Debian package, and runs tarball and image, as an administrator would.

As root, on what packaging/build has made: FIRST and SECOND, directories with a package each, the second of a higher
version, and in both the tarball; TREE, a Debian that debootstrap made, of which copies are used.

- In a chroot: what is where and whose, what stays when, and that a purge leaves nothing behind.
- In a machine that systemd-nspawn boots, where it can: the unit, a sign-in, a reload, upgrades of a gateway that runs.
- The tarball: the same bytes when it is made again; without any library, and with names from the DNS.
- The image of the Containerfile, built and run by buildah.

What a machine cannot do is left out, and said in a line that begins with `note: `.
"""

import contextlib
import http.server
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from programs import VESTIBULE, Program, Simulator, free_port  # noqa: E402

FIRST, SECOND, TREE = (Path(os.environ[name]).absolute() for name in ("FIRST", "SECOND", "TREE"))
PLACE = Path(os.environ["PLACE"]).absolute()
PHONE = "+14155550100"
NAME_SERVER = "127.0.0.99"
PATH = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
# Where the administrator of a test leaves files.
DESK = "/srv"
# What installing and purging any package changes in a Debian, and the user that stays.
ANYBODYS = ("/etc/passwd", "/etc/group", "/etc/shadow", "/etc/gshadow", "/etc/subuid", "/etc/subgid", "/etc/.pwd.lock",
            "/var/lib/dpkg", "/var/lib/apt", "/var/cache", "/var/log", "/var/lib/systemd/deb-systemd",
            "/tmp", "/run", DESK)


def run(*command: str | Path, **options) -> str:
    done = subprocess.run([str(word) for word in command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, check=False, timeout=600, **options)
    assert done.returncode == 0, f"{' '.join(map(str, command))} ended with {done.returncode}:\n{done.stdout}"
    return done.stdout


def note(what: str) -> None:
    print(f"note: {what}", flush=True)


class Debian:
    """A copy of the tree, and how commands are run in it."""

    def __init__(self, name: str):
        self.root = PLACE / name
        shutil.rmtree(self.root, ignore_errors=True)
        run("cp", "--archive", "--reflink=auto", TREE, self.root)
        for number, made in enumerate((FIRST, SECOND), 1):
            shutil.copy(next(made.glob("*.deb")), self.root / f"{number}.deb")
        self.enter: list[str] = ["chroot", str(self.root)]

    def run(self, *command: str) -> str:
        return run(*self.enter, *command, env=PATH)

    def fails(self, *command: str) -> str:
        done = subprocess.run([*self.enter, *command], env=PATH, capture_output=True, text=True, check=False)
        assert done.returncode != 0, f"{command} succeeded: {done.stdout}"
        return done.stdout + done.stderr

    def install(self, number: int) -> str:
        return self.run("apt-get", "install", "--yes", "--allow-downgrades", "--reinstall", f"/{number}.deb")

    def version(self) -> str:
        return self.run("dpkg-query", "--show", "--showformat=${Version}", "vestibule")

    def is_there(self, path: str) -> bool:
        return os.path.lexists(self.root / path.lstrip("/"))

    def read(self, path: str) -> str:
        return (self.root / path.lstrip("/")).read_text(encoding="utf-8")

    def whose(self, path: str) -> str:
        return self.run("stat", "--format=%U:%G %a", path).strip()

    def files(self) -> set[str]:
        found = run("find", self.root, "-xdev", "-printf", "/%P\n").splitlines()
        return {path for path in found if not path.startswith(ANYBODYS)}

    def configure(self, listen: int, upstream: str, provider: str) -> None:
        """As an administrator does, in a rehearsal."""
        (self.root / DESK[1:] / "token").write_text("0123456789abcdef0123456789abcdef\n", encoding="utf-8")
        self.run("vestibule", "init", "--offline", "--public-url", f"http://127.0.0.1:{listen}",
                 "--upstream", upstream, "--tls", "proxy", "--listen", f"127.0.0.1:{listen}", "--provider", "twilio",
                 "--account", "AC" + 32 * "1", "--service", "VA" + 32 * "1", "--base-url", provider,
                 "--secret-file", f"{DESK}/token", "--user", "alice", "--phone", PHONE, "--region", "US")
        config = self.root / "etc/vestibule/config.toml"
        observe = f'\n# ours\n[observe]\nlisten = "127.0.0.1:{free_port()}"\n'
        config.write_text(config.read_text(encoding="utf-8") + observe, encoding="utf-8")


def fetch(url: str, body: dict | None = None, cookie: str = "") -> tuple[int, str, str]:
    """Status, cookie that was set, body."""
    request = urllib.request.Request(url, json.dumps(body).encode() if body else None)
    request.add_header("Content-Type", "application/json")
    if cookie:
        request.add_header("Cookie", cookie)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, (answer.headers["Set-Cookie"] or "").split(";")[0], answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, "", error.read().decode()


@contextlib.contextmanager
def application() -> Iterator[str]:
    """What the gateway stands before: it says who came."""

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            text = f"hello {self.headers['X-Forwarded-User']}".encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"127.0.0.1:{server.server_address[1]}"
    server.shutdown()


def sign_in(gateway: str, simulator: Simulator, nth: int) -> str:
    """The cookie of alice."""
    status, _, text = fetch(f"{gateway}/.vestibule/api/otp/request", {"phoneNumber": PHONE})
    assert status == 200, text
    answer = {"requestId": json.loads(text)["requestId"], "code": simulator.code(PHONE, nth)}
    status, cookie, text = fetch(f"{gateway}/.vestibule/api/otp/verify", answer)
    assert status == 200 and cookie, text
    return cookie


def is_in(gateway: str, cookie: str) -> None:
    status, _, text = fetch(f"{gateway}/", cookie=cookie)
    assert (status, text) == (200, "hello alice"), (status, text)


def everything_is_there(debian: Debian) -> None:
    assert debian.whose("/usr/bin/vestibule") == "root:root 755"
    assert debian.whose("/etc/vestibule") == "root:vestibule 750"
    assert debian.whose("/etc/vestibule/credentials") == "root:root 700"
    assert debian.whose("/var/lib/vestibule") == "vestibule:vestibule 700"
    assert ":/var/lib/vestibule:/usr/sbin/nologin" in debian.run("getent", "passwd", "vestibule")
    for path in ("usr/lib/systemd/system/vestibule.service", "usr/lib/systemd/system/vestibule.socket",
                 "usr/share/man/man1/vestibule.1.gz", "usr/share/man/man1/vestibule-user-add.1.gz",
                 "usr/share/bash-completion/completions/vestibule", "usr/share/zsh/vendor-completions/_vestibule",
                 "usr/share/fish/vendor_completions.d/vestibule.fish", "usr/share/doc/vestibule/copyright",
                 "usr/share/doc/vestibule/examples/config.toml.example", "usr/share/doc/vestibule/docs/upgrade.md"):
        assert debian.is_there(path), f"the package has no {path}"
    assert "aws-lc-rs" in debian.read("usr/share/doc/vestibule/third-party.txt")
    assert debian.read("usr/lib/systemd/system/vestibule.service") == Path("systemd/vestibule.service").read_text()


def in_a_chroot() -> None:
    debian = Debian("chroot")
    before = debian.files()
    assert "vestibule init" in debian.install(1)
    first = debian.version()
    everything_is_there(debian)
    assert not debian.is_there("/etc/vestibule/config.toml"), "nobody configured it"
    assert not debian.is_there("/etc/systemd/system/multi-user.target.wants/vestibule.service"), "it is enabled"
    debian.configure(free_port(), "http://127.0.0.1:9", "http://127.0.0.1:9")
    debian.run("vestibule", "user", "add", "alice", "--phone", PHONE)
    debian.run("systemctl", "enable", "vestibule")
    config, users = debian.read("/etc/vestibule/config.toml"), debian.run("vestibule", "user", "list")
    key = "/var/lib/vestibule/master.key"
    assert "alice" in users and debian.whose(key) == "vestibule:vestibule 600", debian.whose(key)

    def is_kept() -> None:
        assert debian.read("/etc/vestibule/config.toml") == config
        assert debian.is_there("/etc/vestibule/credentials/twilio-auth-token") and debian.is_there(key)

    debian.install(2)
    assert debian.version() != first
    everything_is_there(debian)
    is_kept()
    assert debian.run("vestibule", "user", "list") == users
    assert debian.is_there("/etc/systemd/system/multi-user.target.wants/vestibule.service"), "it is disabled"
    debian.install(1)
    assert debian.version() == first and debian.run("vestibule", "user", "list") == users

    going_back(debian)

    debian.run("apt-get", "remove", "--yes", "vestibule")
    assert not debian.is_there("/usr/bin/vestibule")
    is_kept()
    debian.install(2)
    assert debian.run("vestibule", "user", "list") == users
    is_kept()

    # As the unit's DynamicUser= leaves it.
    debian.run("sh", "-c", "mkdir -p -m 0700 /var/lib/private && mv /var/lib/vestibule /var/lib/private/ && "
                           "ln -s private/vestibule /var/lib/vestibule")
    debian.install(2)
    assert debian.run("vestibule", "user", "list") == users
    debian.run("apt-get", "purge", "--yes", "vestibule")
    left = debian.files() - before
    assert not left, f"a purge leaves {sorted(left)}"
    assert "vestibule" in debian.run("getent", "passwd", "vestibule")
    print("in a chroot: installed, configured, upgraded, downgraded, removed, installed again, purged", flush=True)


def going_back(debian: Debian) -> None:
    """After a step of the schema, as docs/upgrade.md says."""
    debian.run("vestibule", "backup", f"{DESK}/before-upgrade.db")
    with contextlib.closing(sqlite3.connect(debian.root / "var/lib/vestibule/vestibule.db")) as store:
        store.execute("PRAGMA user_version = 99")
    assert "run the newer version" in debian.fails("vestibule", "user", "list")
    debian.run("vestibule", "restore", f"{DESK}/before-upgrade.db")
    assert "alice" in debian.run("vestibule", "user", "list")


class Machine(Debian):
    """A Debian that runs, with the network of this machine."""

    def __init__(self) -> None:
        super().__init__("machine")
        # Nothing of it is to take ports or names here.
        command = ["systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--machine=vestibule-packages",
                   "--directory", str(self.root), "--boot", "--resolv-conf=off", "--console=pipe"]
        self.log = PLACE / "machine.log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def boot(self) -> bool:
        """Whether it came up; it has two minutes."""
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and self.process.poll() is None:
            leader = self.leader()
            if leader:
                self.enter = ["nsenter", "--target", leader, "--all", "--wd=/"]
                asked = [*self.enter, "systemctl", "is-system-running"]
                said = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()
                if said in ("running", "degraded"):
                    return True
            time.sleep(0.2)
        return False

    def leader(self) -> str | None:
        """Its process 1, as this machine numbers it."""
        waiting = [str(self.process.pid)]
        while waiting:
            process = waiting.pop()
            with contextlib.suppress(OSError):
                status = Path(f"/proc/{process}/status").read_text()
                numbers = next(line for line in status.splitlines() if line.startswith("NSpid:")).split()[1:]
                if len(numbers) > 1 and numbers[-1] == "1":
                    return process
                for children in Path(f"/proc/{process}/task").glob("*/children"):
                    waiting += children.read_text().split()
        return None

    def main_process(self) -> str:
        return self.run("systemctl", "show", "--property=MainPID", "--value", "vestibule").strip()

    def end(self) -> None:
        if self.process.poll() is None:
            # To nspawn it is the word to shut the machine down.
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


def in_a_machine() -> None:
    machine = Machine()
    try:
        if not machine.boot():
            note(f"the unit was NOT started under a systemd: systemd-nspawn boots no machine here ({machine.log})")
            return
        simulator = Simulator(PLACE)
        with application() as upstream:
            under_systemd(machine, simulator, upstream)
        simulator.stop()
    finally:
        machine.end()


def under_systemd(machine: Machine, simulator: Simulator, upstream: str) -> None:
    machine.install(1)
    machine.fails("systemctl", "is-enabled", "vestibule")
    machine.fails("systemctl", "is-active", "vestibule")
    machine.fails("systemctl", "start", "vestibule")
    state = machine.run("systemctl", "show", "--property=ActiveState,NRestarts", "vestibule").split()
    assert set(state) == {"ActiveState=failed", "NRestarts=0"}, f"unconfigured, it is tried again and again: {state}"
    port = free_port()
    gateway = f"http://127.0.0.1:{port}"
    machine.configure(port, f"http://{upstream}", simulator.url)
    machine.run("systemctl", "enable", "--now", "vestibule")
    machine.run("vestibule", "user", "add", "alice", "--phone", PHONE)
    cookie = sign_in(gateway, simulator, 1)
    is_in(gateway, cookie)
    assert "User=vestibule" in machine.run("systemctl", "show", "--property=User", "vestibule")
    assert os.readlink(machine.root / "var/lib/vestibule") == "private/vestibule"
    findings = machine.run("sh", "-c", "vestibule doctor || true")
    assert "not the one of this version" not in findings and "does not hand the credential" not in findings, findings
    print("in a machine: installed, started by its unit, signed in", flush=True)

    config = machine.root / "etc/vestibule/config.toml"
    before = machine.main_process()
    with config.open("a", encoding="utf-8") as file:
        file.write("\n[log]\nformat = \"nonsense\"\n")
    said = machine.install(2)
    assert "does not take the configuration" in said, said
    assert machine.main_process() == before, "an upgrade ended a gateway that the new version cannot replace"
    is_in(gateway, cookie)
    config.write_text(config.read_text(encoding="utf-8").replace("nonsense", "json"), encoding="utf-8")
    machine.run("systemctl", "reload", "vestibule")
    is_in(gateway, cookie)
    assert machine.main_process() == before, "a reload ended it"
    machine.install(2)
    assert machine.main_process() not in (before, "0"), "an upgrade did not restart it"
    is_in(gateway, cookie)
    print("in a machine: upgraded, only when the new version takes the configuration; the session went on", flush=True)

    machine.run("apt-get", "remove", "--yes", "vestibule")
    machine.fails("systemctl", "is-active", "vestibule")
    machine.install(2)
    machine.run("systemctl", "start", "vestibule")
    is_in(gateway, cookie)
    machine.run("apt-get", "purge", "--yes", "vestibule")
    machine.fails("systemctl", "is-active", "vestibule")
    for path in ("/etc/vestibule", "/var/lib/vestibule", "/var/lib/private/vestibule", "/var/log/vestibule"):
        assert not machine.is_there(path), f"a purge leaves {path}"
    print("in a machine: removed, installed again, purged", flush=True)

    by_the_guide(machine)
    machine.configure(port, f"http://{upstream}", simulator.url)
    machine.run("systemctl", "enable", "--now", "vestibule")
    machine.run("vestibule", "user", "add", "alice", "--phone", PHONE)
    is_in(gateway, sign_in(gateway, simulator, 2))
    print("in a machine: the tarball, by docs/install.md; signed in", flush=True)


def by_the_guide(machine: Machine) -> None:
    """Runs what docs/install.md says of the tarball, as it stands there."""
    part = Path("docs/install.md").read_text(encoding="utf-8").partition("\n## The tarball\n")[2]
    commands = re.search(r"^```sh\n(.*?)^```$", part, re.MULTILINE | re.DOTALL)[1]
    for file in FIRST.glob("*.tar.gz*"):
        shutil.copy(file, machine.root / DESK[1:])
    machine.run("sh", "-e", "-c", f"cd {DESK}\n{commands}")


@contextlib.contextmanager
def name_server() -> Iterator[None]:
    """Knows app.test, at an address of its own."""
    command = ["dnsmasq", "--no-daemon", "--no-resolv", "--no-hosts", f"--listen-address={NAME_SERVER}",
               "--bind-interfaces", "--conf-file=/dev/null", "--address=/app.test/127.0.0.1"]
    server = Program("dnsmasq", command, PLACE)
    server.line(lambda line: "started" in line)
    yield
    server.stop()


def static_config(place: Path, listen: int, upstream: str, provider: str) -> None:
    """For a machine that is the program and these files."""
    port = upstream.rpartition(":")[2]
    (place / "config.toml").write_text(f"""\
[server]
listen = ["127.0.0.1:{listen}"]
public_url = "http://127.0.0.1:{listen}"
[observe]
listen = "127.0.0.1:{free_port()}"
[[route]]
upstream = ["http://app.test:{port}"]
[[provider]]
kind = "twilio"
account_sid = "AC{32 * '1'}"
auth_token = {{ credential = "twilio-auth-token" }}
service_sid = "VA{32 * '1'}"
base_url = "{provider}"
""", encoding="utf-8")
    token = place / "credentials/twilio-auth-token"
    token.parent.mkdir(exist_ok=True)
    token.write_text("0123456789abcdef0123456789abcdef\n", encoding="utf-8")
    token.chmod(0o600)
    os.chown(token, 65532, 65532)


def unpacked() -> Path:
    name = next(FIRST.glob("*.tar.gz")).name
    run("sha256sum", "--check", f"{name}.sha256", cwd=FIRST)
    again = (SECOND / f"{name}.sha256").read_text()
    assert (FIRST / f"{name}.sha256").read_text() == again, "the tarball is another one when it is made again"
    shutil.rmtree(PLACE / "tarball", ignore_errors=True)
    (PLACE / "tarball").mkdir()
    run("tar", "--extract", "--file", FIRST / name, "--directory", PLACE / "tarball")
    place = PLACE / "tarball" / name.removesuffix(".tar.gz")
    for path in ("vestibule", "config.toml.example", "systemd/vestibule.service", "man/vestibule-user-add.1",
                 "completions/_vestibule", "third-party.txt", "LICENSE-MIT", "LICENSE-APACHE", "README.md",
                 "docs/install.md", "Containerfile"):
        assert (place / path).exists(), f"the tarball has no {path}"
    libraries = subprocess.run(["ldd", place / "vestibule"], capture_output=True, text=True, check=False).stdout
    assert "statically linked" in libraries, libraries
    return place


def the_image(place: Path) -> None:
    shutil.copy("/etc/ssl/certs/ca-certificates.crt", place)
    shutil.rmtree(PLACE / "images", ignore_errors=True)
    storage = ["buildah", "--storage-driver=vfs", f"--root={PLACE}/images", f"--runroot={PLACE}/images-run"]
    run(*storage, "bud", "--isolation=chroot", "--file", place / "Containerfile", "--tag", "vestibule", place)
    made = json.loads(run(*storage, "inspect", "--type=image", "vestibule"))["OCIv1"]["config"]
    assert made["User"] == "65532:65532", made
    configuration = PLACE / "image-config"
    configuration.mkdir(exist_ok=True)
    container = run(*storage, "from", f"--dns={NAME_SERVER}", "--isolation=chroot", "vestibule").splitlines()[-1]
    port = free_port()
    simulator = Simulator(PLACE)
    with application() as upstream, name_server():
        static_config(configuration, port, upstream, simulator.url)
        inside = [*storage, "run", "--isolation=chroot", f"--volume={configuration}:/etc/vestibule:ro", container, "--",
                  "/usr/bin/vestibule"]
        run(*inside, "user", "add", "alice", "--phone", PHONE)
        gateway = Program("image", [*inside, "serve"], PLACE)
        try:
            gateway.wait_until_up(f"http://127.0.0.1:{port}/.vestibule/assets/vestibule.css")
            is_in(f"http://127.0.0.1:{port}", sign_in(f"http://127.0.0.1:{port}", simulator, 1))
        finally:
            gateway.stop()
    simulator.stop()
    print("the image: built, run as nobody in particular, with a name from the DNS; signed in", flush=True)


def main() -> None:
    PLACE.mkdir(parents=True, exist_ok=True)
    parts = {"chroot": in_a_chroot, "machine": in_a_machine, "image": lambda: the_image(unpacked())}
    for part in sys.argv[1:] or parts:
        began = time.monotonic()
        parts[part]()
        print(f"{part}: {time.monotonic() - began:.0f} s", flush=True)


if __name__ == "__main__":
    assert VESTIBULE.exists(), f"{VESTIBULE} is not there"
    main()
