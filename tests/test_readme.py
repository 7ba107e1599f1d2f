"""The README is tested: its help texts, settings and commands are those of the code."""

from __future__ import annotations

import re

import pytest

from mirror.model import Reason
from tests.readme import COMMANDS, ROOT, expected, help_of

README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_help_texts_and_settings_are_current() -> None:
    assert expected(README) == README, "run: python -m tests.readme"


def test_every_command_is_in_the_manual() -> None:
    shown = set(re.findall(r"^│ (\w+) ", help_of(), flags=re.MULTILINE))
    assert shown - {"Commands"} == set(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_help_is_short_and_has_an_example(command: str) -> None:
    text = help_of(command)
    assert f"Example: mirror {command}" in re.sub(r"\s+", " ", text)
    assert len(text.splitlines()) < 60


def test_every_make_target_of_the_readme_exists() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    named = set(re.findall(r"(?:`|\$ |run )make ([a-z]+)", README))
    assert {"refresh", "serve", "test", "lint", "corpus", "bench"} <= named
    assert named <= set(re.findall(r"^([a-z]+):", makefile, flags=re.MULTILINE))


def test_every_reason_is_explained() -> None:
    assert all(f"`{reason}`" in README for reason in Reason)
