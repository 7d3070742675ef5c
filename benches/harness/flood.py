"""Strangers in numbers: what turning them away costs."""

from load import wrk
from machine import say
from proxies import Running, Vestibule
from setup import first_answer
from table import median, number, print_table

KINDS = [
    (303, "to the challenge (a page, no cookie)", "/page", ["accept: text/html"]),
    (401, "a problem document (a program, no cookie)", "/page", []),
    (401, "the same, for a cookie that is no token of ours", "/page", ["cookie: vestibule=" + "x" * 300]),
    (200, "the challenge page itself", "/.vestibule/challenge", ["accept: text/html"]),
]


def flood(options, site):
    """Strangers under full load, plain HTTP/1.1, 64 kept connections (wrk; vestibule alone)"""
    with Running([Vestibule(site)]) as (proxy,):
        rows = []
        for status, words, path, headers in KINDS:
            expect(proxy, status, path, headers)
            samples = [
                wrk(proxy, options.seconds, path=path, headers=headers, signed_in=False, expect_errors=True)
                for _ in range(options.rounds)
            ]
            rows.append([f"{status} {words}", number(median([s.rate() for s in samples])),
                         number(median([s.cpu() for s in samples]), 1),
                         f"{100 * median([s.busy() for s in samples]):.0f} %"])
            say(f"  {words}: {rows[-1][1]}/s")
        print_table(["answer", "requests/s", "CPU µs each", "core busy"], rows)


def expect(proxy, status, path, headers):
    """Makes sure that it is this answer that is measured."""
    fields = "".join(f"{field}\r\n" for field in headers)
    request = f"GET {path} HTTP/1.1\r\nhost: 127.0.0.1:{proxy.port}\r\n{fields}\r\n".encode()
    answered = first_answer(proxy.port, request)
    if answered != status:
        raise SystemExit(f"{path} was answered {answered}, not {status}")
