"""Gateways on either store, a PostgreSQL of their own with nothing off that makes a commit safe, and the simulator.

Standard library, Debian's postgresql-15 and wrk. Everything listens on loopback and ends with the script.
"""

import asyncio
import contextlib
import json
import os
import pathlib
import pwd
import re
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "harness"))

from machine import BOTH, Process, say, until  # noqa: E402
from scene import ROOT, application, binary, many_files  # noqa: E402

PROGRAMS = pathlib.Path("/usr/lib/postgresql/15/bin")
CODE = "123456"
LUA = ROOT / "benches/configs/sign_in.lua"


def number(n: int) -> str:
    """One of eight million numbers that do not follow each other."""
    return f"+1415{2_000_000 + n * 12_347 % 8_000_000:07}"


def free_port() -> int:
    """Below those that outgoing connections get."""
    with socket.socket() as any_port:
        any_port.bind(("127.0.0.1", 0))
        return 10_000 + any_port.getsockname()[1] % 20_000


class Place:
    """A directory for all that runs, removed at the end with its processes."""

    def __enter__(self) -> "Place":
        many_files()
        self.stack = contextlib.ExitStack()
        self.binary = binary()
        self.path = pathlib.Path(self.stack.enter_context(tempfile.TemporaryDirectory(prefix="vestibule-fleet-")))
        self.path.chmod(0o755)
        (self.path / "token").write_text("a-secret-token-of-32-characters!")
        (self.path / "master").write_text("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n")
        self.logs = 0
        self.simulator, line = self.start("simulate", "twilio", "--listen", "127.0.0.1:0", "--fixed-code", CODE,
                                          told="listening ")
        self.provider = line.split("listening ")[1].strip()
        self.upstream = Upstream(self)
        return self

    def __exit__(self, *_: object) -> None:
        self.stack.close()

    def start(self, *arguments: str, told: str) -> tuple[Process, str]:
        """A process of ours, once it has said something; and the line."""
        self.logs += 1
        path = self.path / f"log-{self.logs}"
        with open(path, "w") as log:
            process = Process([self.binary, *arguments], BOTH, stdout=log, stderr=subprocess.STDOUT)
        self.stack.callback(process.stop)

        def lines() -> list[str]:
            return [line for line in path.read_text().splitlines() if told in line]

        until(f"{arguments[0]}, which says: {path.read_text()}", lambda: lines() or process.popen.poll() is not None)
        if not lines():
            raise SystemExit(f"vestibule {arguments[0]} ended: {path.read_text()}")
        return process, lines()[0]


class Upstream:
    """An application that answers 1 kB, in a thread of this process."""

    def __init__(self, place: Place):
        started = threading.Event()

        async def run() -> None:
            server = await asyncio.start_server(application, "127.0.0.1", 0, backlog=1024)
            self.port = server.sockets[0].getsockname()[1]
            started.set()
            await server.serve_forever()

        threading.Thread(target=lambda: asyncio.run(run()), daemon=True).start()
        started.wait()


class Postgres:
    """A cluster as Debian makes one: fsync and full_page_writes are on, commits are synchronous."""

    name = "PostgreSQL"

    def __init__(self, place: Place):
        self.place, self.port = place, free_port()
        user = pwd.getpwnam("postgres") if os.geteuid() == 0 else None
        self.drop = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups", "--"] if user else []
        self.home = place.path / f"postgres-{self.port}"
        self.home.mkdir()
        if user:
            os.chown(self.home, user.pw_uid, user.pw_gid)
        made = [*self.drop, PROGRAMS / "initdb", "-D", self.home / "data", "-U", "postgres", "-A", "trust", "-E", "UTF8",
                "--locale=C.UTF-8"]
        subprocess.run(made, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=self.home)
        with open(self.home / "data/postgresql.conf", "a") as settings:
            settings.write(
                f"listen_addresses = '127.0.0.1'\nport = {self.port}\nunix_socket_directories = '{self.home}'\n"
                "max_connections = 200\nshared_buffers = 256MB\nmax_wal_size = 2GB\n"
                "shared_preload_libraries = 'pg_stat_statements'\npg_stat_statements.track_utility = on\n"
            )
        self.process = Process([*self.drop, PROGRAMS / "postgres", "-D", self.home / "data"], BOTH,
                               stderr=open(self.home / "log", "w"), cwd=self.home)
        place.stack.callback(self.stop)
        until("PostgreSQL", lambda: self.psql("postgres", "SELECT 1", check=False) == "1")
        self.psql("postgres", "CREATE ROLE vestibule LOGIN")
        self.databases = 0
        self.fresh()

    def fresh(self) -> None:
        """An empty database."""
        self.databases += 1
        self.database = f"vestibule_{self.databases}"
        self.psql("postgres", f"CREATE DATABASE {self.database} OWNER vestibule")
        self.sql("CREATE EXTENSION pg_stat_statements")

    def stop(self) -> None:
        self.process.popen.send_signal(2)  # "fast"
        self.process.stop()

    def psql(self, database: str, text: str, check: bool = True) -> str:
        command = [PROGRAMS / "psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-U", "postgres", "-h", "127.0.0.1", "-p",
                   str(self.port), "-d", database, "-c", text]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if check and done.returncode:
            raise SystemExit(f"psql: {done.stderr}")
        return done.stdout.strip()

    def sql(self, text: str) -> str:
        return self.psql(self.database, text)

    def section(self, port: int | None = None, more: str = "") -> str:
        return (f'[store]\nurl = "postgres://vestibule@127.0.0.1:{port or self.port}/{self.database}?sslmode=disable"\n'
                f'master_key = {{ file = "{self.place.path}/master" }}\n{more}')

    def size(self) -> int:
        return int(self.sql("SELECT pg_database_size(current_database())"))

    def cpu(self) -> float:
        """Of all its processes, those that ended too."""
        return sum(self.process.cpu()) + ended_children(self.process.pid)


