"""Load, from wrk and h2load on the load core, and what it cost the proxy."""

import dataclasses
import re
import subprocess
import tempfile

from machine import LOAD_CORE, on_cores

UNITS = {"": 1, "K": 1024, "M": 1024**2, "G": 1024**3}


@dataclasses.dataclass
class Sample:
    """One measurement of one proxy."""

    requests: int
    seconds: float
    user: float
    kernel: float
    received: float = 0.0

    def rate(self):
        """Requests per second."""
        return self.requests / self.seconds

    def cpu(self):
        """CPU microseconds for one request."""
        return 1e6 * (self.user + self.kernel) / self.requests

    def user_cpu(self):
        return 1e6 * self.user / self.requests

    def busy(self):
        """The part of the time that the proxy's core was busy with it."""
        return (self.user + self.kernel) / self.seconds


def wrk(proxy, seconds, connections=64, path="/page", headers=(), signed_in=True, expect_errors=False):
    """HTTP/1.1, each connection asking again as soon as it has its answer."""
    fields = [f"cookie: {proxy.cookie()}"] if signed_in else []
    arguments = [word for field in (*fields, *headers) for word in ("-H", field)]
    before = proxy.process.cpu()
    seen = run(["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "30s", *arguments, proxy.url(path)])
    after = proxy.process.cpu()
    if not expect_errors and ("Non-2xx" in seen or "Socket errors" in seen):
        raise SystemExit(f"{proxy.name} answered with errors:\n{seen}")
    counted = re.search(r"(\d+) requests in ([\d.]+)(m?s|m), ([\d.]+)([KMG]?)B read", seen)
    elapsed = float(counted[2]) * (60 if counted[3] == "m" else 1)
    return Sample(int(counted[1]), elapsed, after[0] - before[0], after[1] - before[1],
                  float(counted[4]) * UNITS[counted[5]])


def h2load(proxy, *arguments, path="/page"):
    """h2load with these arguments, signed in."""
    before = proxy.process.cpu()
    seen = run(["h2load", "-t1", *map(str, arguments), "-H", f"cookie: {proxy.cookie()}", proxy.url(path)])
    after = proxy.process.cpu()
    elapsed = re.search(r"finished in ([\d.]+)(us|ms|s|m),", seen)
    scale = {"us": 1e-6, "ms": 1e-3, "s": 1, "m": 60}[elapsed[2]]
    done, good = re.search(r"(\d+) succeeded", seen)[1], re.search(r"(\d+) 2xx", seen)[1]
    if int(good) < 0.99 * int(done) or int(good) == 0:
        raise SystemExit(f"{proxy.name} answered with errors:\n{seen}")
    return Sample(int(good), float(elapsed[1]) * scale, after[0] - before[0], after[1] - before[1])


def paced(proxy, rate, seconds, connections=64):
    """HTTP/1.1 at a fixed rate (h2load --rps); gives each answer's milliseconds, sorted."""
    with tempfile.NamedTemporaryFile() as log:
        h2load(proxy, "--h1", f"-c{connections}", f"-D{seconds}", f"--rps={rate / connections:.2f}",
               f"--log-file={log.name}")
        rows = [line.split("\t") for line in open(log.name, encoding="ascii")]
    return sorted(int(row[2]) / 1000 for row in rows if row[1] == "200")


def run(command):
    """What a load generator prints."""
    done = subprocess.run(on_cores(LOAD_CORE, command), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          check=False, timeout=300)
    if done.returncode != 0:
        raise SystemExit(f"{command[0]} failed:\n{done.stdout}")
    return done.stdout
