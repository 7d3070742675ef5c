"""The proxies that are compared, each started by one class."""

import os
import resource
import subprocess

from machine import BOTH, PROXY_CORE, Process
from setup import first_answer, free_port

# So many idle connections, where the limit of open files allows it: HAProxy wants room for two files each.
FILES = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
IDLE = min(10_000, (FILES - 1_000) // 2)


class Proxy:
    """One proxy under test. `wrap` is a command it runs under (valgrind); `workers` its threads or processes."""

    name = what = command_name = ""
    ours = False

    def __init__(self, site, scheme="http", workers=1, wrap=(), **more):
        self.site, self.scheme, self.workers, self.wrap, self.more = site, scheme, workers, tuple(wrap), more
        self.port = free_port()
        self.process = None

    def start(self):
        """Starts it and waits for its first answer to a signed-in person."""
        self.launch()
        status = first_answer(self.port, self.request(), self.tls(), patience=120 if self.wrap else 30)
        if status != 200:
            self.stop()
            raise SystemExit(f"{self.name} answers {status}")
        return self

    def launch(self):
        """Starts it and waits for nothing."""
        cores = BOTH if self.workers > 1 else PROXY_CORE
        more = {"stderr": subprocess.DEVNULL} if self.wrap or isinstance(self, Caddy) else {}
        environment = {**os.environ, **self.environment()}
        self.process = Process([*self.wrap, *self.command()], cores, env=environment, **more)

    def stop(self):
        """Stops it."""
        if self.process:
            self.process.stop(60 if self.wrap else 10)

    def url(self, path="/page"):
        """Where a path is asked for."""
        return f"{self.scheme}://127.0.0.1:{self.port}{path}"

    def cookie(self):
        """The cookie field's value for a signed-in person."""
        return self.site.cookie(self.scheme, self.ours)

    def request(self, path="/page"):
        """A whole request of a signed-in person."""
        return f"GET {path} HTTP/1.1\r\nhost: 127.0.0.1:{self.port}\r\ncookie: {self.cookie()}\r\n\r\n".encode()

    def tls(self):
        """How a client of the standard library speaks TLS with it, if it does."""
        return self.site.client_tls if self.scheme == "https" else None

    def environment(self):
        return {}


class Vestibule(Proxy):
    name, what, ours = "vestibule", "session checked, user told", True

    def command(self):
        self.cookie()  # signs in first, when nobody has
        config = self.site.vestibule_config(self.scheme, self.port, self.workers, state=self.more.get("state"))
        return [self.site.binary, "serve", "--config", config]

    def binary(self):
        return self.site.binary


class Nginx(Proxy):
    name, what = "nginx", "no check"

    def command(self):
        tls = self.scheme == "https"
        config = self.site.write(
            "nginx.conf", f"nginx-{self.port}.conf", name=f"nginx-{self.port}", port=self.port,
            workers=self.workers, master="off" if self.wrap else "on", connections=2 * IDLE,
            upstream=self.site.upstream_port,
            tls="ssl http2" if tls else "",
            certificate=f"ssl_certificate {self.site.certificate}; ssl_certificate_key {self.site.key}; "
                        "ssl_protocols TLSv1.2 TLSv1.3;" if tls else "")
        return ["nginx", "-c", config]

    def binary(self):
        return "/usr/sbin/nginx"


class Haproxy(Proxy):
    name, what = "HAProxy", "jwt_verify, user told"

    def command(self):
        name = self.cookie().partition("=")[0]
        tls = f"ssl crt {self.site.directory}/both.pem alpn h2,http/1.1" if self.scheme == "https" else ""
        config = self.site.write("haproxy.cfg", f"haproxy-{self.port}.cfg", port=self.port, workers=self.workers,
                                 cookie=name, secret=self.site.secret, tls=tls, upstream=self.site.upstream_port,
                                 connections=IDLE + 200)
        return ["haproxy", "-f", config]

    def binary(self):
        return "/usr/sbin/haproxy"


class Caddy(Proxy):
    name, what = "Caddy", "no check"

    def command(self):
        certificate = f"tls {self.site.certificate} {self.site.key}" if self.scheme == "https" else ""
        config = self.site.write("Caddyfile", f"Caddyfile-{self.port}", scheme=self.scheme, port=self.port,
                                 certificate=certificate, upstream=self.site.upstream_port)
        return ["caddy", "run", "--adapter", "caddyfile", "--config", config]

    def environment(self):
        home = str(self.site.directory)
        return {"GOMAXPROCS": str(self.workers), "XDG_DATA_HOME": home, "XDG_CONFIG_HOME": home, "HOME": home}

    def binary(self):
        return "/usr/bin/caddy"


ALL = (Vestibule, Nginx, Haproxy, Caddy)


class Running:
    """Proxies that run side by side, each waiting while another is measured."""

    def __init__(self, proxies):
        self.proxies = proxies

    def __enter__(self):
        try:
            for proxy in self.proxies:
                proxy.start()
        except BaseException:
            self.__exit__()
            raise
        return self.proxies

    def __exit__(self, *_):
        for proxy in self.proxies:
            proxy.stop()
