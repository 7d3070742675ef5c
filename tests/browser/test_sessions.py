"""When a session ends, everything it held open ends with it."""

import pytest
from lab import JupyterLab
from person import Person, Tab
from playwright.sync_api import expect
from stage import Gateway

# The gateway promises one second; the rest is for the browser on a busy machine.
SOON_MS = 2_000


@pytest.fixture
def working(tab: Tab, person: Person) -> "Working":
    """A person in the middle of their work: JupyterLab open, a kernel running."""
    tab.signs_in(person, "/static/first.txt")
    lab = JupyterLab(tab.page)
    tab.open(f"/lab/workspaces/{person.name}")
    lab.has_loaded()
    kernel = lab.open_console()
    lab.run("print(6*7)", "42")
    return Working(tab, kernel)


class Working:
    def __init__(self, tab: Tab, kernel):
        self.tab = tab
        self.kernel = kernel

    def is_shut_out(self) -> None:
        """A script gets a plain refusal, the person the challenge page."""
        answer = self.tab.page.evaluate(
            """async () => {
                const answer = await fetch("/api/status");
                return { status: answer.status, type: answer.headers.get("content-type"), body: await answer.text() };
            }"""
        )
        assert answer["status"] == 401, answer
        assert answer["type"].startswith("application/problem+json"), answer
        assert "/.vestibule/challenge" in answer["body"], answer
        self.tab.page.reload()
        self.tab.is_asked_who_they_are()


def test_signing_out_in_another_tab_ends_the_kernels_web_socket(working: Working, gateway: Gateway):
    other_tab = Tab(working.tab.page.context.new_page(), gateway)
    other_tab.open("/.vestibule/account")
    sign_out = other_tab.page.get_by_role("button", name="Sign out")
    expect(sign_out).to_be_visible()

    assert not working.kernel.is_closed()
    with working.kernel.expect_event("close", timeout=SOON_MS):
        sign_out.click()

    other_tab.sees("You are signed out")
    working.is_shut_out()


def test_an_administrator_ends_a_session_and_its_kernels_web_socket(
    working: Working, person: Person, gateway: Gateway
):
    assert not working.kernel.is_closed()
    with working.kernel.expect_event("close", timeout=SOON_MS):
        gateway.command("session", "revoke", "--user", person.name)

    working.is_shut_out()


def test_a_session_that_another_person_loses_leaves_mine_alone(
    working: Working, gateway: Gateway, new_browser, simulator
):
    other = Person("bystander", "+14155550198", simulator)
    gateway.command("user", "add", other.name, "--phone", other.phone)
    other_tab = Tab(new_browser().new_page(), gateway)
    other_tab.signs_in(other, "/static/first.txt")

    gateway.command("session", "revoke", "--user", other.name)
    # A promise is waited for inside the page: a predicate that returns one would count as true at once.
    refused = """async patience => {
        const end = Date.now() + patience;
        while ((await fetch('/static/first.txt')).status !== 401) {
            if (Date.now() > end) throw new Error('still let in');
            await new Promise(later => setTimeout(later, 50));
        }
    }"""
    other_tab.page.evaluate(refused, SOON_MS)
    other_tab.page.reload()
    other_tab.is_asked_who_they_are()

    assert not working.kernel.is_closed()
    assert working.tab.page.evaluate("fetch('/api/status').then(answer => answer.status)") == 200


def test_signing_out_leaves_the_persons_other_browser_signed_in(
    tab: Tab, person: Person, gateway: Gateway, new_browser
):
    other_tab = Tab(new_browser().new_page(), gateway)
    tab.signs_in(person, "/static/first.txt")
    other_tab.signs_in(person, "/static/second.txt", nth_message=2)

    other_tab.open("/.vestibule/account")
    other_tab.page.get_by_role("button", name="Sign out").click()
    other_tab.sees("You are signed out")
    other_tab.open("/static/second.txt")
    other_tab.is_asked_who_they_are()

    tab.page.reload()
    tab.arrives_at("/static/first.txt")
    tab.sees("This is the first file.")


def test_a_cookie_kept_from_before_the_sign_out_is_worth_nothing(
    tab: Tab, person: Person, gateway: Gateway, new_browser
):
    tab.signs_in(person, "/static/first.txt")
    kept = tab.page.context.cookies()
    thief = new_browser()
    thief.add_cookies(kept)
    thief_tab = Tab(thief.new_page(), gateway)
    thief_tab.open("/static/first.txt")
    thief_tab.arrives_at("/static/first.txt")

    tab.open("/.vestibule/account")
    tab.page.get_by_role("button", name="Sign out").click()
    tab.sees("You are signed out")

    thief.clear_cookies()
    thief.add_cookies(kept)
    thief_tab.open("/static/first.txt")
    thief_tab.is_asked_who_they_are()
