"""Traces: a collector over real HTTP that reads them with OpenTelemetry's own classes, and what may not be in them."""

import http.client
import json
import shutil
import sys
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from programs import TARGET, Gateway, Simulator

STAGE = TARGET / "traces"
CODE = "86420975"
PHONE = "+14155550100"
PATIENCE = 30
THEIRS = "4bf92f3577b34da6a3ce929d0e0e4736"
SECRET = "collector-secret"


class Server:
    """An HTTP server on a port of its own, whose requests wait to be looked at."""

    def __init__(self, answer, port: int = 0):
        self.requests = []
        self.is_over = False
        self._news = threading.Condition()
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                # A connection that was kept outlives its server here.
                if server.is_over:
                    self.close_connection = True
                    return
                with server._news:
                    server.requests.append((self.path, self.headers, body))
                    server._news.notify_all()
                status, kind, text = answer(self.path)
                self.send_response(status)
                self.send_header("content-type", kind)
                self.send_header("content-length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            do_POST = do_GET

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def wait(self, found):
        """What `found` makes of the requests, once it is something."""
        with self._news:
            assert self._news.wait_for(lambda: found(self.requests), PATIENCE), "it did not come"
            return found(self.requests)

    def stop(self):
        self.is_over = True
        self._server.shutdown()
        self._server.server_close()


def collector(port: int = 0) -> Server:
    taken = ExportTraceServiceResponse().SerializeToString()
    return Server(lambda _: (200, "application/x-protobuf", taken), port)


def spans(requests) -> list:
    found = []
    for path, headers, body in requests:
        assert (path, headers["content-type"]) == ("/v1/traces", "application/x-protobuf"), (path, headers)
        assert headers["authorization"] == f"Bearer {SECRET}", headers
        for group in ExportTraceServiceRequest.FromString(body).resource_spans:
            names = attributes(group.resource)
            assert names["service.name"] == "vestibule", names
            found += [span for scope in group.scope_spans for span in scope.spans]
    return found


def attributes(of) -> dict:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in of.attributes}


def pair(trace: str):
    """Finds both spans of a request on this trace."""

    def found(requests):
        ours = {span.kind: span for span in spans(requests) if span.trace_id.hex() == trace}
        if len(ours) < 2:
            return None
        return ours[Span.SPAN_KIND_SERVER], ours[Span.SPAN_KIND_CLIENT]

    return found


def main() -> int:
    shutil.rmtree(STAGE, ignore_errors=True)
    (STAGE / "state").mkdir(mode=0o700, parents=True)
    upstream = Server(lambda path: (503 if path == "/busy" else 200, "text/plain", b"hello"))
    told = collector()
    simulator = Simulator(STAGE, "--fixed-code", CODE)
    gateway = Gateway(configuration(simulator, upstream.port, told.port), STAGE)
    try:
        Stage(gateway, upstream, told).check()
    finally:
        gateway.stop()
        simulator.stop()
        upstream.stop()
    print("tests/traces: spans come whole, of the right trace, and without secrets; without a collector all goes on")
    return 0


