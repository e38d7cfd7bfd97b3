"""The page in a real browser: what only clicking shows. Skipped without chromium."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from threading import Event
from typing import Any

import gradio as gr
import pytest

from app.service import Service
from storage.store import Store
from tests.app.test_readout import Decided
from tests.fakes import FakeEngine

pytestmark = pytest.mark.browser
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
REPLY = "#chat .bot .message-content"
MEMORY = "button[role='tab']:has-text('Memory')"
FRAMES = "async () => { for (let n = 0; n < 3; n++) await new Promise((drawn) => requestAnimationFrame(drawn)); }"


@pytest.fixture
def browser() -> Iterator[Any]:
    api = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("no chromium is installed")
    with api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


def tab_of(browser: Any, page: gr.Blocks, name: str, width: int = 1200) -> Any:
    """A new tab in which somebody has entered a name."""
    tab = browser.new_page(viewport={"width": width, "height": 844})
    enter(tab, page, name)
    return tab


def enter(tab: Any, page: gr.Blocks, name: str) -> None:
    """Open the page in a tab and enter a name."""
    tab.goto(page.local_url)
    tab.fill("#name input", name)
    tab.keyboard.press("Enter")
    tab.wait_for_selector(f"#box textarea[placeholder='Message as {name}']")


def send(tab: Any, text: str, note: str = "Remembered") -> None:
    """Send a message and wait for what the quiet line says then; where it never does, say what it says."""
    tab.fill("#box textarea", text)
    tab.keyboard.press("Enter")
    try:
        tab.wait_for_selector(f"#status :text('{note}')")
    except Exception as error:
        left = tab.input_value("#box textarea")
        raise AssertionError(f"{tab.inner_text('#status')!r}, {tab.inner_text('#chat')!r}, {left!r}") from error


def open_up(tab: Any, selector: str) -> None:
    """Click on what opens a part of the page, until it is drawn: a frame after, Gradio fills it once more."""
    tab.click(selector)
    tab.evaluate(FRAMES)


def test_two_tabs_with_two_names_never_mix(browser: Any, page: gr.Blocks) -> None:
    tabs = {word: tab_of(browser, page, name) for name, word in (("Ada", "vienna"), ("Bob", "oslo"))}
    for word, tab in tabs.items():
        send(tab, f"I live in {word}")
    for word, tab in tabs.items():
        tab.click("#anew")
        tab.wait_for_selector("#status :text('Ready')")
        send(tab, "Where do I live?")
        assert tab.inner_text(REPLY) == f"I know {word}."


def test_a_name_is_deleted_with_everything_and_the_page_is_nobodys(browser: Any, page: gr.Blocks, store: Store) -> None:
    tab = tab_of(browser, page, "Ada")
    send(tab, "I live in vienna")
    open_up(tab, MEMORY)
    tab.wait_for_selector("#ledger :text('I live in vienna'):visible")
    tab.click("#forget")
    tab.click("#delete")
    tab.wait_for_selector("#ledger :text('I live in vienna'):visible", state="detached")
    tab.wait_for_selector("#box textarea[placeholder^='Write a name']", state="attached")
    assert store.find_user("Ada") is None
    assert tab.input_value("#name input") == ""
    tab.reload()
    tab.wait_for_selector("#status :text('Write a name')")
    enter(tab, page, "Ada")
    assert tab.locator(REPLY).count() == 0


def test_the_stop_button_keeps_the_part_that_was_shown(
    browser: Any, page: gr.Blocks, store: Store, engine: FakeEngine
) -> None:
    engine.gate = Event()
    tab = tab_of(browser, page, "Ada")
    send(tab, "I am Ada", note="Replying")
    tab.wait_for_selector(REPLY)
    tab.click("#box .stop-button")
    tab.wait_for_selector("#status :text('Stopping')")
    engine.gate.set()
    tab.wait_for_selector("#status :text('Remembered')")
    ada = store.find_user("Ada")
    assert ada and [turn.reply_text for turn in store.held_turns(ada.id)] == ["I"]


def test_the_keyboard_stops_a_reply_and_starts_a_new_conversation(
    browser: Any, page: gr.Blocks, store: Store, engine: FakeEngine
) -> None:
    engine.gate = Event()
    tab = tab_of(browser, page, "Ada")
    send(tab, "I am Ada", note="Replying")
    tab.wait_for_selector(REPLY)
    tab.keyboard.press("Escape")
    tab.wait_for_selector("#status :text('Stopping')")
    engine.gate.set()
    tab.wait_for_selector("#status :text('Remembered')")
    tab.keyboard.press("Control+Shift+KeyO")
    tab.wait_for_selector("#box textarea:focus")
    tab.keyboard.type("Who am I?")
    tab.keyboard.press("Enter")
    tab.wait_for_selector("#status :text('Remembered')")
    assert tab.inner_text(REPLY) == "I know ada."
    ada = store.find_user("Ada")
    assert ada and [turn.conversation_id for turn in store.held_turns(ada.id)] == [1, 2]


def test_a_question_of_ones_own_is_put_to_the_weights(browser: Any, page: gr.Blocks) -> None:
    tab = tab_of(browser, page, "Ada")
    send(tab, "My cat is red")
    open_up(tab, MEMORY)
    tab.fill("#probe input", "Where is my cat?")
    tab.keyboard.press("Enter")
    tab.wait_for_selector("#known li:has-text('from turn 1: My cat is red')")
    tab.fill("#probe input", "Do I drink tea?")
    tab.keyboard.press("Enter")
    tab.wait_for_selector("#known li:has-text('memory is not sure of it')")


def test_what_a_click_sends_late_does_not_touch_the_next_message(
    browser: Any, page: gr.Blocks, service: Service, engine: FakeEngine
) -> None:
    tab = tab_of(browser, page, "Ada")
    late: list[Any] = []
    first = engine.gate = Event()
    send(tab, "I live in vienna", note="Replying")
    tab.on("request", lambda sent: late.append(sent) if sent.method == "POST" else None)
    tab.click("#anew")
    tab.wait_for_selector("#status :text('Ready')")
    clicked = list(late)
    first.set()
    service.recover()  # returns once the first turn is folded
    second = engine.gate = Event()
    send(tab, "Where do I live?", note="Replying")
    for sent in clicked:
        tab.request.post(sent.url, data=sent.post_data, headers={"Content-Type": "application/json"})
    second.set()
    tab.wait_for_selector("#status :text('Remembered')")
    assert tab.inner_text(REPLY) == "I know vienna."
    assert tab.locator("#chat .user").count() == 1


def test_nothing_can_be_sent_between_a_click_and_what_it_shows(browser: Any, page: gr.Blocks) -> None:
    tab = tab_of(browser, page, "Ada")
    send(tab, "I live in vienna")
    held: list[Any] = []
    tab.route("**/queue/join*", lambda route: held.append(route))
    tab.click("#anew")
    tab.wait_for_selector("#box textarea:disabled")
    for route in held:
        route.continue_()
    tab.unroute("**/queue/join*")
    tab.wait_for_selector("#box textarea:enabled")
    send(tab, "Where do I live?")
    assert tab.inner_text(REPLY) == "I know vienna."
    assert tab.locator("#chat .user").count() == 1


def test_html_in_a_message_is_shown_as_it_was_written(browser: Any, page: gr.Blocks) -> None:
    tab = tab_of(browser, page, "Ada")
    markup = "<b>bold</b> <img src=x onerror='document.title=1'>"
    send(tab, markup)
    assert tab.inner_text("#chat .user .message-content") == markup
    assert tab.title() == "Imprint"


class Writer(FakeEngine):
    """Replies with code, a formula, an image from elsewhere and a script."""

    def reply(self, *_: Any, **__: Any) -> Iterator[str]:
        yield "Here is **code**:\n\n```python\nprint(1 < 2)\n```\n\n$$x^2$$\n\n"
        yield "![x](http://elsewhere.example/x.png) <img src='http://elsewhere.example/y' onerror='document.title=1'>"


@pytest.mark.parametrize("engine", [Writer()])
def test_a_reply_is_markdown_that_fetches_and_runs_nothing(browser: Any, page: gr.Blocks) -> None:
    tab = tab_of(browser, page, "Ada")
    asked: list[str] = []
    tab.on("request", lambda request: asked.append(request.url))
    send(tab, "Show me")
    assert tab.inner_text(f"{REPLY} strong") == "code"
    assert tab.inner_text(f"{REPLY} pre code").strip() == "print(1 < 2)"
    tab.wait_for_selector(f"{REPLY} .katex")
    assert tab.locator(f"{REPLY} img").count() == 0
    assert tab.title() == "Imprint"
    assert asked and all(url.startswith(page.local_url) for url in asked)


def test_changing_the_name_during_a_reply_shows_nothing_of_it(
    browser: Any, page: gr.Blocks, engine: FakeEngine
) -> None:
    engine.gate = Event()
    tab = tab_of(browser, page, "Ada")
    send(tab, "I am Ada", note="Replying")
    tab.fill("#name input", "Bob")
    tab.press("#name input", "Enter")
    tab.wait_for_selector("#box textarea[placeholder='Message as Bob']")
    engine.gate.set()
    tab.wait_for_timeout(1000)
    assert "Ada" not in tab.inner_text("#chat").replace("My name is Ada and I live in Vienna.", "")
    assert "0 turns in the weights" in tab.inner_text("#status")


def test_forgetting_asks_first(browser: Any, page: gr.Blocks, store: Store) -> None:
    tab = tab_of(browser, page, "Ada")
    send(tab, "I am Ada")
    ada = store.find_user("Ada")
    open_up(tab, MEMORY)
    tab.click("#forget:enabled")
    tab.wait_for_selector("#really")
    assert ada and store.load_memory(ada.id)
    tab.click("#really")
    tab.wait_for_selector("#forget:disabled")
    assert store.load_memory(ada.id) is None


def test_why_names_the_turn_and_goes_with_the_name(browser: Any, page: gr.Blocks) -> None:
    tab = tab_of(browser, page, "Ada")
    send(tab, "I am Ada")
    tab.click("#anew")
    tab.wait_for_selector("#status :text('Ready')")
    send(tab, "Who am I?")
    tab.click("#why")
    tab.wait_for_selector("#causes li:has-text('I am Ada')")
    tab.fill("#name input", "Bob")
    tab.press("#name input", "Enter")
    tab.wait_for_selector("#box textarea[placeholder='Message as Bob']")
    tab.wait_for_selector("#causes li", state="detached")


def pick(tab: Any, message: str, other: str) -> None:
    """Click a row of the ledger until its turn is shown whole: a click on rows that are being drawn anew is lost."""
    shown = tab.locator(f"#picked :text-is('{message}')")
    for _ in range(5):
        tab.locator(f"#ledger :text('{message}'):visible").last.click()
        for _ in range(20):
            if shown.count():
                return
            tab.wait_for_timeout(200)
        tab.locator(f"#ledger :text('{other}'):visible").last.click()
    raise AssertionError("no click on the row showed the turn")


def test_a_turn_is_picked_forgotten_and_a_receipt_shown(browser: Any, page: gr.Blocks, store: Store) -> None:
    tab = tab_of(browser, page, "Ada")
    send(tab, "I am Ada")
    send(tab, "I drink tea")
    open_up(tab, MEMORY)
    pick(tab, "I am Ada", "I drink tea")
    tab.wait_for_selector("#picked :text('I know nothing.')")
    tab.click("#forget-turn")
    tab.wait_for_selector("#receipt :text('forgot 1 turn and 0 conversations')")
    tab.click("#check")
    tab.wait_for_selector("#receipt :text('Clean: 1 turn replayed')")
    ada = store.find_user("Ada")
    assert ada and [turn.user_text for turn in store.held_turns(ada.id)] == ["I drink tea"]


def test_a_phone_shows_name_box_and_status_without_scrolling(browser: Any, page: gr.Blocks) -> None:
    tab = tab_of(browser, page, "Ada", width=390)
    for part in ("#name", "#anew", "#box", "#status"):
        box = tab.locator(part).bounding_box()
        assert box and box["x"] >= 0 and box["x"] + box["width"] <= 390 and box["y"] + box["height"] <= 844, part


def test_a_temporary_chat_knows_the_memory_and_is_not_remembered(browser: Any, page: gr.Blocks, store: Store) -> None:
    tab = tab_of(browser, page, "Ada")
    send(tab, "I live in vienna")
    tab.click("#temporary")
    tab.wait_for_selector("#chat :text('Nothing of this is kept')")
    assert tab.locator("#chat :text('My name is Ada')").count() == 0
    send(tab, "I drink tea", note="Not remembered")
    assert tab.inner_text(REPLY) == "I know vienna."
    tab.click("#anew")
    tab.wait_for_selector("#status :text('Ready')")
    ada = store.find_user("Ada")
    assert ada and [turn.user_text for turn in store.held_turns(ada.id)] == ["I live in vienna"]


def turn_dial(tab: Any, value: str) -> None:
    """Type a strength until it stays: what was folded away is made anew once it is opened."""
    typed, shown = "#strength input[type=number]", "#strength input[type=range]"
    while tab.input_value(shown) != value:
        tab.fill(typed, value)
        tab.press(typed, "Tab")
        tab.wait_for_timeout(200)


def test_the_dial_turns_the_memory_off_and_stays_with_its_conversation(browser: Any, page: gr.Blocks) -> None:
    tab = tab_of(browser, page, "Ada")
    send(tab, "I live in vienna")
    tab.click("#anew")
    tab.wait_for_selector("#status :text('Ready')")
    open_up(tab, "#this button")
    turn_dial(tab, "0")
    send(tab, "Where do I live?")
    assert tab.inner_text(REPLY) == "I know nothing."
    tab.click("#conversations label:has-text('I live in vienna')")
    tab.wait_for_function("document.querySelector('#strength input[type=number]').value === '1'")
    tab.click("#conversations label:has-text('Where do I live?')")
    tab.wait_for_function("document.querySelector('#strength input[type=number]').value === '0'")


def test_the_memory_page_says_what_the_weights_know(
    browser: Any, page: gr.Blocks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.readout.QUESTIONS", ("Where is my cat?", "Do I drink tea?"))
    tab = tab_of(browser, page, "Ada")
    send(tab, "My cat is old")
    open_up(tab, MEMORY)
    tab.click("#ask")
    tab.wait_for_selector("#known li:has-text('I know cat.'):has-text('turn 1: My cat is old')")
    assert not tab.is_visible("#known li:has-text('Do I drink tea?')")
    tab.click("#known summary")
    assert tab.is_visible("#known li:has-text('Do I drink tea?')")


@pytest.mark.parametrize("engine", [Decided()])
def test_one_click_keeps_one_of_two_turns_that_disagree(browser: Any, page: gr.Blocks, store: Store) -> None:
    tab = tab_of(browser, page, "Ada")
    send(tab, "I live in oslo")
    send(tab, "I live in vienna")
    open_up(tab, MEMORY)
    tab.click("#ask")
    tab.click("#disputes label:has-text('I know oslo.')")
    tab.wait_for_selector("#receipt :text('forgot 1 turn')")
    assert not tab.is_visible("#disputes") and not tab.is_visible("#known li")
    ada = store.find_user("Ada")
    assert ada and [turn.user_text for turn in store.held_turns(ada.id)] == ["I live in oslo"]
    tab.get_by_role("tab", name="Chat").click()
    send(tab, "I live in vienna")
    open_up(tab, MEMORY)
    tab.click("#ask")
    tab.wait_for_selector("#disputes label:has-text('I know oslo.')")


def test_a_turn_is_answered_anew_and_taken_back(
    browser: Any, page: gr.Blocks, store: Store, engine: FakeEngine
) -> None:
    tab = tab_of(browser, page, "Ada")
    send(tab, "I live in vienna")
    send(tab, "My cat is old")
    engine.gate = Event()
    tab.click("#retry")
    tab.wait_for_selector("#status :text('Replying')")
    engine.gate.set()
    tab.wait_for_selector("#status :text('Remembered')")
    assert tab.locator("#chat .user").count() == 2
    tab.click("#take-back")
    tab.wait_for_selector("#status :text('Taken back')")
    assert tab.input_value("#box textarea") == "My cat is old"
    ada = store.find_user("Ada")
    assert ada and [turn.user_text for turn in store.held_turns(ada.id)] == ["I live in vienna"]
    assert tab.locator("#chat .user").count() == 1


def test_a_conversation_is_saved_by_the_browser_and_forgotten(browser: Any, page: gr.Blocks, store: Store) -> None:
    tab = tab_of(browser, page, "Ada")
    send(tab, "I <b>live</b> in vienna")
    open_up(tab, "#this button")
    with tab.expect_download() as download:
        tab.click("#save")
    with open(download.value.path(), encoding="utf-8") as file:
        assert file.read() == "**You:** I <b>live</b> in vienna\n\n**Imprint:** I know nothing."
    tab.wait_for_function("document.querySelector('#saved textarea, #saved input')?.value === ''")
    with tab.expect_download() as download:
        tab.click("#save-json")
    assert download.value.suggested_filename == "conversation.json"
    with open(download.value.path(), encoding="utf-8") as file:
        said = [{"role": "user", "content": "I <b>live</b> in vienna"}]
        assert json.load(file) == {"messages": [*said, {"role": "assistant", "content": "I know nothing."}]}
    tab.wait_for_function("document.querySelector('#saved textarea, #saved input')?.value === ''")
    tab.click("#forget-here")
    tab.wait_for_selector("#status :text('Forgotten: 1 turn')")
    ada = store.find_user("Ada")
    assert ada and store.held_turns(ada.id) == []
    assert tab.locator("#conversations label").count() == 0


def test_a_guarded_name_opens_only_with_its_passphrase(browser: Any, page: gr.Blocks) -> None:
    first = browser.new_page()
    first.goto(page.local_url)
    first.fill("#name input", "Ada")
    first.fill("#passphrase input", "correct horse")
    first.press("#passphrase input", "Enter")
    first.wait_for_selector("#box textarea[placeholder='Message as Ada']")
    assert first.input_value("#passphrase input") == ""
    send(first, "I live in vienna")
    second = browser.new_page()
    second.goto(page.local_url)
    second.wait_for_selector("#status :text('Write a name')")
    second.fill("#name input", "Ada")
    second.press("#name input", "Enter")
    second.wait_for_selector("#status :text('guarded by a passphrase')")
    assert second.locator("#conversations label").count() == 0
    second.fill("#passphrase input", "correct horse")
    second.press("#passphrase input", "Enter")
    second.wait_for_selector("#conversations label:has-text('I live in vienna')")


def test_a_reload_asks_nobody_who_they_are_until_they_sign_out(browser: Any, page: gr.Blocks) -> None:
    tab = tab_of(browser, page, "Ada")
    send(tab, "I am Ada")
    tab.reload()
    tab.wait_for_selector("#box textarea[placeholder='Message as Ada']")
    send(tab, "Who am I?")
    assert tab.inner_text(REPLY) == "I know ada."
    tab.click("#leave")
    tab.wait_for_selector("#box textarea[placeholder='Write a name under Chat as first']")
    assert "Ada" not in tab.inner_text("#conversations")
    tab.reload()
    tab.wait_for_selector("#status :text('to begin')")
    tab.wait_for_timeout(1000)
    assert tab.locator("#box textarea").is_disabled()


def test_a_turn_is_pinned_corrected_and_looked_back_from(browser: Any, page: gr.Blocks, store: Store) -> None:
    tab = tab_of(browser, page, "Ada")
    send(tab, "I am Ada")
    send(tab, "I drink tea")
    open_up(tab, MEMORY)
    pick(tab, "I am Ada", "I drink tea")
    tab.click("#pin")
    tab.wait_for_selector("#receipt :text('does not fade')")
    pick(tab, "I drink tea", "I am Ada")
    tab.fill("#search-ledger input", "tea")
    tab.wait_for_selector("#ledger :text('I am Ada'):visible", state="detached")
    tab.fill("#correction textarea", "I live in Oslo and like tea")
    tab.click("#correction button")
    tab.wait_for_selector("#receipt :text('as corrected')")
    ada = store.find_user("Ada")
    assert ada
    assert [(turn.user_text, turn.pinned) for turn in store.held_turns(ada.id)] == [
        ("I am Ada", True),
        ("I live in Oslo and like tea", False),
    ]
    tab.wait_for_timeout(1000)
    assert tab.locator("#ledger :text('I am Ada'):visible").count() == 0
    tab.fill("#search-ledger input", "")
    pick(tab, "I am Ada", "I live in Oslo and like tea")
    tab.click("#back-then")
    tab.wait_for_selector("#chat :text('as it was then')")
    send(tab, "What do you know?", note="Not remembered")
    assert tab.inner_text(REPLY) == "I know ada."


def test_a_memory_is_downloaded_and_added_under_another_name(
    browser: Any, page: gr.Blocks, store: Store, tmp_path: Path
) -> None:
    tab = tab_of(browser, page, "Ada")
    send(tab, "I am Ada")
    open_up(tab, MEMORY)
    with tab.expect_download() as download:
        tab.click("#export")
    download.value.save_as(tmp_path / "ada.imprint")
    other = tab_of(browser, page, "Bob")
    send(other, "I drink tea")
    open_up(other, MEMORY)
    with other.expect_file_chooser() as chooser:
        other.click("#merge")
    chooser.value.set_files(tmp_path / "ada.imprint")
    other.wait_for_selector("#receipt :text('Took in 1 turn')")
    bob = store.find_user("Bob")
    assert bob and [turn.user_text for turn in store.held_turns(bob.id)] == ["I am Ada", "I drink tea"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_serious_keeps_anybody_out(browser: Any, page: gr.Blocks, scheme: str) -> None:
    """axe-core's rules (WCAG 2 A and AA), on the chat and on the Memory tab with a turn open."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    tab = browser.new_page(viewport={"width": 1200, "height": 844}, color_scheme=scheme)
    tab.goto(page.local_url)
    tab.fill("#name input", "Ada")
    tab.keyboard.press("Enter")
    tab.wait_for_selector("#box textarea[placeholder='Message as Ada']")
    send(tab, "I am Ada")
    send(tab, "I drink tea")
    found = serious(axe.run(tab).response)
    open_up(tab, MEMORY)
    pick(tab, "I am Ada", "I drink tea")
    tab.wait_for_selector("#main [aria-label='Empty value']", state="detached")  # plots that are not drawn yet
    found += serious(axe.run(tab).response)
    assert found == [], found


