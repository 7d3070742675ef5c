"""Memory, size and start."""

import pathlib
import subprocess
import time

from machine import say
from proxies import ALL
from setup import first_answer
from table import median, print_table

STARTS = 7


def footprint(options, site):
    """After start: memory, size of the program without symbols, and time to the first answered request

    The memory is that of all its processes two seconds after its first answer, each shared page counted once. The
    start is that of a gateway that has been set up before; the first answer is the application's, to a signed-in
    person. nginx and HAProxy also load shared libraries, which their size leaves out.
    """
    rows = []
    for kind in ALL:
        proxy = kind(site)
        proxy.cookie()
        starts = [started(proxy) for _ in range(STARTS)]
        proxy.launch()
        first_answer(proxy.port, proxy.request())
        time.sleep(2)
        memory = proxy.process.resident()
        proxy.stop()
        size = stripped_size(site, proxy.binary())
        start = median(starts)
        say(f"  {proxy.name:12} {memory / 1e6:.1f} MB, program {size / 1e6:.1f} MB, first answer after {start:.0f} ms")
        rows.append([f"{proxy.name} ({proxy.what})", f"{memory / 1e6:.1f}", f"{size / 1e6:.1f}", f"{start:.0f}"])
        if kind.ours:
            options.reached("resident memory after start, MB", 15, "≤", memory / 1e6)
            options.reached("stripped binary, MB", 15, "≤", size / 1e6)
            options.reached("start to first answered request, ms", 50, "≤", start)
    print_table(["proxy", "memory, MB", "program, MB", "start to first answer, ms"], rows)


def started(proxy):
    """Milliseconds from its start to its first answer."""
    begun = time.monotonic()
    proxy.launch()
    status = first_answer(proxy.port, proxy.request())
    took = time.monotonic() - begun
    proxy.stop()
    if status != 200:
        raise SystemExit(f"{proxy.name} answers {status}")
    return 1000 * took


def stripped_size(site, program):
    copy = site.directory / "stripped"
    subprocess.run(["strip", "-o", copy, pathlib.Path(program).resolve()], check=True)
    return copy.stat().st_size
