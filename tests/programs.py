"""What every stage has: child processes, the simulated provider, the gateway."""

import json
import os
import socket
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
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

    def __init__(self, log_directory: Path, *options: str):
        command = [str(VESTIBULE), "simulate", "twilio", "--listen", "127.0.0.1:0", *options]
        self._program = Program("simulator", command, log_directory)
        self.url = self._program.line(lambda line: line.startswith("listening ")).split()[1]

    def provider(self, auth_token: Path) -> str:
        """Its section of a configuration."""
        return f"""[[provider]]
kind = "twilio"
base_url = "{self.url}"
account_sid = "AC{"0a" * 16}"
auth_token = {{ file = "{auth_token}" }}
service_sid = "VA{"0b" * 16}\""""

    def messages(self, phone: str) -> list[dict]:
        with urllib.request.urlopen(f"{self.url}/simulator/messages", timeout=5) as answer:
            return [message for message in json.load(answer) if message["to"] == phone]

    def code(self, phone: str, nth: int = 1) -> str:
        """The nth code sent to this phone; waits for it."""
        line = self._program.line(lambda line: line.startswith(f"code {phone} "), nth, seconds=10)
        return line.split()[2]

    def stop(self) -> None:
        self._program.stop()


class Gateway:
    """`vestibule serve` on a configuration."""

    def __init__(self, config: Path, log_directory: Path):
        self.config = config
        self.program = Program("gateway", [str(VESTIBULE), "serve", "--config", str(config)], log_directory)

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