class Sqlite:
    """One file."""

    name = "SQLite"
    made = 0

    def __init__(self, place: Place):
        self.place = place
        self.fresh()

    def fresh(self) -> None:
        Sqlite.made += 1
        (self.place.path / f"state-{Sqlite.made}").mkdir()
        self.file = self.place.path / f"state-{Sqlite.made}/vestibule.db"

    def section(self) -> str:
        return f'[store]\nurl = "sqlite:{self.file}"\nmaster_key = {{ file = "{self.place.path}/master" }}\n'

    def sql(self, text: str) -> str:
        with contextlib.closing(sqlite3.connect(self.file, timeout=60)) as connection:
            answer = connection.execute(text).fetchone()
            connection.commit()
        return "|".join(map(str, answer)) if answer else ""

    def size(self) -> int:
        """With everything moved from the log into the file."""
        self.sql("PRAGMA wal_checkpoint(TRUNCATE)")
        return self.file.stat().st_size


def ended_children(pid: int) -> float:
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[13]) + int(fields[14])) / os.sysconf("SC_CLK_TCK")


class Gateway:
    """One of any number on a store."""

    made = 0

    def __init__(self, place: Place, section: str):
        Gateway.made += 1
        self.place = place
        self.config = place.path / f"config-{Gateway.made}.toml"
        state = place.path / f"gateway-{Gateway.made}"
        self.config.write_text(
            f'[server]\nlisten = ["127.0.0.1:0"]\npublic_url = "http://127.0.0.1"\nstate_directory = "{state}"\n'
            f"workers = 1\nmax_connections = 20000\nmax_connections_per_address = 20000\n"
            f'[[route]]\nupstream = ["http://127.0.0.1:{place.upstream.port}"]\n'
            '[observe]\nlisten = "127.0.0.1:0"\n[log]\nformat = "json"\nlevel = "warn"\n'
            f'[[provider]]\nkind = "twilio"\nbase_url = "{place.provider}"\naccount_sid = "AC{"0" * 32}"\n'
            f'auth_token = {{ file = "{place.path}/token" }}\nservice_sid = "VA{"1" * 32}"\n'
            '[limits]\nstarts_per_number = "1000/1h"\nstarts_per_user = "1000/1h"\nstarts_per_address = "100000/1m"\n'
            'checks_per_address = "100000/1m"\n'
            "[spend]\nmessages_per_day = 100000000\nmessages_per_month = 100000000\nmessages_per_user_and_day = 1000\n"
            'messages_per_user_and_month = 1000\nmessages_per_prefix = "10000/1h"\nconversion_least_sent = 100000000\n'
            f"{section}"
        )

    def serve(self) -> "Gateway":
        """Starts it; how long that took is in `took`."""
        begun = time.monotonic()
        # Its port is not in the log at level warn.
        port = free_port()
        text = self.config.read_text()
        self.config.write_text(re.sub(r'listen = \["127.0.0.1:\d+"\]', f'listen = ["127.0.0.1:{port}"]', text))
        self.port = port
        self.place.logs += 1
        self.log = self.place.path / f"log-{self.place.logs}"
        with open(self.log, "w") as log:
            self.process = Process([self.place.binary, "serve", "--config", self.config], BOTH, stdout=log,
                                   stderr=subprocess.STDOUT)
        self.place.stack.callback(self.process.stop)

        def answers() -> bool:
            if self.process.popen.poll() is not None:
                raise SystemExit(f"the gateway ended: {self.log.read_text()}")
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                return True
            return False

        until("the gateway", answers, pause=0.005)
        self.took = time.monotonic() - begun
        return self

    def command(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess:
        command = [self.place.binary, *arguments, "--config", str(self.config)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if check and done.returncode:
            raise SystemExit(f"{' '.join(arguments)}: {done.stderr}")
        return done

    def import_users(self, first: int, count: int) -> float:
        """So many users; seconds."""
        file = self.place.path / "people.csv"
        with open(file, "w") as people:
            people.write("name,phone_number\n")
            people.writelines(f"person{n},{number(n)}\n" for n in range(first, first + count))
        begun = time.monotonic()
        self.command("user", "import", str(file))
        return time.monotonic() - begun

    def post(self, path: str, body: dict) -> tuple[int, dict, str]:
        """Status, body and cookie."""
        import http.client
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        with contextlib.closing(connection):
            connection.request("POST", f"/.vestibule/api/{path}", json.dumps(body),
                               {"content-type": "application/json", "host": "127.0.0.1"})
            answer = connection.getresponse()
            cookie = (answer.getheader("set-cookie") or "").split(";")[0]
            return answer.status, json.loads(answer.read()), cookie

    def sign_in(self, n: int) -> str:
        status, body, _ = self.post("otp/request", {"phoneNumber": number(n)})
        if status != 200:
            raise SystemExit(f"otp/request: {status} {body}")
        status, body, cookie = self.post("otp/verify", {"requestId": body["requestId"], "code": CODE})
        if status != 200:
            raise SystemExit(f"otp/verify: {status} {body}")
        return cookie


class Load:
    """Sign-ins at one gateway as fast as it takes them, by wrk."""

    def __init__(self, gateway: Gateway, first: int, connections: int, seconds: float):
        command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds:.0f}s", "--timeout", "30s", "-s", LUA,
                   f"http://127.0.0.1:{gateway.port}", "--", str(first), CODE]
        self.process = Process(command, BOTH, stdout=subprocess.PIPE, text=True)

    def result(self) -> tuple[int, int, float, float, str]:
        """Signed in, refused, milliseconds of an answer in the middle and at 99 %, and the last refusal."""
        said, _ = self.process.popen.communicate()
        line = next((line for line in said.splitlines() if line.startswith("figures ")), None)
        if line is None:
            raise SystemExit(f"wrk: {said}")
        _, verified, refused, middle, slowest, error = line.split(" ", 5)
        return int(verified), int(refused), float(middle), float(slowest), error


