"""The stage is set once; every test gets a person of its own and browsers without cookies."""

import itertools
import os
import re
import shutil
from collections.abc import Callable, Iterator

import pytest
from person import Person, Tab
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright
from programs import TARGET, VESTIBULE, Simulator
from stage import Gateway, Jupyter

CHROMIUM = os.environ.get("CHROMIUM_BIN", "/usr/bin/chromium")
CHROMIUM_OPTIONS = [
    "--no-sandbox",  # its sandbox does not start for root or in containers
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
LOGS = TARGET / "browser-logs"
SCREENSHOTS = TARGET / "screenshots"

expect.set_options(timeout=10_000)
running: list[Gateway] = []  # for the report of a failed test


@pytest.fixture(scope="session")
def simulator() -> Iterator[Simulator]:
    if not VESTIBULE.exists():
        pytest.exit(f"no gateway at {VESTIBULE}: run `cargo build` first, or set VESTIBULE_BIN", returncode=2)
    shutil.rmtree(LOGS, ignore_errors=True)
    LOGS.mkdir(parents=True)
    simulator = Simulator(LOGS)
    yield simulator
    simulator.stop()


@pytest.fixture(scope="session")
def jupyter(simulator: Simulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Jupyter]:
    jupyter = Jupyter(tmp_path_factory.mktemp("jupyter"), LOGS)
    yield jupyter
    jupyter.stop()


@pytest.fixture(scope="session")
def gateway(jupyter: Jupyter, simulator: Simulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    gateway = Gateway(tmp_path_factory.mktemp("gateway") / "etc", LOGS, jupyter, simulator)
    running.append(gateway)
    yield gateway
    running.remove(gateway)
    gateway.stop()


@pytest.fixture(scope="session")
def browser(gateway: Gateway) -> Iterator[Browser]:
    # Exactly our certificate is trusted: any other TLS fault still stops the browser.
    trust = f"--ignore-certificate-errors-spki-list={gateway.key_pin}"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[*CHROMIUM_OPTIONS, trust])
        yield browser
        browser.close()


_names = itertools.chain(["alice"], (f"person{n}" for n in itertools.count(1)))
_phones = (f"+1415555{n:04}" for n in range(100, 200))  # the block reserved for fiction


@pytest.fixture
def person(gateway: Gateway, simulator: Simulator) -> Person:
    """Somebody new whom the gateway knows, so that no test meets the limits or sessions of another."""
    person = Person(next(_names), next(_phones), simulator)
    gateway.command("user", "add", person.name, "--phone", person.phone)
    return person


@pytest.fixture
def new_browser(browser: Browser, request: pytest.FixtureRequest) -> Iterator[Callable[..., BrowserContext]]:
    """Makes browsers that share nothing with each other, like those of two machines."""
    contexts: list[BrowserContext] = []

    def make(**options) -> BrowserContext:
        contexts.append(browser.new_context(**options))
        return contexts[-1]

    yield make
    failed = getattr(request.node, "failed", False)
    for number, page in enumerate(page for context in contexts for page in context.pages):
        if failed and not page.is_closed():
            SCREENSHOTS.mkdir(parents=True, exist_ok=True)
            name = re.sub(r"\W+", "-", request.node.name)
            page.screenshot(path=SCREENSHOTS / f"failed-{name}-{number}.png")
    for context in contexts:
        context.close()


@pytest.fixture
def page(new_browser: Callable[..., BrowserContext]) -> Page:
    return new_browser().new_page()


@pytest.fixture
def tab(page: Page, gateway: Gateway) -> Tab:
    return Tab(page, gateway)


def pytest_runtest_setup(item: pytest.Item) -> None:
    item.gateway_lines_before = len(running[0].program.lines) if running else 0


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item):
    """A failed test shows what the gateway said meanwhile."""
    report = yield
    if report.failed:
        item.failed = True
        if running:
            said = running[0].program.tail(item.gateway_lines_before)
            report.sections.append(("what the gateway said", said))
    return report
