"""What a person does in front of a browser, and what they see."""

import re
from dataclasses import dataclass

from playwright.sync_api import Page, expect
from programs import Simulator
from stage import Gateway

CHALLENGE = re.compile(r"/\.vestibule/challenge(\?|$)")
IDENTIFY_HEADING = "Confirm that it is you"
CODE_HEADING = "Enter your code"


@dataclass(frozen=True)
class Person:
    name: str
    phone: str
    simulator: Simulator

    @property
    def phone_as_typed(self) -> str:
        """The way people write a number: +1 (415) 555-0100."""
        return f"{self.phone[:2]} ({self.phone[2:5]}) {self.phone[5:8]}-{self.phone[8:]}"

    def reads_code(self, nth: int = 1) -> str:
        """The code of the nth message to this phone; waits until it has come."""
        return self.simulator.code(self.phone, nth)

    def messages(self) -> int:
        return len(self.simulator.messages(self.phone))


class Tab:
    """One tab of a person's browser."""

    def __init__(self, page: Page, gateway: Gateway):
        self.page = page
        self.origin = gateway.origin
        self._developer_tools = None

    @property
    def phone_field(self):
        return self.page.get_by_label("Phone number")

    @property
    def send_button(self):
        return self.page.get_by_role("button", name="Send me a code")

    @property
    def code_field(self):
        return self.page.locator("input[autocomplete=one-time-code]")

    def open(self, path: str):
        """Types an address of the site into the address bar."""
        return self.page.goto(self.origin + path)

    def is_slow(self, milliseconds: int) -> None:
        """From now on answers take this much longer to arrive; what is sent leaves at once."""
        if self._developer_tools is None:
            self._developer_tools = self.page.context.new_cdp_session(self.page)
            self._developer_tools.send("Network.enable")
        conditions = {"offline": False, "latency": milliseconds, "downloadThroughput": -1, "uploadThroughput": -1}
        self._developer_tools.send("Network.emulateNetworkConditions", conditions)

    def is_asked_who_they_are(self) -> None:
        expect(self.page).to_have_url(CHALLENGE)
        expect(self.page.get_by_role("heading", name=IDENTIFY_HEADING)).to_be_visible()
        expect(self.phone_field).to_be_visible()

    def asks_for_a_code(self, person: Person) -> None:
        self.phone_field.fill(person.phone_as_typed)
        self.send_button.click()
        self.is_asked_for_the_code()

    def is_asked_for_the_code(self) -> None:
        expect(self.page.get_by_role("heading", name=CODE_HEADING)).to_be_visible()
        expect(self.code_field).to_be_visible()

    def enters(self, code: str) -> None:
        self.code_field.fill(code)
        self.page.get_by_role("button", name="Continue").click()

    def signs_in(self, person: Person, path: str, nth_message: int = 1) -> None:
        """The whole way, from the address asked for to the page behind it."""
        self.open(path)
        self.is_asked_who_they_are()
        self.asks_for_a_code(person)
        self.enters(person.reads_code(nth_message))
        self.arrives_at(path)

    def arrives_at(self, path: str) -> None:
        expect(self.page).to_have_url(self.origin + path)

    def sees(self, text: str) -> None:
        expect(self.page.get_by_text(text).first).to_be_visible()


def other_code(code: str) -> str:
    """A code of the same length that is not this one."""
    return code[:-1] + str((int(code[-1]) + 1) % 10)