class Relay:
    """Stands between a gateway and PostgreSQL: counts round trips, and makes the way as long as one likes."""

    def __init__(self, to: int, delay: float = 0.0):
        self.to, self.delay, self.trips = to, delay, 0
        started = threading.Event()

        async def run() -> None:
            server = await asyncio.start_server(self.relay, "127.0.0.1", 0)
            self.port = server.sockets[0].getsockname()[1]
            started.set()
            await server.serve_forever()

        threading.Thread(target=lambda: asyncio.run(run()), daemon=True).start()
        started.wait()

    async def relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self.to)
        asking = False

        async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter, question: bool) -> None:
            nonlocal asking
            with contextlib.suppress(OSError):
                while piece := await source.read(65536):
                    # A question after an answer begins a round trip.
                    if question and not asking:
                        self.trips += 1
                    asking = question
                    if self.delay:
                        await asyncio.sleep(self.delay / 2)
                    sink.write(piece)
                    await sink.drain()
            sink.close()

        await asyncio.gather(pump(reader, there_writer, True), pump(there_reader, writer, False))


def percentile(times: list[float], percent: float) -> float:
    times = sorted(times)
    return times[min(len(times) - 1, int(len(times) * percent / 100))]


def remove(path: pathlib.Path) -> None:
    shutil.rmtree(path, ignore_errors=True)


__all__ = ["CODE", "Gateway", "Load", "Place", "Postgres", "Relay", "Sqlite", "number", "percentile", "remove", "say"]
