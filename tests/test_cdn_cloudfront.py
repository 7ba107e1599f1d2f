"""CloudFront over real HTTP with real boto3, against a stand-in that refuses what AWS refuses."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from mirror.cdn.base import Ticket
from mirror.cdn.cloudfront import CloudFront
from mirror.errors import RemoteError
from mirror.layout import PAGE_TAG, headers
from tests import cloudfront_stand_in as cloud
from tests.cloudfront_stand_in import DISTRIBUTION, CloudFrontStandIn, Distribution

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGES = ("/", "/simple/", "/simple/a/")


@pytest.fixture
def stand_in() -> Iterator[CloudFrontStandIn]:
    with CloudFrontStandIn() as running:
        yield running


@pytest.fixture(autouse=True)
def _led_there(stand_in: CloudFrontStandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in stand_in.environment.items():
        monkeypatch.setenv(name, value)


def client() -> Any:
    return boto3.client(
        "cloudfront", region_name="us-east-1", config=Config(retries={"total_max_attempts": 1}, read_timeout=5)
    )


def cloudfront(**options: Any) -> CloudFront:
    return CloudFront(client(), DISTRIBUTION, **{"delay": 0.01, **options})


# --- asking and waiting -------------------------------------------------------------------------


def test_an_invalidation_is_in_progress_until_it_is_completed(stand_in: CloudFrontStandIn) -> None:
    stand_in.takes = 0.3
    cdn = cloudfront()
    ticket = cdn.invalidate(PAGES, "r")
    assert not ticket.completed
    assert cdn.status(ticket) == ticket
    time.sleep(0.4)
    assert cdn.status(ticket) == Ticket(ids=ticket.ids, pending=())
    assert [made.paths for made in stand_in.invalidations] == [PAGES]


@pytest.mark.parametrize("spelling", ["Completed", "COMPLETED", "completed"])
def test_completed_is_understood_in_any_case(stand_in: CloudFrontStandIn, spelling: str) -> None:
    stand_in.spells_done = spelling
    assert cloudfront().invalidate(PAGES, "r").completed


def test_the_same_again_is_the_same_invalidation_and_costs_nothing(stand_in: CloudFrontStandIn) -> None:
    first = cloudfront().invalidate(PAGES, "r")
    assert cloudfront().invalidate(PAGES, "r") == first
    assert stand_in.billed == len(PAGES)
    assert cloudfront().invalidate(PAGES, "s").ids != first.ids
    assert cloudfront().invalidate(PAGES[:2], "r").ids != first.ids
    assert stand_in.billed == 8


def test_many_paths_go_in_batches(stand_in: CloudFrontStandIn) -> None:
    paths = tuple(f"/{number:04d}" for number in range(2001))
    ticket = cloudfront().invalidate(paths, "r")
    assert [len(made.paths) for made in stand_in.invalidations] == [1000, 1000, 1]
    assert ticket.ids == tuple(made.id for made in stand_in.invalidations)
    assert stand_in.billed == 2001


def test_only_what_is_pending_is_asked_for(stand_in: CloudFrontStandIn) -> None:
    paths = tuple(f"/{number:04d}" for number in range(1001))
    ticket = cloudfront().invalidate(paths, "r")
    stand_in.requests.clear()
    assert cloudfront().status(ticket).completed
    assert cloudfront().status(Ticket(ids=ticket.ids, pending=ticket.ids[1:])).completed
    assert stand_in.requests == ["GetInvalidation"]


def test_wildcards_and_tags_are_taken(stand_in: CloudFrontStandIn) -> None:
    cloudfront().invalidate(("#mirror-page", "/a%2Bb", "/simple/*"), "r")
    assert stand_in.billed == 3


# --- faults -------------------------------------------------------------------------------------

PASSING = {
    "throttled": cloud.THROTTLED,
    "too-many": cloud.BUSY,
    "broken": cloud.BROKEN,
    "lost-request": cloud.LOST_REQUEST,
    "lost-reply": cloud.LOST_REPLY,
    "gateway": cloud.Fault("BadGateway", 502),
    "slow-down": cloud.Fault("Unheard", 429),
}


@pytest.mark.parametrize("fault", PASSING.values(), ids=PASSING)
def test_what_passes_is_waited_for_and_nothing_is_paid_twice(stand_in: CloudFrontStandIn, fault: cloud.Fault) -> None:
    stand_in.faults = [fault] * 3
    ticket = cloudfront().invalidate(PAGES, "r")
    assert stand_in.requests == ["CreateInvalidation"] * 4
    assert stand_in.billed == len(PAGES)
    stand_in.faults = [fault] * 3
    assert cloudfront().status(Ticket(ids=ticket.ids, pending=ticket.ids)).completed


@pytest.mark.parametrize("fault", PASSING.values(), ids=PASSING)
def test_patience_ends(stand_in: CloudFrontStandIn, fault: cloud.Fault) -> None:
    stand_in.faults = [fault] * 4
    with pytest.raises(RemoteError, match=DISTRIBUTION) as caught:
        cloudfront(attempts=4).invalidate(PAGES, "r")
    assert len(stand_in.requests) == 4
    assert "mirror invalidate" in caught.value.hint
    assert caught.value.exit_code == 3


def test_waits_grow(stand_in: CloudFrontStandIn) -> None:
    stand_in.faults = [cloud.THROTTLED] * 4
    begun = time.monotonic()
    cloudfront(delay=0.1).invalidate(PAGES, "r")
    # Half of 0.1 + 0.2 + 0.4 + 0.8 seconds at least, all of it at most.
    assert 0.75 <= time.monotonic() - begun < 5


def test_a_rate_is_respected_by_trying_again(stand_in: CloudFrontStandIn) -> None:
    stand_in.rate = 5000.0
    paths = tuple(f"/{number:04d}" for number in range(2001))
    assert cloudfront(delay=0.05).invalidate(paths, "r").completed
    assert stand_in.billed == 2001
    assert len(stand_in.requests) > 3


REFUSALS = {
    "denied": (cloud.DENIED, "CreateInvalidation was refused", "cloudfront:CreateInvalidation on arn:aws:cloudfront::"),
    "no-distribution": (cloud.Fault("NoSuchDistribution", 404), "NoSuchDistribution", "CLOUDFRONT_DISTRIBUTION_ID"),
    "expired": (cloud.Fault("ExpiredToken", 403), "ExpiredToken", "renew"),
    "reference": (cloud.Fault("InvalidationBatchAlreadyExists", 400), "AlreadyExists", "--all"),
    "unknown": (cloud.Fault("Strange", 400), "Strange", "mirror invalidate"),
}


@pytest.mark.parametrize(("fault", "message", "hint"), REFUSALS.values(), ids=REFUSALS)
def test_a_refusal_is_told_at_once_with_what_to_do(
    stand_in: CloudFrontStandIn, fault: cloud.Fault, message: str, hint: str
) -> None:
    stand_in.faults = [fault]
    with pytest.raises(RemoteError, match=message) as caught:
        cloudfront().invalidate(PAGES, "r")
    assert hint in caught.value.hint
    assert stand_in.requests == ["CreateInvalidation"]
    assert isinstance(caught.value.__cause__, ClientError)


def test_a_distribution_that_is_not_there(stand_in: CloudFrontStandIn) -> None:
    with pytest.raises(RemoteError, match="NoSuchDistribution"):
        CloudFront(client(), "EOTHER").invalidate(PAGES, "r")


def test_nobody_there(stand_in: CloudFrontStandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_CLOUDFRONT", "http://127.0.0.1:9")
    with pytest.raises(RemoteError, match="does not answer"):
        cloudfront(attempts=2).invalidate(PAGES, "r")


# --- credentials --------------------------------------------------------------------------------


def test_open_signs_for_the_one_region_of_cloudfront(stand_in: CloudFrontStandIn) -> None:
    for region in ("", "eu-central-1"):
        assert CloudFront.open(DISTRIBUTION, region=region).invalidate(PAGES, "r").ids
    assert stand_in.billed == len(PAGES)


def test_without_credentials(stand_in: CloudFrontStandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(RemoteError, match="Unable to locate credentials") as caught:
        CloudFront.open(DISTRIBUTION).invalidate(PAGES, "r")
    assert "AWS_PROFILE" in caught.value.hint
    assert stand_in.requests == []


def test_with_the_wrong_credentials(stand_in: CloudFrontStandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "ANOTHER-KEY")
    with pytest.raises(RemoteError, match="InvalidClientTokenId") as caught:
        CloudFront.open(DISTRIBUTION).invalidate(PAGES, "r")
    assert "credentials" in caught.value.hint
    assert cloud.CREDENTIALS["AWS_SECRET_ACCESS_KEY"] not in str(caught.value)


def test_a_profile_that_there_is_none_of() -> None:
    with pytest.raises(RemoteError, match="nobody") as caught:
        CloudFront.open(DISTRIBUTION, profile="nobody")
    assert "AWS_PROFILE" in caught.value.hint


# --- names and tags -----------------------------------------------------------------------------

DOMAINS = {
    "": ("", f"CloudFront {DISTRIBUTION}"),
    "mirror.example": ("", f"CloudFront {DISTRIBUTION} (mirror.example)"),
    "https://mirror.example/": ("", f"CloudFront {DISTRIBUTION} (mirror.example)"),
    "cdn.example/pypi": ("/pypi", f"CloudFront {DISTRIBUTION} (cdn.example)"),
    "https://cdn.example/a/b/": ("/a/b", f"CloudFront {DISTRIBUTION} (cdn.example)"),
}


@pytest.mark.parametrize(("domain", "expected"), DOMAINS.items())
def test_the_domain_says_name_and_base(domain: str, expected: tuple[str, str]) -> None:
    cdn = cloudfront(domain=domain)
    assert (cdn.base, cdn.name) == expected
    assert cdn.id == DISTRIBUTION


@pytest.mark.parametrize(
    ("header", "tag"),
    [("x-amz-meta-cache-tag", PAGE_TAG), ("X-Amz-Meta-Cache-Tag", PAGE_TAG), ("Cache-Tag", ""), ("", "")],
)
def test_tags_are_used_where_the_distribution_reads_them_from_s3(
    stand_in: CloudFrontStandIn, header: str, tag: str
) -> None:
    stand_in.distributions[DISTRIBUTION].tag_header = header
    assert cloudfront().page_tag() == tag


def test_who_may_not_read_the_configuration_goes_without_tags(stand_in: CloudFrontStandIn) -> None:
    stand_in.distributions[DISTRIBUTION].tag_header = "x-amz-meta-cache-tag"
    stand_in.denied = {"GetDistributionConfig"}
    assert cloudfront().page_tag() == ""


def test_a_configuration_that_cannot_be_read_now_is_an_error(stand_in: CloudFrontStandIn) -> None:
    stand_in.faults = [cloud.BROKEN] * 2
    with pytest.raises(RemoteError, match="GetDistributionConfig"):
        cloudfront(attempts=2).page_tag()


def test_pages_carry_the_tag_and_nothing_else_does() -> None:
    pages = ("index.html", "simple/", "simple/index.html", "simple/a/index.v1_json", "simple/a/")
    assert {headers(key).cache_tag for key in pages} == {PAGE_TAG}
    assert {headers(key).cache_tag for key in ("packages/a.whl", ".mirror/current.json")} == {""}


# --- the stand-in is as strict as AWS -----------------------------------------------------------


def create(reference: str, *paths: str, quantity: int | None = None) -> Any:
    batch = {
        "CallerReference": reference,
        "Paths": {"Quantity": len(paths) if quantity is None else quantity, "Items": list(paths)},
    }
    return client().create_invalidation(DistributionId=DISTRIBUTION, InvalidationBatch=batch)["Invalidation"]


REFUSED = {
    "no-slash": ("simple/",),
    "star-in-the-middle": ("/simple/*/index.html",),
    "tilde": ("/~team/",),
    "quoted-tilde": ("/%7Eteam/",),
    "not-ascii": ("/größe",),
    "space": ("/a b",),
    "half-quoted": ("/a%2",),
    "long": ("/" + "a" * 4000,),
    "tag-with-a-comma": ("#a,b",),
    "one-of-two": ("/", "a"),
}


@pytest.mark.parametrize("paths", REFUSED.values(), ids=REFUSED)
def test_bad_paths_are_refused_there(stand_in: CloudFrontStandIn, paths: tuple[str, ...]) -> None:
    with pytest.raises(ClientError, match="InvalidArgument"):
        create("r", *paths)
    assert stand_in.billed == 0


def test_too_many_paths_are_refused_there() -> None:
    with pytest.raises(ClientError, match="BatchTooLarge"):
        create("r", *(f"/{number}" for number in range(3001)))
    assert create("r", *(f"/{number}" for number in range(3000)))["Status"] == "Completed"


def test_a_wrong_quantity_is_refused_there() -> None:
    with pytest.raises(ClientError, match="InconsistentQuantities"):
        create("r", "/a", quantity=2)


def test_references_are_kept_there(stand_in: CloudFrontStandIn) -> None:
    first = create("r", "/a", "/b")
    assert create("r", "/b", "/a")["Id"] == first["Id"]
    with pytest.raises(ClientError, match="caller reference that was used"):
        create("r", "/a")
    assert stand_in.billed == 2


def test_invalidations_are_listed_there_newest_first() -> None:
    made = [create(str(number), f"/{number}")["Id"] for number in range(5)]
    pages = client().get_paginator("list_invalidations").paginate(DistributionId=DISTRIBUTION, MaxItems="2")
    assert [one["Id"] for page in pages for one in page["InvalidationList"]["Items"]] == made[::-1]
    with pytest.raises(ClientError, match="NoSuchInvalidation"):
        client().get_invalidation(DistributionId=DISTRIBUTION, Id="I0")


def test_distributions_are_apart_there(stand_in: CloudFrontStandIn) -> None:
    stand_in.distributions["EOTHER"] = Distribution()
    create("r", "/a")
    assert not stand_in.distributions["EOTHER"].invalidations


def test_it_tells_what_completes() -> None:
    told: list[tuple[str, ...]] = []
    with CloudFrontStandIn(takes=0.1, on_completed=told.append) as stand_in:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("AWS_ENDPOINT_URL_CLOUDFRONT", stand_in.url)
            cloudfront().invalidate(("/a", "/simple/*"), "r")
        assert told == []
        deadline = time.monotonic() + 10
        while not told and time.monotonic() < deadline:
            time.sleep(0.02)
    assert told == [("/a", "/simple/*")]
    assert list(cloud.covered(told[0], ["/a", "/a/", "/simple/", "/simple/b/"])) == ["/a", "/simple/", "/simple/b/"]
