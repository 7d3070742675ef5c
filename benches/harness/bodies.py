"""Large bodies: what a megabyte costs."""

from load import wrk
from machine import say
from proxies import ALL, Running
from setup import MEGABYTE
from table import median, number, print_table, ratio


def bodies(options, site):
    """Large answers, plain HTTP/1.1 (wrk): CPU for each megabyte (10^6 bytes)"""
    with Running([kind(site) for kind in ALL]) as proxies:
        for path, size, connections in (("/1mb", "1 MB", 16), ("/100mb", "100 MB", 4)):
            costs = {proxy.name: [] for proxy in proxies}
            rates = {proxy.name: [] for proxy in proxies}
            for _ in range(options.rounds):
                for proxy in proxies:
                    sample = wrk(proxy, options.seconds, connections, path)
                    megabytes = sample.received / MEGABYTE
                    costs[proxy.name].append(1000 * (sample.user + sample.kernel) / megabytes)
                    rates[proxy.name].append(megabytes / sample.seconds)
                    say(f"  {size}: {proxy.name:12} {rates[proxy.name][-1]:7.0f} MB/s {costs[proxy.name][-1]:6.3f} ms/MB")
            print_table(
                [f"{size} bodies", "MB/s", "CPU ms/MB", "vestibule's CPU ÷ its"],
                [[f"{proxy.name} ({proxy.what})", number(median(rates[proxy.name])),
                  number(median(costs[proxy.name]), 3), f"{ratio(costs['vestibule'], costs[proxy.name]):.2f}"]
                 for proxy in proxies])
            if size == "1 MB":
                options.reached("CPU per MB of a 1 MB body, plain, ÷ HAProxy", 1.0, "≤",
                                ratio(costs["vestibule"], costs["HAProxy"]))
