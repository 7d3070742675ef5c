"""How long answers take when the proxy is half as busy as it can be."""

from load import paced, wrk
from machine import say
from proxies import ALL, Running
from table import median, number, print_table, ratio


def latency(options, site):
    """Latency at half load, plain HTTP/1.1, 64 connections (h2load --rps, its log of each answer)

    First all proxies at one rate, half of HAProxy's maximum; then each at half of its own maximum. The maximum is that
    of wrk just before, and where the load generator was the limit, half of that limit.
    """
    with Running([kind(site) for kind in ALL]) as proxies:
        most = {proxy.name: wrk(proxy, options.seconds).rate() for proxy in proxies}
        same = compare(options, proxies, {proxy.name: most["HAProxy"] / 2 for proxy in proxies}, "same rate")
        compare(options, proxies, {name: rate / 2 for name, rate in most.items()}, "half of its own maximum")
        options.reached("p99 at half of HAProxy's maximum ÷ HAProxy", 1.0, "≤",
                        ratio(same["vestibule"], same["HAProxy"]))


def compare(options, proxies, rates, words):
    """One table; gives each one's p99 round by round."""
    middle = {proxy.name: [] for proxy in proxies}
    tail = {proxy.name: [] for proxy in proxies}
    for _ in range(options.rounds):
        for proxy in proxies:
            times = paced(proxy, rates[proxy.name], options.seconds)
            middle[proxy.name].append(times[len(times) // 2])
            tail[proxy.name].append(times[len(times) * 99 // 100])
            say(f"  {proxy.name:12} p50 {middle[proxy.name][-1]:.2f} ms, p99 {tail[proxy.name][-1]:.2f} ms")
    print_table(
        [words, "requests/s", "p50 ms", "p99 ms", "vestibule's p99 ÷ its"],
        [[f"{proxy.name} ({proxy.what})", number(rates[proxy.name]), f"{median(middle[proxy.name]):.2f}",
          f"{median(tail[proxy.name]):.2f}", f"{ratio(tail['vestibule'], tail[proxy.name]):.2f}"]
         for proxy in proxies])
    return tail
