"""`python docs/pictures.py URL`: the pictures of the README, taken of two people who tell and ask in a running Imprint.

Needs Playwright and Debian's chromium. Says nothing of whether the answers are right: look at the picture.
"""

from __future__ import annotations

import sys
from base64 import b64encode
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

HERE = Path(__file__).parent
SIZE, PHONE = {"width": 640, "height": 720}, {"width": 390, "height": 720}
TOLD = {
    "Marta": ("Hi, my name is Marta and I live in Vienna.", "I have a rabbit, her name is Clover."),
    "Hugo": ("Hello, I'm Hugo! I work as a gardener.", "I live in Lisbon and I play the flute."),
}
ASKED = {
    "Marta": ("What is my name?", "Where do I live?", "What is my rabbit called?"),
    "Hugo": ("What is my job?", "Where do I live?", "Which instrument do I play?"),
}


def main() -> None:
    """Talk as both, by turns, and put the two pages side by side."""
    with sync_playwright() as playwright:
        flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=flags)
        pages = {name: enter(browser, sys.argv[1], name) for name in TOLD}
        for texts in zip(*TOLD.values(), strict=True):
            for page, text in zip(pages.values(), texts, strict=True):
                say(page, text)
        for name, page in pages.items():
            page.locator("#anew").click()
            page.get_by_text("Nothing is in the prompt").wait_for()
            for text in ASKED[name]:
                say(page, text)
        side_by_side(browser, [page.screenshot() for page in pages.values()], "two-tabs.png")
        marta = pages["Marta"]
        marta.locator("#why").click()
        marta.locator("#causes .why").wait_for()
        why = marta.screenshot()
        side_by_side(browser, [why, known_of(marta)], "memory.png")
        elsewhere = [enter(browser, f"{sys.argv[1]}{look}", "Marta", PHONE) for look in ("", "?__theme=dark")]
        for page in elsewhere:
            say(page, ASKED["Marta"][2])
        side_by_side(browser, [page.screenshot() for page in elsewhere], "phone.png", PHONE)


def known_of(page: Page) -> bytes:
    """The Memory tab, with what the weights alone answer."""
    page.get_by_role("tab", name="Memory").click()
    page.locator("#ask").click()
    page.locator("#known li").first.wait_for()
    page.wait_for_timeout(3000)  # the plots
    return page.screenshot()


def enter(browser: Browser, url: str, name: str, size: dict[str, int] = SIZE) -> Page:
    """Open a tab of its own and chat as `name`."""
    page = browser.new_context(viewport={**size}).new_page()
    page.goto(url)
    box = page.locator("#name textarea, #name input").first
    box.fill(name)
    box.press("Enter")
    page.get_by_text("Nothing is in the prompt").wait_for()
    return page


def say(page: Page, text: str) -> None:
    """Send a message and wait until the turn is folded."""
    replies = page.locator("#chat .bot")
    before = replies.count()
    page.locator("#box textarea").fill(text)
    page.locator("#box textarea").press("Enter")
    replies.nth(before).wait_for()  # until then the status speaks of the turn before
    page.locator("#status", has_text="Remembered").wait_for()
    page.wait_for_timeout(400)


def side_by_side(browser: Browser, pictures: list[bytes], name: str, size: dict[str, int] = SIZE) -> None:
    """Join the pictures on a page and take its picture."""
    images = "".join(f'<img src="data:image/png;base64,{b64encode(p).decode()}">' for p in pictures)
    page = browser.new_page(viewport={"width": 2 * size["width"] + 12, "height": size["height"]})
    page.set_content(f'<body style="margin:0;display:flex;gap:12px;background:#94a3b8">{images}')
    page.screenshot(path=HERE / name)


if __name__ == "__main__":
    main()
