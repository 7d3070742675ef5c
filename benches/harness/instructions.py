"""Instructions for one request or connection.

Where the kernel counts them (perf), both its own and the program's. Where it does not, the program's alone, under
valgrind: the count of N requests is taken from that of 2 N, so that start, the first look-up of the session and the end
cancel out. Every proxy then runs as one process, and the same single-threaded h2load asks for the same number.
"""

import pathlib
import re
import subprocess
import tempfile
import time

from load import h2load
from machine import output, say
from proxies import Haproxy, Nginx, Running, Vestibule
from table import number, print_table

KINDS = (Vestibule, Nginx, Haproxy)
EVENTS = ("instructions:u", "instructions:k")
TAKEN_TWICE = 3

KEPT = ("--h1", "-c64")
STREAMS = ("-c8", "-m8")


def perf_counts():
    """Whether the kernel counts instructions here."""
    seen = output("perf", "stat", "-x,", "-e", EVENTS[0], "true") if output("which", "perf").strip() else ""
    return bool(re.match(r"\d+,", seen))


def under_valgrind(site, kind, scheme, requests, arguments):
    """User instructions of a whole run in which so many requests are answered."""
    with tempfile.TemporaryDirectory() as directory:
        file = f"--callgrind-out-file={directory}/counts"
        proxy = kind(site, scheme, wrap=["valgrind", "-q", "--tool=callgrind", file])
        try:
            proxy.start()
            until_quiet(proxy)
            ask(proxy, requests, arguments)
        finally:
            proxy.stop()
        totals = [re.findall(r"^totals: (\d+)", one.read_text(), re.M) for one in pathlib.Path(directory).iterdir()]
        return sum(int(total) for found in totals for total in found)


def until_quiet(proxy):
    """Waits until what it does behind the first answer is done, too."""
    quiet, used = 0, sum(proxy.process.cpu())
    while quiet < 3:
        time.sleep(0.5)
        before, used = used, sum(proxy.process.cpu())
        quiet = quiet + 1 if used - before < 0.02 else 0


def ask(proxy, requests, arguments):
    """One request on each of `requests` connections, or that many over the connections the arguments name."""
    new = [f"-c{requests}"] if "new" in arguments else []
    h2load(proxy, f"-n{requests}", *new, *[one for one in arguments if one != "new"])


def by_valgrind(site, kind, scheme, requests, arguments):
    once, twice = (under_valgrind(site, kind, scheme, n * requests, arguments) for n in (1, 2))
    return (twice - once) / requests


def by_perf(site, kind, scheme, requests, arguments):
    """User and kernel instructions of one."""
    with Running([kind(site, scheme)]) as (proxy,), tempfile.NamedTemporaryFile("r") as file:
        until_quiet(proxy)
        ask(proxy, requests, arguments)
        pids = ",".join(map(str, proxy.process.family()))
        counter = subprocess.Popen(["perf", "stat", "-x,", "-o", file.name, "-e", ",".join(EVENTS), "-p", pids])
        time.sleep(0.3)
        ask(proxy, requests, arguments)
        counter.send_signal(2)
        counter.wait(10)
        counted = [int(line.split(",")[0]) for line in file if re.match(r"\d+,", line)]
        return counted[0] / requests, counted[1] / requests


def table(site, options, scheme, requests, arguments, goals):
    """One table, and how its figures stand to the goals: (words, proxy, at most)."""
    perf = perf_counts()
    counts = {}
    for kind in KINDS:
        if perf:
            user, kernel = by_perf(site, kind, scheme, requests * 5, arguments)
        else:
            user, kernel = by_valgrind(site, kind, scheme, requests, arguments), None
        counts[kind.name] = (user, kernel)
        say(f"  {kind.name:12} user {user:10.0f}" + (f" kernel {kernel:10.0f}" if perf else ""))
    all_of = {name: user + (kernel or 0) for name, (user, kernel) in counts.items()}
    ours = all_of["vestibule"]
    rows = [[f"{kind.name} ({kind.what})", number(counts[kind.name][0]),
             number(counts[kind.name][1]) if perf else "not counted here", f"{ours / all_of[kind.name]:.2f}"]
            for kind in KINDS]
    if not perf:
        print("This kernel counts no instructions (perf): these are the user's part, by callgrind.\n")
    print_table(["proxy", "user instructions", "kernel instructions", "vestibule ÷ it"], rows)
    which = "" if perf else ", user part only"
    for what, name, most in goals:
        options.reached(f"instructions per {what} ÷ {name}{which}", most, "≤", ours / all_of[name])


def instructions(options, site):
    """Instructions for one request, plain HTTP/1.1, 1 kB, 64 kept connections"""
    table(site, options, "http", 3000, KEPT, [("request", "nginx", 1.05)])


def instructions_tls(options, site):
    """Instructions for one request over TLS 1.3, HTTP/1.1, 1 kB, 64 kept connections"""
    table(site, options, "https", 3000, KEPT, [("request, TLS HTTP/1.1", "HAProxy", 0.55),
                                               ("request, TLS HTTP/1.1", "nginx", 1.0)])


def instructions_http2(options, site):
    """Instructions for one request over TLS 1.3, HTTP/2, 1 kB, 8 kept connections of 8 streams"""
    table(site, options, "https", 3000, STREAMS, [("request, TLS HTTP/2", "HAProxy", 0.75),
                                                  ("request, TLS HTTP/2", "nginx", 1.0)])


def instructions_new(options, site):
    """Instructions for one new TLS 1.3 connection (full handshake, one request, close)"""
    table(site, options, "https", 200, ("--h1", "new"), [("new TLS connection", "HAProxy", 0.5),
                                                         ("new TLS connection", "nginx", 2.0)])
