"""A real gRPC client and server with the gateway between them: every kind of call, over TLS and without."""

import json
import queue
import shutil
import ssl
import subprocess
import sys
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import grpc
from programs import TARGET, Gateway, Simulator

STAGE = TARGET / "grpc"
CODE = "123456"
PATIENCE = 20
LARGE = bytes(range(256)) * 8_000


class Echo(grpc.GenericRpcHandler):
    """A service whose every method sends back what it gets, and who it was told is asking."""

    def service(self, details):
        kind = details.method.rsplit("/", 1)[-1]
        user = dict(details.invocation_metadata).get("x-forwarded-user", "nobody").encode()

        def one(request, context):
            context.set_trailing_metadata([("x-sum", str(len(request)))])
            return user + b":" + request

        def fail(request, context):
            context.set_trailing_metadata([("x-reason", "because")])
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, "not so: \u00e4 %")

        def many(request, context):
            for number in range(100):
                yield request + str(number).encode()

        def gather(requests, context):
            return b"".join(requests)

        def chat(requests, context):
            for request in requests:
                yield b"re: " + request

        return {
            "One": grpc.unary_unary_rpc_method_handler(one),
            "Fail": grpc.unary_unary_rpc_method_handler(fail),
            "Many": grpc.unary_stream_rpc_method_handler(many),
            "Gather": grpc.stream_unary_rpc_method_handler(gather),
            "Chat": grpc.stream_stream_rpc_method_handler(chat),
        }[kind]


def main() -> int:
    shutil.rmtree(STAGE, ignore_errors=True)
    (STAGE / "state").mkdir(mode=0o700, parents=True)
    make_certificate()
    certificate, key = (STAGE / "certificate.pem").read_bytes(), (STAGE / "key.pem").read_bytes()
    server = grpc.server(ThreadPoolExecutor(16))
    server.add_generic_rpc_handlers([Echo()])
    plain = server.add_insecure_port("127.0.0.1:0")
    secure = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([(key, certificate)]))
    server.start()
    simulator = Simulator(STAGE, "--fixed-code", CODE)
    gateway = Gateway(configuration(simulator, plain, secure), STAGE)
    try:
        address = gateway.program.line(lambda line: " listening address=" in line).split('"')[1]
        gateway.command("user", "add", "alice", "--phone", "+14155550100")
        credentials = grpc.ssl_channel_credentials(certificate)
        for service in ("plain", "secure"):
            with grpc.secure_channel(address, credentials) as channel:
                Calls(channel, f"/{service}.Echo", sign_in(address)).check()
            print(f"tests/grpc: every kind of call passes to the {service} upstream")
    finally:
        gateway.stop()
        simulator.stop()
        server.stop(None)
    return 0


class Calls:
    """Calls of one person's on one channel."""

    def __init__(self, channel, service: str, cookie: str):
        self.channel, self.service, self.cookie = channel, service, cookie

    def check(self) -> None:
        options = {"metadata": [("cookie", self.cookie), ("x-forwarded-user", "mallory")], "timeout": PATIENCE}
        one = self.channel.unary_unary(f"{self.service}/One")
        refused = error_of(lambda: one(b"hello", timeout=PATIENCE))
        assert refused.code() == grpc.StatusCode.UNAUTHENTICATED, refused
        for request in (b"hello", b"", LARGE):
            answer, call = one.with_call(request, **options)
            assert answer == b"alice:" + request, answer[:100]
            assert ("x-sum", str(len(request))) in list(call.trailing_metadata()), call.trailing_metadata()
        failed = error_of(lambda: self.channel.unary_unary(f"{self.service}/Fail")(b"", **options))
        assert failed.code() == grpc.StatusCode.FAILED_PRECONDITION, failed
        assert failed.details() == "not so: \u00e4 %", failed.details()
        assert ("x-reason", "because") in list(failed.trailing_metadata()), failed.trailing_metadata()
        many = self.channel.unary_stream(f"{self.service}/Many")(b"n", **options)
        assert list(many) == [b"n%d" % number for number in range(100)]
        gathered = self.channel.stream_unary(f"{self.service}/Gather")(iter([b"a", LARGE, b"b"]), **options)
        assert gathered == b"a" + LARGE + b"b"
        self.chat(options)
        with ThreadPoolExecutor(50) as pool:
            answers = pool.map(lambda number: one(b"%d" % number, **options), range(500))
            assert list(answers) == [b"alice:%d" % number for number in range(500)]

    def chat(self, options) -> None:
        """Each message is answered before the next one is sent: nothing is gathered on the way."""
        answers = queue.Queue()

        def questions():
            for number in range(10):
                yield b"%d" % number
                assert answers.get(timeout=PATIENCE) == b"re: %d" % number

        for answer in self.channel.stream_stream(f"{self.service}/Chat")(questions(), **options):
            answers.put(answer)
        assert answers.empty()


def error_of(call) -> grpc.RpcError:
    try:
        call()
    except grpc.RpcError as error:
        return error
    raise AssertionError("the call succeeded")


def sign_in(address: str) -> str:
    """Signs alice in by the JSON API; her cookie."""
    context = ssl.create_default_context(cafile=str(STAGE / "certificate.pem"))

    def post(what: str, body: dict):
        url = f"https://{address}/.vestibule/api/otp/{what}"
        headers = {"content-type": "application/json"}
        request = urllib.request.Request(url, json.dumps(body).encode(), headers)
        return urllib.request.urlopen(request, timeout=PATIENCE, context=context)

    started = json.load(post("request", {"phoneNumber": "+14155550100"}))
    answer = post("verify", {"requestId": started["requestId"], "code": CODE})
    return answer.headers["set-cookie"].split(";")[0]


def make_certificate() -> None:
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
         "-addext", "basicConstraints=critical,CA:FALSE",
         "-keyout", str(STAGE / "key.pem"), "-out", str(STAGE / "certificate.pem")],
        check=True, capture_output=True,
    )


def configuration(simulator: Simulator, plain: int, secure: int):
    auth_token = STAGE / "auth_token"
    auth_token.write_text("not a real token")
    auth_token.chmod(0o600)
    config = STAGE / "config.toml"
    config.write_text(f"""
[server]
listen = ["127.0.0.1:0"]
public_url = "https://127.0.0.1"
state_directory = "{STAGE}/state"

[server.tls]
certificate = "{STAGE}/certificate.pem"
private_key = "{STAGE}/key.pem"

[[route]]
path = "/plain.Echo"
upstream = ["h2c://127.0.0.1:{plain}"]

[[route]]
path = "/secure.Echo"
upstream = ["https://127.0.0.1:{secure}"]
upstream_ca = "{STAGE}/certificate.pem"

{simulator.provider(auth_token)}

[limits]
starts_per_number = "10000/1h"

[observe]
listen = "127.0.0.1:0"
""")
    return config


if __name__ == "__main__":
    sys.exit(main())
