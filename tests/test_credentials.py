"""Names and passwords are taken out of whatever is shown."""

from __future__ import annotations

import pytest

from mirror.credentials import redact, strip


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://me:secret@x.example/simple/", "https://x.example/simple/"),
        ("https://me:sec@ret@x.example/simple/", "https://x.example/simple/"),
        ("https://secret@x.example", "https://x.example"),
        ("cannot read https://me:secret@x.example/a: 401", "cannot read https://x.example/a: 401"),
        ("https://me:secret@x.example and ssh://me:secret@y.example", "https://x.example and ssh://y.example"),
        ("https://x.example/a@b", "https://x.example/a@b"),
        ("https://x.example?a@b", "https://x.example?a@b"),
        ("write to a@b.example", "write to a@b.example"),
    ],
)
def test_nothing_secret_is_shown(text: str, shown: str) -> None:
    """Standards section 5.5; an `@` inside a password is no end of it, for `urlsplit` and so for pip."""
    assert redact(text) == shown


def test_a_url_is_stripped_as_it_is_read() -> None:
    assert strip("https://me:sec@ret@x.example:8443/a?b#c") == "https://x.example:8443/a?b#c"
