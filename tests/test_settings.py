"""Settings: flags beat the environment, which beats `config.env`, which beats the defaults; what is wrong is named."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest
from packaging.utils import canonicalize_name

from mirror.coverage import parse_policy
from mirror.errors import MirrorError
from mirror.infra.blueprint import Identity
from mirror.infra.edge import Reader
from mirror.layout import SlashKeys
from mirror.model import HOLES, Reason, Scope
from mirror.selection import SdistPolicy
from mirror.settings import NAMES, DownloaderName, Settings, load, unknown_keys
from mirror.targets import TARGETS, Baseline

EXAMPLE = Path(__file__).resolve().parent.parent / "config.env.example"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Run in an empty folder, so that nobody's `config.env` is found."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def configure(text: str) -> Path:
    """Write the `config.env` of the current folder."""
    path = Path("config.env")
    path.write_text(text, "utf-8")
    return path


SAMPLES: dict[str, tuple[tuple[str, Any], tuple[str, Any], tuple[Any, Any]]] = {
    # By field: what config.env says and means, what the environment says and means, a flag and what it means.
    "project": (
        ("one", (Path("one"),)),
        (os.pathsep.join(("two", "three")), (Path("two"), Path("three"))),
        (("four",), (Path("four"),)),
    ),
    "destination": (("./a", ("./a",)), ("./b, ./c", ("./b", "./c")), (("./d",), ("./d",))),
    "bucket_name": (("one", "one"), ("two", "two"), ("three", "three")),
    "aws_profile": (("one", "one"), ("two", "two"), ("three", "three")),
    "aws_region": (("eu-west-1", "eu-west-1"), ("auto", "auto"), ("us-east-1", "us-east-1")),
    "endpoint_url": (
        ("https://s3.one.example", "https://s3.one.example"),
        ("http://two.example:9000", "http://two.example:9000"),
        ("https://s3.three.example/", "https://s3.three.example/"),
    ),
    "bucket_owner": (
        ("111122223333", "111122223333"),
        ("444455556666", "444455556666"),
        ("777788889999", "777788889999"),
    ),
    "downloader": (("direct", DownloaderName.DIRECT), ("pip", DownloaderName.PIP), ("direct", DownloaderName.DIRECT)),
    "slash_keys": (("never", SlashKeys.NEVER), ("always", SlashKeys.ALWAYS), ("auto", SlashKeys.AUTO)),
    "work_dir": (("one", Path("one")), ("two", Path("two")), (Path("three"), Path("three"))),
    "targets": (
        ("linux-x86_64", ("linux-x86_64",)),
        ("macos-arm64,noarch", ("macos-arm64", "noarch")),
        ("windows-amd64", ("windows-amd64",)),
    ),
    "python_versions": (("3.9", ("3.9",)), ("3.10, 3.11", ("3.10", "3.11")), ("3.12", ("3.12",))),
    "glibc": (("2.17", "2.17"), ("2.31", "2.31"), ("2.35", "2.35")),
    "macos": (("11.0", "11.0"), ("12.0", "12.0"), ("13.0", "13.0")),
    "musl": (("1.1", "1.1"), ("1.0", "1.0"), ("1.3", "1.3")),
    "groups": (("main", ("main",)), ("main,dev", ("main", "dev")), ("docs", ("docs",))),
    "extras": (("a", ("a",)), ("b", ("b",)), ("c", ("c",))),
    "sdists": (("never", SdistPolicy.NEVER), ("always", SdistPolicy.ALWAYS), ("never", SdistPolicy.NEVER)),
    "index_url": (
        ("https://one.example/simple", "https://one.example/simple"),
        ("https://two.example/simple", "https://two.example/simple"),
        ("https://three.example/simple", "https://three.example/simple"),
    ),
    "jobs": (("2", 2), ("3", 3), (4, 4)),
    "offline": (("true", True), ("0", False), (True, True)),
    "cloudfront_distribution_id": (("EONE", "EONE"), ("ETWO", "ETWO"), ("ETHREE", "ETHREE")),
    "cloudfront_domain": (
        ("one.example", "one.example"),
        ("two.example/pypi", "two.example/pypi"),
        ("three.example", "three.example"),
    ),
    "invalidation_wait": (("60", 60.0), ("0", 0.0), (1.5, 1.5)),
    "base_url": (
        ("https://one.example/", "https://one.example/"),
        ("https://two.example/", "https://two.example/"),
        ("https://three.example/", "https://three.example/"),
    ),
    "infra_mode": (("cdn", "cdn"), ("s3-only", "s3-only"), ("cdn", "cdn")),
    "stack_name": (("one", "one"), ("two", "two"), ("three", "three")),
    "domain": (("one.example", "one.example"), ("two.example", "two.example"), ("three.example", "three.example")),
    "hosted_zone_id": (("Z1", "Z1"), ("Z2", "Z2"), ("Z3", "Z3")),
    "certificate_arn": (("arn:1", "arn:1"), ("arn:2", "arn:2"), ("arn:3", "arn:3")),
    "price_class": (
        ("PriceClass_200", "PriceClass_200"),
        ("PriceClass_All", "PriceClass_All"),
        ("PriceClass_200", "PriceClass_200"),
    ),
    "retention_days": (("1", 1), ("30", 30), (365, 365)),
    "basic_auth": (
        (f"a:{'0' * 64}", (Reader("a", "0" * 64),)),
        (f"a:{'1' * 64}, b:{'2' * 64}", (Reader("a", "1" * 64), Reader("b", "2" * 64))),
        (f"c:{'3' * 64}", (Reader("c", "3" * 64),)),
    ),
    "deploy_identity": (("gitlab", Identity.GITLAB), ("user", Identity.USER), ("none", Identity.NONE)),
    "deploy_repository": (("acme/one", "acme/one"), ("acme/two", "acme/two"), ("acme/three", "acme/three")),
    "deploy_repository_id": (("1", "1"), ("2", "2"), ("3", "3")),
    "deploy_owner_id": (("1", "1"), ("2", "2"), ("3", "3")),
    "deploy_environment": (("one", "one"), ("two", "two"), ("three", "three")),
    "deploy_branch": (("one", "one"), ("two", "two"), ("three", "three")),
    "gitlab_url": (
        ("https://one.example", "https://one.example"),
        ("https://two.example", "https://two.example"),
        ("https://three.example", "https://three.example"),
    ),
    "fail_on": (("none", ("none",)), ("no-wheel", ("no-wheel",)), ("direct", ("direct",))),
}


def test_a_bucket_is_the_destination_unless_another_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    configure("BUCKET_NAME=mirror-example\nDESTINATION=\n")
    assert load(None, {}).destination == ("s3://mirror-example",)
    assert load(None, {"destination": ("./site",)}).destination == ("./site",)
    monkeypatch.setenv("DESTINATION", "s3://other/team, ./site")
    assert load(None, {}).destination == ("s3://other/team", "./site")


def test_every_field_has_a_sample_here() -> None:
    assert set(SAMPLES) == set(NAMES)


@pytest.mark.parametrize("field", SAMPLES)
def test_flags_beat_the_environment_beats_the_file_beats_the_default(
    field: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (in_file, from_file), (in_environment, from_environment), (flag, from_flag) = SAMPLES[field]
    default = getattr(Settings(), field)
    assert getattr(load(None, {}), field) == default
    configure(f"{field.upper()}={in_file}\n")
    assert getattr(load(None, {}), field) == from_file != default
    monkeypatch.setenv(field.upper(), in_environment)
    assert getattr(load(None, {}), field) == from_environment != from_file
    assert getattr(load(None, {field: flag}), field) == from_flag != from_environment
    assert getattr(load(None, {field: None}), field) == from_environment


@pytest.mark.parametrize("field", SAMPLES)
def test_what_is_left_empty_is_not_set(field: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(field.upper(), "")
    assert getattr(load(None, {}), field) == getattr(Settings(), field)
    configure(f"{field.upper()}=\n")
    assert getattr(load(None, {}), field) == getattr(Settings(), field)


def test_another_file_can_be_named(tmp_path: Path) -> None:
    configure("JOBS=2\n")
    other = tmp_path / "ci.env"
    other.write_text("OFFLINE=yes\n", "utf-8")
    loaded = load(other, {})
    assert (loaded.offline, loaded.jobs) == (True, 16)


def test_a_named_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(MirrorError, match=re.escape(str(tmp_path / "none.env"))) as caught:
        load(tmp_path / "none.env", {})
    assert caught.value.exit_code == 2
    assert "config.env.example" in caught.value.hint


def test_the_usual_file_need_not_be_there() -> None:
    assert load(None, {}) == Settings()


# --- the example --------------------------------------------------------------------------------


def keys_of(text: str) -> list[str]:
    return re.findall(r"^([A-Z_]+)=", text, re.MULTILINE)


def test_the_example_names_every_setting_and_nothing_else() -> None:
    keys = keys_of(EXAMPLE.read_text("utf-8"))
    assert sorted(keys) == sorted(name.upper() for name in NAMES)
    assert unknown_keys(EXAMPLE) == ()


def test_the_example_says_the_defaults() -> None:
    assert load(EXAMPLE, {}) == Settings()
    values = dict(re.findall(r"^([A-Z_]+)=(.*)$", EXAMPLE.read_text("utf-8"), re.MULTILINE))
    for name in NAMES:
        assert bool(values[name.upper()]) is (getattr(Settings(), name) not in ((), "")), name


def test_the_example_explains_every_setting() -> None:
    for block in EXAMPLE.read_text("utf-8").split("\n\n"):
        if keys_of(block):
            assert block.startswith("# "), block


def test_the_example_names_every_target_and_every_reason_to_fail() -> None:
    text = EXAMPLE.read_text("utf-8")
    assert all(name in text for name in TARGETS)
    known = re.search(r"^# Known: (.*); or none\.$\n^FAIL_ON=", text, re.MULTILINE)
    assert known is not None
    named = {Reason(word) for word in known[1].split(", ")}
    assert parse_policy(known[1]) == named
    for reason in set(Reason) - named:
        with pytest.raises(MirrorError):
            parse_policy(reason)


# --- what is wrong ------------------------------------------------------------------------------

BAD = {
    "jobs-word": ("JOBS", "many"),
    "jobs-none": ("JOBS", "0"),
    "jobs-too-many": ("JOBS", "1000"),
    "offline": ("OFFLINE", "perhaps"),
    "sdists": ("SDISTS", "sometimes"),
    "target": ("TARGETS", "linux-x86_64,beos"),
    "only-noarch": ("TARGETS", "noarch"),
    "no-target": ("TARGETS", ","),
    "python-major": ("PYTHON_VERSIONS", "3"),
    "python-patch": ("PYTHON_VERSIONS", "3.11.2"),
    "python-word": ("PYTHON_VERSIONS", "3.11,latest"),
    "python-leading-zero": ("PYTHON_VERSIONS", "3.011"),
    "index-port": ("INDEX_URL", "https://me:secret@index.example:port/simple"),
    "index-host": ("INDEX_URL", "https://[index.example/simple"),
    "python-digits": ("PYTHON_VERSIONS", "3.\u0661\u0661"),
    "glibc": ("GLIBC", "new"),
    "macos": ("MACOS", "14"),
    "musl": ("MUSL", "1.2.3"),
    "distribution": ("CLOUDFRONT_DISTRIBUTION_ID", "../E"),
    "distribution-arn": ("CLOUDFRONT_DISTRIBUTION_ID", "arn:aws:cloudfront::111122223333:distribution/E"),
    "domain-with-a-tilde": ("CLOUDFRONT_DOMAIN", "cdn.example/~team"),
    "wait-negative": ("INVALIDATION_WAIT", "-1"),
    "wait-forever": ("INVALIDATION_WAIT", "inf"),
    "wait-word": ("INVALIDATION_WAIT", "long"),
    "infra-mode": ("INFRA_MODE", "cloud"),
    "price-class": ("PRICE_CLASS", "cheap"),
    "retention": ("RETENTION_DAYS", "0"),
    "reader-without-digest": ("BASIC_AUTH", "ci:secret"),
    "identity": ("DEPLOY_IDENTITY", "me"),
    "endpoint": ("ENDPOINT_URL", "s3.example"),
    "endpoint-with-a-password": ("ENDPOINT_URL", "https://me:secret@s3.example"),
    "owner": ("BUCKET_OWNER", "1111-2222-3333"),
    "bucket-with-a-prefix": ("BUCKET_NAME", "wheels/team"),
    "fail-on": ("FAIL_ON", "no-wheel,bad-weather"),
    "fail-on-covered": ("FAIL_ON", "covered"),
}


@pytest.mark.parametrize(("key", "value"), BAD.values(), ids=BAD)
def test_a_bad_value_names_its_key(key: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    configure(f"{key}={value}\n")
    with pytest.raises(MirrorError, match=f"^{key}") as in_file:
        load(None, {})
    assert in_file.value.exit_code == 2
    Path("config.env").unlink()
    monkeypatch.setenv(key, value)
    with pytest.raises(MirrorError, match=f"^{key}"):
        load(None, {})
    monkeypatch.delenv(key)
    with pytest.raises(MirrorError, match=f"^{key}"):
        load(None, {key.lower(): value})


def test_all_bad_values_are_told_at_once() -> None:
    configure("JOBS=many\nSDISTS=sometimes\n")
    with pytest.raises(MirrorError) as caught:
        load(None, {})
    assert [line.partition(":")[0] for line in str(caught.value).splitlines()] == ["SDISTS", "JOBS"]


def test_keys_that_are_no_setting_are_found() -> None:
    configure("JOBS=2\nTARGET=linux-x86_64\nexport Offline=true\n# COMMENT=1\nDESTINATON=./site\nALONE\n")
    assert unknown_keys(None) == ("ALONE", "DESTINATON", "TARGET")
    assert unknown_keys(Path("config.env")) == ("ALONE", "DESTINATON", "TARGET")


def test_without_a_file_no_key_is_unknown() -> None:
    assert unknown_keys(None) == ()


@pytest.mark.parametrize(
    ("text", "line"),
    [("JOBS 16\n", 1), ("JOBS=2\n\nOFFLINE: true\n", 3), ("INDEX_URL='https://user:secret@index.example\n", 1)],
    ids=["no-equals", "colon", "quote-without-an-end"],
)
def test_a_line_that_is_no_setting_is_an_error_and_not_shown(text: str, line: int) -> None:
    configure(text)
    for read in (lambda: load(None, {}), lambda: unknown_keys(None)):
        with pytest.raises(MirrorError, match=rf"^config\.env:{line}: ") as caught:
            read()
        assert "secret" not in str(caught.value)
        assert caught.value.hint


def test_a_file_that_is_no_text_is_an_error() -> None:
    Path("config.env").write_bytes(b"JOBS=\xff\n")
    for read in (lambda: load(None, {}), lambda: unknown_keys(None)):
        with pytest.raises(MirrorError, match="cannot read config"):
            read()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_a_byte_order_mark_is_no_part_of_a_key(encoding: str) -> None:
    Path("config.env").write_text("WORK_DIR=Größe\r\nJOBS=2\r\n", encoding)
    loaded = load(None, {})
    assert (loaded.work_dir, loaded.jobs) == (Path("Größe"), 2)
    assert unknown_keys(None) == ()


def test_comments_quotes_and_spaces() -> None:
    configure("# a comment\nDESTINATION='./a, ./b' # both\nGROUPS = main , dev\n")
    loaded = load(None, {})
    assert loaded.destination == ("./a", "./b")
    assert loaded.groups == ("main", "dev")


# --- what they mean -----------------------------------------------------------------------------


def test_platforms_stand_in_one_order_and_noarch_is_none() -> None:
    loaded = load(None, {"targets": "noarch,windows-amd64,linux-x86_64"})
    assert loaded.platforms == (TARGETS["linux-x86_64"], TARGETS["windows-amd64"])


def test_the_baseline_is_that_of_the_three_settings() -> None:
    loaded = load(None, {"glibc": "2.35", "macos": "15.1", "musl": "1.1"})
    assert loaded.baseline == Baseline(glibc=(2, 35), macos=(15, 1), musl=(1, 1))
    assert load(None, {}).baseline == Baseline()


def test_the_scope_is_everything_unless_it_is_named() -> None:
    assert load(None, {}).scope == Scope(groups=None, extras=None)
    named = load(None, {"groups": "Main,dev_tools", "extras": "S3"}).scope
    assert named == Scope(
        groups=frozenset({canonicalize_name("main"), canonicalize_name("dev-tools")}),
        extras=frozenset({canonicalize_name("s3")}),
    )


def test_the_policy_is_every_hole_unless_it_is_named() -> None:
    assert load(None, {}).policy == HOLES
    assert load(None, {"fail_on": "yanked,no-wheel"}).policy == {Reason.YANKED, Reason.NO_WHEEL}
    assert load(None, {"fail_on": "none"}).policy == frozenset()
