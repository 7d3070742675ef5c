"""The gateway's own pages: looked at in both sizes and colour schemes, and checked for accessibility."""

import pytest
from axe_playwright_python.sync_playwright import Axe
from conftest import SCREENSHOTS
from person import Person, Tab, other_code
from stage import Gateway

SIZES = {"phone": (360, 740), "desktop": (1280, 800)}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_every_page_is_accessible_and_fits(size: str, scheme: str, new_browser, gateway: Gateway, person: Person):
    width, height = SIZES[size]
    context = new_browser(viewport={"width": width, "height": height}, color_scheme=scheme)
    tab = Tab(context.new_page(), gateway)
    complaints: list[str] = []
    tab.page.on("console", lambda message: complaints.append(f"console: {message.text} ({message.location['url']})")
                if message.type in ("error", "warning") and "/.vestibule/" in message.location["url"] + tab.page.url
                and "status of" not in message.text else None)

    def look(name: str, heading: str) -> None:
        tab.page.get_by_role("heading", name=heading, level=1).wait_for()
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        tab.page.screenshot(path=SCREENSHOTS / f"{name}-{size}-{scheme}.png", full_page=True)
        overflow = tab.page.evaluate("document.scrollingElement.scrollWidth - innerWidth")
        if overflow > 0:
            complaints.append(f"{name}: {overflow} px wider than the screen")
        for violation in Axe().run(tab.page).response["violations"]:
            where = ", ".join(node["html"] for node in violation["nodes"])
            complaints.append(f"{name}: {violation['id']}: {violation['help']}: {where}")

    tab.open("/static/first.txt")
    look("identify", "Confirm that it is you")
    tab.phone_field.fill("12")
    tab.send_button.click()
    tab.page.get_by_role("alert").wait_for()
    look("identify_error", "Confirm that it is you")
    tab.asks_for_a_code(person)
    look("code", "Enter your code")
    tab.enters(other_code(person.reads_code()))
    tab.page.get_by_role("alert").wait_for()
    look("wrong_code", "Enter your code")
    tab.enters(person.reads_code())
    tab.arrives_at("/static/first.txt")

    tab.open("/.vestibule/account")
    look("account", f"You are signed in as {person.name}")
    tab.open("/down/for/maintenance")
    look("problem", "The application cannot be reached")
    tab.open("/.vestibule/account")
    tab.page.get_by_role("button", name="Sign out").click()
    look("signed_out", "You are signed out")

    # A form of the application, sent after its session has ended.
    tab.page.set_content(f"<form method=post action='{gateway.origin}/save'><button>Save</button></form>")
    with tab.page.expect_navigation() as saved:
        tab.page.get_by_role("button", name="Save").click()
    assert saved.value.status == 401
    look("session_ended", "Your session had ended")

    assert not complaints, "\n".join(complaints)
