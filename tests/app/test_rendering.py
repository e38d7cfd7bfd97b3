"""How the chat looks: a person's words letter for letter, a reply as Markdown that runs and fetches nothing."""

from __future__ import annotations

import pytest

from app.rendering import pairs, replied, said_by_person


def test_what_a_person_wrote_is_shown_letter_for_letter() -> None:
    assert said_by_person("*a* <b>\n# c & d")["content"] == "*a* &lt;b&gt;\n# c &amp; d"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("You *live* in **Vienna**.", "<p>You <em>live</em> in <strong>Vienna</strong>.</p>"),
        ("```python\nprint(1 < 2)\n```", '<pre><code class="language-python">print(1 &lt; 2)\n</code></pre>'),
        ("a\nb", "<p>a<br />\nb</p>"),
        ("2 * 3 * 4, snake_case_name and $$x^2$$", "<p>2 * 3 * 4, snake_case_name and $$x^2$$</p>"),
    ],
)
def test_a_reply_is_markdown(text: str, shown: str) -> None:
    assert replied(text)["content"] == shown


@pytest.mark.parametrize(
    "text",
    [
        "<img src=x onerror=alert(1)>",
        "<script>alert(1)</script>",
        "![x](http://elsewhere/x.png)",
        "[x](javascript:alert(1))",
        "[x](data:text/html,<script>alert(1)</script>)",
        "<iframe src='//elsewhere'></iframe>",
        '[x](http://a "onmouseover=alert(1)")',
        "`</code><script>alert(1)</script>`",
    ],
)
def test_nothing_in_a_reply_runs_or_fetches(text: str) -> None:
    shown = replied(text)["content"]
    assert not any(
        tag in shown for tag in ("<img", "<script", "<iframe", 'href="javascript', 'href="data', "' on", '" on')
    )


def test_a_reply_that_is_not_there_is_not_shown() -> None:
    assert [side["role"] for side in pairs([("a", "b"), ("c", "")])] == ["user", "assistant", "user"]
