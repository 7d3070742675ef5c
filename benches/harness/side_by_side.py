"""Requests under full load, all proxies in turn."""

from load import h2load, wrk
from machine import say
from proxies import ALL, Running
from table import median, number, print_table, ratio


def rounds(options, proxies, load):
    """Loads each proxy in turn, round after round; gives each one's samples by name."""
    samples = {proxy.name: [] for proxy in proxies}
    for proxy in proxies:
        load(proxy, 1)
    for turn in range(options.rounds):
        for proxy in proxies:
            sample = load(proxy, options.seconds)
            samples[proxy.name].append(sample)
            say(f"  round {turn + 1}: {proxy.name:12} {sample.rate():9.0f}/s {sample.cpu():9.1f} CPU µs each")
    return samples


def full_load(options, site, scheme, load, unit="request"):
    """One table of full load, and the samples by name."""
    with Running([kind(site, scheme) for kind in ALL]) as proxies:
        samples = rounds(options, proxies, load)
        print_table(
            ["proxy", f"{unit}s/s", "vestibule ÷ it", f"CPU µs/{unit}", "user", "kernel", "its CPU ÷ vestibule's",
             "core busy"],
            [full_load_row(proxy, samples) for proxy in proxies])
    return samples


def full_load_row(proxy, samples):
    mine, ours = samples[proxy.name], samples["vestibule"]
    rates = ratio([s.rate() for s in ours], [s.rate() for s in mine])
    costs = ratio([s.cpu() for s in mine], [s.cpu() for s in ours])
    return [f"{proxy.name} ({proxy.what})", number(median([s.rate() for s in mine])), f"{rates:.2f}",
            number(median([s.cpu() for s in mine]), 1), number(median([s.user_cpu() for s in mine]), 1),
            number(median([s.cpu() - s.user_cpu() for s in mine]), 1), f"{costs:.2f}",
            f"{100 * median([s.busy() for s in mine]):.0f} %"]


def plain(options, site):
    """Plain HTTP/1.1, 1 kB answers, 64 kept connections (wrk)"""
    samples = full_load(options, site, "http", wrk)
    rates = {name: [s.rate() for s in mine] for name, mine in samples.items()}
    options.reached("authenticated 1 kB, HTTP/1.1, requests/s ÷ HAProxy + jwt_verify", 2.0, "≥",
                    ratio(rates["vestibule"], rates["HAProxy"]))


def tls(options, site):
    """TLS 1.3, HTTP/1.1, 1 kB answers, 64 kept connections (wrk)"""
    full_load(options, site, "https", wrk)


def http2(options, site):
    """TLS 1.3, HTTP/2, 1 kB answers, 8 kept connections of 8 streams (h2load)"""
    full_load(options, site, "https", lambda proxy, seconds: h2load(proxy, f"-D{seconds}", "-c8", "-m8"))
