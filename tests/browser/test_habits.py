"""What people do without thinking: back, reload, double click, two tabs, another browser."""

import re

import pytest
from person import Person, Tab
from playwright.sync_api import Request, expect
from stage import Gateway


def test_a_double_click_sends_one_message(tab: Tab, person: Person):
    tab.open("/static/first.txt")
    tab.phone_field.fill(person.phone_as_typed)
    tab.send_button.dblclick()
    tab.is_asked_for_the_code()

    tab.enters(person.reads_code())
    tab.arrives_at("/static/first.txt")
    assert person.messages() == 1


def test_clicking_again_while_waiting_sends_one_message(new_browser, gateway: Gateway, person: Person):
    """On a slow connection the page does not change for seconds, and without JavaScript it cannot stop a second click."""
    tab = Tab(new_browser(java_script_enabled=False).new_page(), gateway)
    starts: list[Request] = []
    tab.page.on("request", lambda request: starts.append(request) if request.url.endswith("/start") else None)
    tab.open("/static/first.txt")
    tab.phone_field.fill(person.phone_as_typed)
    tab.is_slow(milliseconds=3_000)
    still_here = tab.page.url
    button = tab.send_button.bounding_box()
    place = (button["x"] + button["width"] / 2, button["y"] + button["height"] / 2)

    tab.page.mouse.click(*place)  # unlike a locator's click, it does not wait for the next page
    code = person.reads_code()  # so the first click has arrived, and its answer is still on the way
    while len(starts) < 2:  # Chromium itself drops a click that follows at once
        assert tab.page.url == still_here, "the answer came before the second click"
        tab.page.mouse.click(*place)
        tab.page.wait_for_timeout(100)
    tab.is_asked_for_the_code()

    tab.is_slow(milliseconds=0)
    tab.enters(code)
    tab.arrives_at("/static/first.txt")
    assert person.messages() == 1


def test_a_double_click_on_the_code_leads_to_the_page_asked_for(tab: Tab, person: Person):
    tab.open("/static/first.txt")
    tab.asks_for_a_code(person)
    tab.code_field.fill(person.reads_code())
    tab.page.get_by_role("button", name="Continue").dblclick()
    tab.arrives_at("/static/first.txt")
    tab.sees("This is the first file.")


def test_reloading_the_code_page_sends_nothing_and_keeps_the_code(tab: Tab, person: Person):
    tab.open("/static/first.txt")
    tab.asks_for_a_code(person)
    code = person.reads_code()

    tab.page.reload()
    tab.is_asked_for_the_code()
    tab.enters(code)
    tab.arrives_at("/static/first.txt")
    assert person.messages() == 1


def test_reloading_after_a_wrong_code_does_not_cost_another_try(tab: Tab, person: Person):
    tab.open("/static/first.txt")
    tab.asks_for_a_code(person)
    code = person.reads_code()
    wrong = str((int(code) + 1) % 10 ** len(code)).zfill(len(code))
    tab.enters(wrong)
    tab.sees("This code is not right")

    # More reloads than there are tries: were each a check, the right code would come too late.
    for _ in range(6):
        tab.page.reload()
        tab.is_asked_for_the_code()
    tab.enters(code)
    tab.arrives_at("/static/first.txt")


def test_back_to_the_number_and_forth_with_the_same_code(tab: Tab, person: Person):
    tab.open("/static/first.txt")
    tab.asks_for_a_code(person)
    code = person.reads_code()

    tab.page.go_back()
    expect(tab.phone_field.or_(tab.code_field)).to_be_visible()
    tab.page.go_forward()
    tab.is_asked_for_the_code()
    tab.enters(code)
    tab.arrives_at("/static/first.txt")
    assert person.messages() == 1


def test_back_after_signing_in_does_no_harm(tab: Tab, person: Person):
    tab.signs_in(person, "/static/first.txt")

    answer = tab.page.go_back()
    assert answer is None or answer.status < 400, f"back gave {answer.status} at {answer.url}"
    if tab.code_field.count() == 1:  # the page was kept by the browser: send the used code once more
        tab.enters(person.reads_code())
    expect(tab.page.get_by_text("went wrong")).to_have_count(0)
    tab.open("/static/first.txt")
    tab.arrives_at("/static/first.txt")
    tab.sees("This is the first file.")


def test_two_tabs_each_reach_the_page_they_asked_for(tab: Tab, person: Person, gateway: Gateway):
    second = Tab(tab.page.context.new_page(), gateway)
    tab.open("/static/first.txt")
    second.open("/static/second.txt")
    tab.is_asked_who_they_are()
    second.is_asked_who_they_are()

    tab.asks_for_a_code(person)
    tab.enters(person.reads_code())
    tab.arrives_at("/static/first.txt")

    second.page.reload()
    second.arrives_at("/static/second.txt")
    second.sees("This is the second file.")
    assert person.messages() == 1


def test_a_code_entered_in_the_tab_that_did_not_ask_for_it(tab: Tab, person: Person, gateway: Gateway):
    """Both tabs stand at the code page; one is used, the other finds itself signed in."""
    tab.open("/static/first.txt")
    tab.asks_for_a_code(person)
    second = Tab(tab.page.context.new_page(), gateway)
    second.open("/.vestibule/challenge")
    second.is_asked_for_the_code()

    second.enters(person.reads_code())
    second.arrives_at("/static/first.txt")

    tab.enters(person.reads_code())
    tab.arrives_at("/static/first.txt")
    tab.sees("This is the first file.")


def test_another_browser_cannot_use_the_code(tab: Tab, person: Person, gateway: Gateway, new_browser):
    tab.open("/static/first.txt")
    tab.asks_for_a_code(person)

    other = Tab(new_browser().new_page(), gateway)
    other.open("/static/first.txt")
    other.is_asked_who_they_are()
    forged = """async code => {
        const form = document.createElement("form");
        form.method = "post";
        form.action = "/.vestibule/challenge/verify";
        form.innerHTML = `<input name="code" value="${code}">`;
        document.body.append(form);
        form.submit();
    }"""
    with other.page.expect_navigation():
        other.page.evaluate(forged, person.reads_code())
    other.sees("There is no code waiting in this browser")
    other.open("/static/first.txt")
    other.is_asked_who_they_are()

    tab.enters(person.reads_code())
    tab.arrives_at("/static/first.txt")


@pytest.mark.parametrize("typed", ["0123", "not a number", "+1 415"])
def test_a_number_that_is_none_is_explained_and_kept_for_correction(tab: Tab, typed: str):
    tab.open("/static/first.txt")
    tab.phone_field.fill(typed)
    tab.send_button.click()

    expect(tab.page.get_by_role("alert")).to_be_visible()
    expect(tab.phone_field).to_have_value(typed)
    expect(tab.phone_field).to_have_attribute("aria-invalid", "true")


def test_a_stranger_sees_what_a_known_person_sees(tab: Tab, person: Person, gateway: Gateway, new_browser, simulator):
    stranger = Person("nobody", "+14155550197", simulator)
    strangers_tab = Tab(new_browser().new_page(), gateway)

    def page_after_asking(tab: Tab, who: Person) -> str:
        tab.open("/static/first.txt")
        tab.asks_for_a_code(who)
        # A script puts the moment into the reader's own time.
        expect(tab.page.locator("main")).not_to_contain_text("UTC")
        text = tab.page.locator("main").inner_text()
        return re.sub(r"\d+ (second|minute)s?", "…", text).replace(who.phone[-2:], "##")

    assert page_after_asking(strangers_tab, stranger) == page_after_asking(tab, person)
    person.reads_code()
    assert stranger.messages() == 0
