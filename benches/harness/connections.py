"""New TLS connections, and connections that wait."""

import gc
import socket
import ssl
import time

from load import wrk
from machine import say
from proxies import ALL, IDLE, Running
from side_by_side import full_load
from table import number, print_table

# Seconds after which nothing more is done for a connection that has become idle.
SETTLED = 5


def new_tls(options, site):
    """New TLS 1.3 connections: a full handshake, one 1 kB answer and the end, 32 at a time (wrk)"""
    full_load(options, site, "https", new_connections, unit="connection")


def new_connections(proxy, seconds):
    return wrk(proxy, seconds, 32, headers=["connection: close"])


def idle(options, site):
    """Idle connections: memory of each after one signed-in request (proportional set size)"""
    for scheme, words in (("http", "plain"), ("https", "TLS 1.3")):
        rows = []
        for kind in ALL:
            with Running([kind(site, scheme)]) as (proxy,):
                each, kept = memory_each(proxy)
                say(f"  {words}: {proxy.name:12} {each / 1000:.1f} kB")
                rows.append([f"{proxy.name} ({proxy.what})", number(kept), f"{each / 1000:.1f}"])
                if kind.ours and scheme == "http":
                    options.reached("memory per idle plain keep-alive connection, kB", 10, "≤", each / 1000)
        print_table([f"{words}, HTTP/1.1", "connections", "kB each"], rows)


def memory_each(proxy):
    """Bytes that each idle connection takes, and how many were still open when that was read."""
    clients = [opened(proxy) for _ in range(100)]  # the first ones make what all share
    time.sleep(SETTLED)
    before = proxy.process.resident()
    clients += [opened(proxy) for _ in range(IDLE - len(clients))]
    time.sleep(SETTLED)
    after = proxy.process.resident()
    kept = sum(is_open(client) for client in clients)
    for client in clients:
        client.close()
    gc.collect()
    return (after - before) / (len(clients) - 100), kept


def opened(proxy):
    """A connection that has been used once."""
    client = socket.create_connection(("127.0.0.1", proxy.port), timeout=30)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if proxy.tls():
        client = proxy.tls().wrap_socket(client, server_hostname="127.0.0.1")
    client.sendall(proxy.request())
    got = b""
    while not got.endswith(b"x" * 1024):
        piece = client.recv(65536)
        if not piece:
            raise SystemExit(f"{proxy.name} closed a connection: {got[:200]}")
        got += piece
    client.setblocking(False)
    return client


def is_open(client):
    try:
        return client.recv(1) != b""
    except (BlockingIOError, ssl.SSLWantReadError):
        return True
    except OSError:
        return False
