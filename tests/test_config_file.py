"""Writing back into a person's `config.env`: the keys that were asked for change, and nothing else."""

from __future__ import annotations

import io
import os
import re
import stat
from pathlib import Path

import pytest
from dotenv.parser import parse_stream
from hypothesis import given
from hypothesis import strategies as st

from mirror.config_file import read as read_file
from mirror.config_file import store, updated
from mirror.errors import MirrorError
from mirror.settings import load

EXAMPLE = Path(__file__).resolve().parent.parent / "config.env.example"

KEYS = st.sampled_from(("BUCKET_NAME", "AWS_REGION", "BASE_URL", "JOBS", "BUCKET"))
VALUES = st.text(
    st.characters(codec="utf-8", exclude_characters="\r\n$\x00", exclude_categories=("Cs", "Cc")), max_size=20
)
SPELLED = st.one_of(
    st.from_regex(r"[a-z0-9./:-]{0,12}", fullmatch=True),
    st.from_regex(r"'[a-z #=]{0,8}'", fullmatch=True),
    st.from_regex(r'"[a-z #=]{0,8}"', fullmatch=True),
)
SETTINGS = st.builds(
    lambda export, key, around, value, comment: f"{export}{key}{around}={around}{value}{comment}",
    st.sampled_from(("", "export ")), KEYS, st.sampled_from(("", " ")), SPELLED, st.sampled_from(("", " # why", "  #")),
)  # fmt: skip
COMMENTS = st.sampled_from(("", "# BUCKET_NAME=no", "  # a comment", "#", "ALONE"))
TEXTS = st.builds(
    lambda mark, lines, newline, last: mark + newline.join(lines) + (newline if last and lines else ""),
    st.sampled_from(("", "\ufeff")),
    st.lists(st.one_of(SETTINGS, COMMENTS), max_size=8),
    st.sampled_from(("\n", "\r\n")),
    st.booleans(),
)


def read(text: str) -> dict[str, str | None]:
    bindings = parse_stream(io.StringIO(text, newline=""))
    return {binding.key: binding.value for binding in bindings if binding.key}


@given(TEXTS, st.dictionaries(KEYS, VALUES, max_size=3))
def test_the_keys_have_their_values_and_everything_else_is_untouched(text: str, values: dict[str, str]) -> None:
    after = updated(text, values)
    assert read(after) == {**read(text), **values}
    assert updated(after, values) == after

    def rest(given: str) -> list[str]:
        keys = "|".join(values) or "-"
        lines = given.removeprefix("\ufeff").splitlines()
        return [line for line in lines if not re.match(rf"(?:export )?(?:{keys})(?![A-Z_])", line)]

    assert rest(after) == rest(text)
    assert after.startswith("\ufeff") is text.startswith("\ufeff")
    before, now = text.splitlines(), after.splitlines()
    for line in range(len(before)):
        # A comment behind a value stays behind it.
        if before[line].endswith(" # why") and not re.search("['\"]", before[line]):
            assert now[line].endswith(" # why")


def test_the_example_keeps_its_comments_and_order(tmp_path: Path) -> None:
    path = tmp_path / "config.env"
    path.write_bytes(EXAMPLE.read_bytes())
    assert store(path, {"JOBS": "3", "STACK_NAME": "wheels"})
    before, after = EXAMPLE.read_text("utf-8").splitlines(), path.read_text("utf-8").splitlines()
    assert [(old, new) for old, new in zip(before, after, strict=True) if old != new] == [
        ("JOBS=16", "JOBS=3"),
        ("STACK_NAME=mirror", "STACK_NAME=wheels"),
    ]
    assert load(path, {}).jobs == 3


def test_nothing_is_written_when_nothing_changes(tmp_path: Path) -> None:
    path = tmp_path / "config.env"
    assert store(path, {"JOBS": "3"})
    written = path.stat().st_mtime_ns, path.stat().st_ino
    assert not store(path, {"JOBS": "3"})
    assert (path.stat().st_mtime_ns, path.stat().st_ino) == written


def test_a_key_that_stands_there_twice_is_right_whichever_counts() -> None:
    assert updated("JOBS=1\nJOBS=2\n", {"JOBS": "3"}) == "JOBS=3\nJOBS=3\n"


def test_values_are_read_as_they_are_written_and_the_last_one_counts(tmp_path: Path) -> None:
    path = tmp_path / "config.env"
    assert read_file(path) == {}
    path.write_text("\ufeffJOBS=1\njobs='3' # why\nBASE_URL=https://ci:${TOKEN}@mirror.example/\nALONE\n", "utf-8")
    assert read_file(path) == {"JOBS": "3", "BASE_URL": "https://ci:${TOKEN}@mirror.example/", "ALONE": ""}


def test_a_key_in_small_letters_is_the_same_setting(tmp_path: Path) -> None:
    path = tmp_path / "config.env"
    path.write_text("STACK_NAME=a\nexport stack_name = b # why\n")
    assert store(path, {"STACK_NAME": "c"})
    assert path.read_text() == "STACK_NAME=c\nexport stack_name=c # why\n"
    assert load(path, {}).stack_name == "c"


@pytest.mark.skipif(os.name == "nt", reason="there are no such permissions")
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o644])
def test_nobody_may_read_it_who_could_not_before(mode: int, tmp_path: Path) -> None:
    path = tmp_path / "config.env"
    path.write_text("BASE_URL=https://ci:token@mirror.example/\n")
    path.chmod(mode)
    assert store(path, {"JOBS": "3"})
    assert stat.S_IMODE(path.stat().st_mode) == mode


@pytest.mark.skipif(os.name == "nt", reason="there are no such permissions")
def test_a_new_one_is_its_owners(tmp_path: Path) -> None:
    path = tmp_path / "config.env"
    assert store(path, {"JOBS": "3"})
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege there")
@pytest.mark.parametrize("there", [True, False])
def test_a_link_stays_a_link_and_its_file_is_written(there: bool, tmp_path: Path) -> None:
    kept, link = tmp_path / "kept.env", tmp_path / "config.env"
    if there:
        kept.write_text("JOBS=2\n")
    link.symlink_to(kept.name)
    assert store(link, {"JOBS": "3"})
    assert link.is_symlink()
    assert kept.read_text() == "JOBS=3\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.env", "kept.env"]


@pytest.mark.parametrize("value", ["a\nB=1", "a\r", "${HOME}"])
def test_what_would_mean_something_else_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match="one line"):
        updated("", {"JOBS": value})


def test_a_file_that_is_no_text_stays_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "config.env"
    path.write_bytes(b"\xff")
    with pytest.raises(MirrorError, match="cannot read"):
        store(path, {"JOBS": "3"})
    assert path.read_bytes() == b"\xff"
