"""Many users and revoked sessions in the store."""

import shutil
import sqlite3

from load import wrk
from machine import say
from proxies import Running, Vestibule
from table import median, number, print_table, ratio

SIZES = (0, 10_000, 1_000_000)


def population(options, site):
    """With so many users and as many revoked sessions in the store, plain HTTP/1.1, 64 kept connections (wrk)"""
    Vestibule(site).cookie()
    states = [state_with(site, size) for size in SIZES]
    with Running([Vestibule(site, state=state) for state in states]) as proxies:
        samples = {size: [] for size in SIZES}
        for _ in range(options.rounds):
            for size, proxy in zip(SIZES, proxies):
                sample = wrk(proxy, options.seconds)
                samples[size].append(sample)
                say(f"  {size}: {sample.rate():.0f}/s {sample.cpu():.1f} µs")
        costs = {size: [s.cpu() for s in mine] for size, mine in samples.items()}
        print_table(
            ["users and revoked sessions", "requests/s", "CPU µs/request", "CPU ÷ none", "memory, MB"],
            [[number(size), number(median([s.rate() for s in samples[size]])), number(median(costs[size]), 1),
              f"{ratio(costs[size], costs[0]):.2f}", number(proxy.process.resident() / 1e6, 1)]
             for size, proxy in zip(SIZES, proxies)])
        options.reached("CPU of a request with 1 000 000 users and revoked sessions ÷ none", 1.05, "≤",
                        ratio(costs[SIZES[-1]], costs[0]))
    for state in states:
        shutil.rmtree(state)


def state_with(site, size):
    """A copy of the signed-in state directory with that many more users, each with a session that was revoked."""
    state = site.copy_of_state(f"with-{size}")
    with sqlite3.connect(state / "vestibule.db") as store:
        now, expires = store.execute("SELECT auth_time, expires_at FROM session LIMIT 1").fetchone()
        store.executemany(
            "INSERT INTO user (name, phone_number, created_at) VALUES (?, ?, ?)",
            ((f"user{n}", f"+1212{n:07}", now) for n in range(size)))
        store.executemany(
            "INSERT INTO session (id, user_id, user_name, method, auth_time, expires_at, last_seen_at, ended, client)"
            " VALUES (?, ?, ?, 'sms', ?, ?, ?, 'revoked', '192.0.2.1')",
            ((f"{n:021}A", n + 2, f"user{n}", now, expires, now) for n in range(size)))
        store.executemany(
            "INSERT INTO change (at, kind, subject) VALUES (?, 'session_ended', ?)",
            ((now, f"{n:021}A revoked") for n in range(size)))
    store.close()
    return state