def serious(response: dict[str, Any]) -> list[tuple[str, list[str]]]:
    """Rule and places of what is serious or worse."""
    bad = [one for one in response["violations"] if one["impact"] in ("serious", "critical")]
    return [(one["id"], [node["html"][:150] for node in one["nodes"]]) for one in bad]


SLOW = """
const arrived = window.fetch;
window.fetch = async (...request) => {
  const answer = await arrived(...request);
  if (!String(request[0].url ?? request[0]).includes('/queue/data')) return answer;
  const text = new TextDecoder();
  const late = new TransformStream({ async transform(chunk, out) {
    if (text.decode(chunk).includes(LATE)) await new Promise((over) => setTimeout(over, 1000));
    out.enqueue(chunk);
  }});
  return new Response(answer.body.pipeThrough(late), answer);
};
"""
"""What the server says of this is heard a second later."""


def test_a_click_while_the_stream_of_answers_ends_is_answered_all_the_same(browser: Any, page: gr.Blocks) -> None:
    tab = browser.new_page()
    tab.add_init_script(SLOW.replace("LATE", "'close_stream'"))
    enter(tab, page, "Ada")
    send(tab, "I live in vienna")
    tab.click("#temporary")
    tab.wait_for_selector("#chat :text('Nothing of this is kept')")