class Stage:
    def __init__(self, gateway: Gateway, upstream: Server, told: Server):
        self.gateway, self.upstream, self.told = gateway, upstream, told
        line = gateway.program.line(lambda line: " listening address=" in line)
        self.address = line.split('"')[1]
        gateway.command("user", "add", "alice", "--phone", PHONE)
        line = gateway.program.line(lambda line: "health and metrics are told" in line)
        self.observe = line.split("address=")[1].split()[0]
        self.cookie = self.sign_in()

    def check(self) -> None:
        # Of a trace by which a stranger wants to be known nothing is kept.
        theirs = {"traceparent": f"00-{THEIRS}-00f067aa0ba902b7-01", "tracestate": "evil=1"}
        seen = self.get("/page?token=hidden", theirs)
        assert seen.get_all("tracestate") is None, seen
        server, client = self.is_told(seen)
        assert server.trace_id.hex() != THEIRS and not server.parent_span_id, server
        expected = {
            "http.request.method": "GET",
            "http.response.status_code": 200,
            "http.route": "127.0.0.1/",
            "network.protocol.version": "1.1",
            "url.scheme": "http",
            "vestibule.decision": "forward",
        }
        assert attributes(server) == expected, server
        assert server.name == "GET 127.0.0.1/", server
        assert client.parent_span_id == server.span_id, client
        named = {"server.address": "127.0.0.1", "server.port": self.upstream.port}
        assert attributes(client).items() >= named.items(), client
        assert server.start_time_unix_nano <= client.start_time_unix_nano, (server, client)
        assert client.end_time_unix_nano <= server.end_time_unix_nano, (server, client)

        # A proxy of ours says which one it is, and whether it is wanted.
        seen = self.get("/page", {**theirs, "tracestate": "proxy=1"}, "127.0.0.2")
        assert seen["tracestate"] == "proxy=1", seen
        server, _ = self.is_told(seen)
        assert (server.trace_id.hex(), server.parent_span_id.hex()) == (THEIRS, "00f067aa0ba902b7"), server
        unwanted = {"traceparent": f"00-{'ab' * 16}-00f067aa0ba902b7-00"}
        seen = self.get("/page", unwanted, "127.0.0.2")
        assert seen["traceparent"].startswith(f"00-{'ab' * 16}-") and seen["traceparent"].endswith("-00"), seen

        # What went wrong is told.
        server, client = self.is_told(self.get("/busy", {}, status=503))
        assert attributes(client)["error.type"] == "503" and server.status.code == 2, (server, client)
        self.nothing_hidden_is_told("ab" * 16)
        self.goes_on_without_a_collector()

    def nothing_hidden_is_told(self, unwanted: str) -> None:
        everything = b"".join(body for _, _, body in self.told.requests)
        hidden = [CODE, PHONE, PHONE[1:], "4155550100", "alice", "hidden", "/page", "evil", self.cookie.split("=")[1]]
        for word in [*hidden, "127.0.0.2", SECRET]:
            assert word.encode() not in everything, f"{word} was told"
        assert bytes.fromhex(unwanted) not in everything, "an unwanted trace was told"
        # That of the sign-in is.
        assert any(attributes(span).get("vestibule.decision") == "ours" for span in spans(self.told.requests))

    def goes_on_without_a_collector(self) -> None:
        self.told.stop()
        for _ in range(20):
            self.get("/page", {})
        deadline = time.monotonic() + PATIENCE
        while not self.lost() >= 1:
            assert time.monotonic() < deadline, "losses are counted"
            self.get("/page", {})
            time.sleep(0.1)
        self.gateway.program.line(lambda line: "traces are lost" in line)
        # It is back.
        self.told = collector(self.told.port)
        self.is_told(self.get("/page", {}))
        # What waits at the end is sent then.
        seen = self.get("/last", {})
        self.gateway.stop()
        assert pair(seen["traceparent"].split("-")[1])(self.told.requests), "the last one came"
        self.told.stop()

    def lost(self) -> int:
        with urllib.request.urlopen(f"http://{self.observe}/metrics", timeout=5) as answer:
            lines = answer.read().decode().splitlines()
        return int(next(line for line in lines if line.startswith("vestibule_traces_lost_spans_total ")).split()[1])

    def is_told(self, seen):
        """Both spans of a request, the second of which is the one that the application was told."""
        version, trace, span, flags = seen["traceparent"].split("-")
        assert (version, flags) == ("00", "01"), seen
        server, client = self.told.wait(pair(trace))
        assert client.span_id.hex() == span, (client, seen)
        return server, client

    def get(self, path: str, fields: dict, source: str = "127.0.0.1", status: int = 200):
        """Asks as alice; the fields that the application saw."""
        host, port = self.address.rsplit(":", 1)
        asking = http.client.HTTPConnection(host, int(port), timeout=PATIENCE, source_address=(source, 0))
        asking.request("GET", path, headers={"host": "127.0.0.1", "cookie": self.cookie, **fields})
        answer = asking.getresponse()
        answer.read()
        assert answer.status == status, (answer.status, path)
        asking.close()
        return self.upstream.requests[-1][1]

    def sign_in(self) -> str:
        def post(what: str, body: dict):
            url = f"http://{self.address}/.vestibule/api/otp/{what}"
            headers = {"content-type": "application/json", "host": "127.0.0.1"}
            request = urllib.request.Request(url, json.dumps(body).encode(), headers)
            return urllib.request.urlopen(request, timeout=PATIENCE)

        with post("request", {"phoneNumber": PHONE}) as answer:
            challenge = json.load(answer)["requestId"]
        with post("verify", {"requestId": challenge, "code": CODE}) as answer:
            cookies = answer.headers.get_all("set-cookie")
        return next(cookie for cookie in cookies if cookie.startswith("vestibule=")).split(";")[0]


def configuration(simulator: Simulator, upstream: int, told: int):
    (STAGE / "token").write_text("simulated\n")
    (STAGE / "authorization").write_text(f"Bearer {SECRET}\n")
    for secret in ("token", "authorization"):
        (STAGE / secret).chmod(0o600)
    config = STAGE / "config.toml"
    config.write_text(f"""
[server]
listen = ["127.0.0.1:0"]
public_url = "http://127.0.0.1"
state_directory = "{STAGE}/state"
trusted_proxies = ["127.0.0.2"]

[[route]]
host = "127.0.0.1"
upstream = ["http://127.0.0.1:{upstream}"]

{simulator.provider(STAGE / "token")}

[observe]
listen = "127.0.0.1:0"

[traces]
endpoint = "http://127.0.0.1:{told}/v1/traces"
authorization = {{ file = "{STAGE}/authorization" }}
sample = 1.0
""")
    return config


if __name__ == "__main__":
    sys.exit(main())
