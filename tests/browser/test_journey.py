"""The main job: a person proves their phone and works with an application that nobody here wrote."""

import os
from urllib.parse import urlsplit

from lab import JupyterLab
from person import Person, Tab, other_code
from playwright.sync_api import expect
from stage import Gateway, Jupyter


def test_a_person_gets_in_with_the_code_sent_to_their_phone(tab: Tab, person: Person, gateway: Gateway):
    lab = JupyterLab(tab.page)
    sockets_before = len(lab.sockets)

    asked = tab.open("/lab?x=1")
    redirected = asked.request.redirected_from
    assert redirected is not None, f"/lab?x=1 answered {asked.status} instead of leading to the challenge page"
    assert redirected.response().status == 303
    assert urlsplit(asked.url).path == "/.vestibule/challenge"
    assert asked.status == 200
    tab.is_asked_who_they_are()
    protocol = tab.page.evaluate("performance.getEntriesByType('navigation')[0].nextHopProtocol")
    assert protocol == "h2", "HTTP/2 is offered in the TLS handshake"
    assert "vestibule" not in cookies_of(tab), "a stranger has no session"

    tab.asks_for_a_code(person)
    code = person.reads_code()
    assert [message["code"] for message in person.simulator.messages(person.phone)] == [code]
    assert person.phone not in tab.page.content(), "the number is shown in full to whoever looks at the screen"

    tab.enters(other_code(code))
    tab.sees("This code is not right")
    tab.is_asked_for_the_code()

    with tab.page.expect_response(gateway.origin + "/lab?x=1") as landed:
        tab.enters(code)
    assert landed.value.status == 200
    lab.has_loaded()
    assert len(lab.sockets) > sockets_before, "JupyterLab opens a WebSocket for its events"
    assert person.messages() == 1

    cookie = cookies_of(tab)["__Host-vestibule"]
    assert cookie["secure"] and cookie["httpOnly"] and cookie["sameSite"] == "Lax" and cookie["path"] == "/"
    assert len(cookie["value"]) < 400


def test_a_file_uploaded_through_the_page_arrives_byte_for_byte(
    tab: Tab, person: Person, jupyter: Jupyter, tmp_path
):
    lab = JupyterLab(tab.page)
    file = tmp_path / "measurements.bin"
    file.write_bytes(os.urandom(5_000_001))
    tab.signs_in(person, "/static/first.txt")

    tab.open("/lab/workspaces/upload")
    lab.has_loaded()
    lab.upload(file)

    assert (jupyter.files / file.name).read_bytes() == file.read_bytes()
    # And back: what the browser downloads is what was sent.
    with tab.page.expect_download() as download:
        tab.page.evaluate(f"location.href = '/files/{file.name}?download=1'")
    assert download.value.path().read_bytes() == file.read_bytes()


def test_a_kernel_computes_over_a_web_socket(tab: Tab, person: Person, gateway: Gateway):
    lab = JupyterLab(tab.page)
    tab.signs_in(person, "/static/first.txt")

    tab.open("/lab/workspaces/kernel")
    lab.has_loaded()
    kernel = lab.open_console()
    lab.run("print(6*7)", "42")

    assert kernel.url.startswith(gateway.origin.replace("https:", "wss:") + "/api/kernels/")
    assert not kernel.is_closed()


def test_the_whole_way_without_javascript(new_browser, gateway: Gateway, person: Person):
    tab = Tab(new_browser(java_script_enabled=False).new_page(), gateway)

    tab.open("/static/first.txt")
    tab.is_asked_who_they_are()
    tab.asks_for_a_code(person)
    tab.enters(other_code(person.reads_code()))
    tab.sees("This code is not right")
    tab.enters(person.reads_code())
    tab.arrives_at("/static/first.txt")
    tab.sees("This is the first file.")

    tab.open("/.vestibule/account")
    tab.sees(f"You are signed in as {person.name}")
    tab.page.get_by_role("button", name="Sign out").click()
    tab.sees("You are signed out")
    tab.open("/static/first.txt")
    tab.is_asked_who_they_are()


def test_the_whole_way_with_the_keyboard_alone(tab: Tab, person: Person):
    keyboard = tab.page.keyboard

    def tab_to(wanted) -> None:
        for _ in range(20):
            if wanted.evaluate("element => element === document.activeElement"):
                break
            keyboard.press("Tab")
        expect(wanted).to_be_focused()
        visible = "element => { const s = getComputedStyle(element);" \
                  " return s.outlineStyle !== 'none' && parseFloat(s.outlineWidth) > 0 || s.boxShadow !== 'none' }"
        assert wanted.evaluate(visible), "nothing on the screen shows where the focus is"

    tab.open("/static/first.txt")
    tab.is_asked_who_they_are()
    tab_to(tab.phone_field)
    keyboard.type("+1 (415) 555-0199")
    tab_to(tab.send_button)
    keyboard.press("Space")
    tab.is_asked_for_the_code()

    tab_to(tab.page.get_by_role("button", name="Use another number"))
    keyboard.press("Enter")
    tab.is_asked_who_they_are()
    tab_to(tab.phone_field)
    keyboard.press("Control+A")
    keyboard.type(person.phone_as_typed)
    keyboard.press("Enter")
    tab.is_asked_for_the_code()

    tab_to(tab.code_field)
    keyboard.type(person.reads_code())
    keyboard.press("Enter")
    tab.arrives_at("/static/first.txt")

    tab.open("/.vestibule/account")
    tab_to(tab.page.get_by_role("button", name="Sign out"))
    keyboard.press("Enter")
    tab.sees("You are signed out")


def cookies_of(tab: Tab) -> dict[str, dict]:
    return {cookie["name"]: cookie for cookie in tab.page.context.cookies()}