INSTRUCTIONS = "document.querySelector('#instructions textarea').value"


def test_instructions_stay_with_their_conversation_and_are_shown_to_nobody_else(
    browser: Any, page: gr.Blocks, store: Store, engine: FakeEngine
) -> None:
    tab = tab_of(browser, page, "Ada")
    open_up(tab, "#this button")
    tab.fill("#instructions textarea", "Talk like a pirate.")
    send(tab, "I live in vienna")
    assert [message.text for message in engine.prompts[-1]] == ["Talk like a pirate.", "I live in vienna"]
    tab.click("#anew")
    tab.wait_for_selector("#status :text('Ready')")
    tab.wait_for_function(f"{INSTRUCTIONS} === ''")
    send(tab, "I drink tea")
    assert [message.text for message in engine.prompts[-1]] == ["I drink tea"]
    tab.click("#conversations label:has-text('I live in vienna')")
    tab.wait_for_function(f"{INSTRUCTIONS} === 'Talk like a pirate.'")
    tab.click("#leave")
    tab.wait_for_selector("#box textarea[placeholder^='Write a name']", state="attached")
    tab.wait_for_function(f"{INSTRUCTIONS} === ''")


def test_what_is_written_before_an_event_is_over_stays(browser: Any, page: gr.Blocks, engine: FakeEngine) -> None:
    tab = browser.new_page()
    tab.add_init_script(SLOW.replace("LATE", "'process_completed'"))
    enter(tab, page, "Ada")
    open_up(tab, "#this button")
    tab.fill("#instructions textarea", "Talk like a pirate.")
    tab.wait_for_timeout(2000)
    send(tab, "I live in vienna")
    assert [message.text for message in engine.prompts[-1]] == ["Talk like a pirate.", "I live in vienna"]


