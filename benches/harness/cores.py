"""One core and two."""

from load import wrk
from machine import say
from proxies import Haproxy, Nginx, Running, Vestibule
from table import median, number, print_table, ratio


def cores(options, site):
    """One worker and two, plain HTTP/1.1, 64 kept connections (wrk)

    With two workers the proxy has both cores and shares one with load and upstream, where the machine has no third:
    requests/s then show the load generator's limit. Whether the workers get in each other's way shows in the CPU
    time of a request: the capacity of two is twice that of one as far as it stays the same.
    """
    rows = []
    for kind in (Vestibule, Nginx, Haproxy):
        # Two gateways never run on one store.
        own = {"state": site.copy_of_state("two-cores")} if kind.ours else {}
        with Running([kind(site, workers=1), kind(site, workers=2, **own)]) as (one, two):
            samples = {1: [], 2: []}
            for _ in range(options.rounds):
                for workers, proxy in ((1, one), (2, two)):
                    samples[workers].append(wrk(proxy, options.seconds))
        for workers, mine in samples.items():
            rows.append([f"{kind.name}, {workers}", number(median([s.rate() for s in mine])),
                         number(median([s.cpu() for s in mine]), 1), f"{100 * median([s.busy() for s in mine]):.0f} %"])
        costs = {workers: [s.cpu() for s in mine] for workers, mine in samples.items()}
        capacity = 2 * ratio(costs[1], costs[2])
        rows[-1].append(f"{capacity:.2f}")
        rows[-2].append("1.00")
        say(f"  {kind.name}: {capacity:.2f} ×")
        if kind.ours:
            options.reached("two cores against one, by CPU time of a request", 1.8, "≥", capacity)
    print_table(["proxy, workers", "requests/s", "CPU µs/request", "cores busy", "capacity by CPU time"], rows)
