"""Runs the scenarios that were asked for, and prints what they found as Markdown."""

import argparse
import datetime
import os
import platform
import re
import sys
import time

import bodies
import connections
import cores
import flood
import footprint
import instructions
import latency
import population
import side_by_side
from machine import output, say
from setup import Site
from table import print_table

SCENARIOS = {
    "plain": side_by_side.plain,
    "tls": side_by_side.tls,
    "http2": side_by_side.http2,
    "instructions": instructions.instructions,
    "instructions-tls": instructions.instructions_tls,
    "instructions-http2": instructions.instructions_http2,
    "instructions-new": instructions.instructions_new,
    "bodies": bodies.bodies,
    "new-tls": connections.new_tls,
    "idle": connections.idle,
    "flood": flood.flood,
    "cores": cores.cores,
    "population": population.population,
    "latency": latency.latency,
    "footprint": footprint.footprint,
}


class Options:
    """How long to measure, and the goals that were measured on the way."""

    def __init__(self, arguments):
        self.rounds, self.seconds = arguments.rounds, arguments.seconds
        self.goals = []

    def reached(self, what, goal, relation, figure):
        """Notes how a figure stands to its goal: `≥` or `≤`."""
        good = figure >= goal if relation == "≥" else figure <= goal
        self.goals.append([what, f"{relation} {goal:g}", f"{figure:.2f}", "yes" if good else "no"])


def main():
    parser = argparse.ArgumentParser(prog="benches/compare", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3, help="of each measurement")
    parser.add_argument("--binary", default="target/release/vestibule")
    parser.add_argument("--list", action="store_true", help="the scenarios, one a line")
    parser.add_argument("scenario", nargs="*", help="all of them unless named")
    arguments = parser.parse_args()
    if arguments.list:
        for name, scenario in SCENARIOS.items():
            print(f"{name:20} {scenario.__doc__.splitlines()[0]}")
        return
    unknown = set(arguments.scenario) - set(SCENARIOS)
    if unknown:
        parser.error(f"no scenario {', '.join(sorted(unknown))}; see --list")
    if not os.access(arguments.binary, os.X_OK):
        parser.error(f"no {arguments.binary}; cargo build --release --locked makes it")
    if os.cpu_count() < 2:
        parser.error("two cores are needed: one for the proxy, one for load and upstream")
    run(arguments, Options(arguments))


def run(arguments, options):
    print_machine(arguments)
    begun = time.monotonic()
    with Site(os.path.abspath(arguments.binary)) as site:
        for name in arguments.scenario or SCENARIOS:
            scenario = SCENARIOS[name]
            say(f"{name} ({time.monotonic() - begun:.0f} s)")
            print(f"### {name}\n\n{scenario.__doc__.strip()}\n", flush=True)
            scenario(options, site)
    if options.goals:
        print("### Goals\n")
        print_table(["what must be reached", "goal", "figure", "reached"], options.goals)
    print(f"Took {(time.monotonic() - begun) / 60:.0f} minutes.")


def print_machine(arguments):
    """What was measured, where and when."""
    model = re.search(r"model name\s*: (.*)", open("/proc/cpuinfo", encoding="utf-8").read())
    versions = [
        output(arguments.binary, "--version").strip(),
        output("nginx", "-v").rpartition("version: ")[2].strip(),
        " ".join(output("haproxy", "-v").splitlines()[0].split()[:3]),
        "Caddy " + output("caddy", "version").strip(),
        output("wrk", "-v").split(" [")[0].strip(),
        output("h2load", "--version").strip(),
        output("valgrind", "--version").strip(),
    ]
    print(f"{datetime.datetime.now(datetime.timezone.utc):%Y-%m-%d %H:%M} UTC, "
          f"Linux {platform.release()}, {os.cpu_count()} cores of {model[1] if model else platform.machine()}; "
          f"{options_text(arguments)}.\n\n{'; '.join(versions)}.\n", flush=True)


def options_text(arguments):
    return f"medians of {arguments.rounds} rounds of {arguments.seconds} s"


if __name__ == "__main__":
    sys.exit(main())