def test_a_stranger_chats_as_a_guest_and_is_still_there_after_a_reload(browser: Any, page: gr.Blocks) -> None:
    tab = browser.new_page()
    tab.goto(page.local_url)
    tab.click("#guest")
    tab.wait_for_selector("#box textarea[placeholder^='Message as guest-']")
    assert not tab.is_visible("#guest")
    assert not tab.is_visible("button[role='tab']:has-text('People')")
    send(tab, "I live in vienna")
    tab.reload()
    tab.wait_for_selector("#box textarea[placeholder^='Message as guest-']")
    send(tab, "Where do I live?")
    assert tab.inner_text(REPLY) == "I know vienna."
    tab.click("#leave")
    tab.wait_for_selector("#guest", state="visible")
    tab.click("#guest")
    tab.wait_for_selector("#conversations label:has-text('I live in vienna')")


def test_the_admin_has_a_tab_in_which_somebody_is_deleted(browser: Any, page: gr.Blocks, store: Store) -> None:
    send(tab_of(browser, page, "Bob"), "I drink tea")
    tab = browser.new_page()
    tab.goto(page.local_url)
    tab.fill("#passphrase input", "correct horse")
    tab.fill("#name input", "Ada")
    tab.keyboard.press("Enter")
    tab.click("button[role='tab']:has-text('People')")
    tab.click("#people :text-is('Bob'):visible")
    tab.click("#delete-person")
    tab.wait_for_selector("#outcome :text('Nothing is kept of Bob')")
    assert store.find_user("Bob") is None
    tab.click("#leave")
    tab.wait_for_selector("button[role='tab']:has-text('People')", state="hidden")


def test_under_a_reply_stands_what_remembering_it_took(browser: Any, page: gr.Blocks) -> None:
    tab = tab_of(browser, page, "Ada")
    send(tab, "I live in vienna")
    tab.wait_for_selector("#chat .cost[title^='7 tokens, ']")
    shown = tab.evaluate("getComputedStyle(document.querySelector('#chat .cost'), '::before').content")
    assert "remembered" in shown
    assert tab.inner_text(REPLY) == "I know nothing."
