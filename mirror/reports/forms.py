"""The forms of a report, by the name of the file that it is written to."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from mirror.errors import MirrorError
from mirror.reports import codequality, html, json, junit, markdown

if TYPE_CHECKING:
    from collections.abc import Callable

    from mirror.reports.report import Report


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """One way to write a report down."""

    names: tuple[str, ...]
    """Patterns that a file's name may match."""
    what: str
    render: Callable[[Report], bytes]


FORMS = (
    # The first one that fits is taken: GitLab's own name for its artifact ends like any JSON.
    Form(names=("*.codequality.json", "gl-code-quality*.json"), what="GitLab code quality", render=codequality.render),
    Form(names=("*.json",), what="JSON", render=json.render),
    Form(names=("*.xml",), what="JUnit", render=junit.render),
    Form(names=("*.md",), what="Markdown", render=markdown.render),
    Form(names=("*.html",), what="a page for people", render=html.render),
)


def form_of(name: str) -> Form:
    """The form that a file's name asks for. Raise `MirrorError` naming those that there are when it asks for none."""
    lowered = name.lower()
    for form in FORMS:
        if any(fnmatchcase(lowered, pattern) for pattern in form.names):
            return form
    known = ", ".join(f"{form.names[0].removeprefix('*')} ({form.what})" for form in FORMS)
    raise MirrorError(f"--report {name}: no form of a report ends like that", hint=f"end the name in one of {known}")
