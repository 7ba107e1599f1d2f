"""Stacks, keys and buckets against a strict stand-in over HTTP, with real boto3; and the commands as users run them."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mirror.errors import ConflictError, MirrorError, RemoteError
from mirror.infra.aws import Account
from mirror.infra.blueprint import Blueprint, Identity, Mode, Publisher
from mirror.infra.bucket import Bucket
from mirror.infra.deployment import Deployment
from mirror.infra.keys import Key, Rotation, store_in_file
from mirror.infra.stack import Action, StackFailedError
from mirror.infra.template import TAG
from mirror.progress import Silence
from tests import aws_stand_in
from tests.templates import ACCOUNT, REGION

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mirror.infra.keys import Store
    from tests.aws_stand_in import Aws

ROOT = Path(__file__).resolve().parent.parent
PLAIN = Blueprint(region=REGION)
NAME = f"mirror-{ACCOUNT}-{REGION}"
OLD, ONE, TWO = (f"KEY{word * 3}EXAMPLE" for word in ("OLD", "ONE", "TWO"))
USER = replace(PLAIN, publisher=Publisher(identity=Identity.USER))
GITHUB = replace(
    PLAIN,
    publisher=Publisher(identity=Identity.GITHUB, repository="acme/app", repository_id="1", owner_id="2"),
)


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[Aws]:
    with aws_stand_in.running() as account:
        for name, value in aws_stand_in.environment(account).items():
            monkeypatch.setenv(name, value)
        yield account


def deployment(wanted: Blueprint = PLAIN) -> Deployment:
    return Deployment(wanted=wanted, account=Account(region=REGION), progress=Silence(), pause=0.0)


def bring_up(wanted: Blueprint = PLAIN) -> Deployment:
    made = deployment(wanted)
    made.stack.prepare()
    made.stack.execute(made.propose())
    return made


# --- the stack ----------------------------------------------------------------------------------


def test_nothing_is_made_before_it_is_agreed_to(aws: Aws) -> None:
    made = deployment()
    changes = made.propose()
    assert changes.creates
    assert {change.action for change in changes.changes} == {Action.ADD}
    assert {"Bucket", "Distribution", "EdgeFunction"} <= {change.name for change in changes.changes}
    assert not aws.buckets
    made.stack.discard(changes)
    assert made.stack.status() is None
    assert not aws.sets


def test_it_comes_up_and_a_second_run_changes_nothing(aws: Aws) -> None:
    made = bring_up()
    found = made.stack.status()
    assert found is not None
    assert found.state == "CREATE_COMPLETE"
    settings = dict(made.settings(found))
    assert settings == {
        "AWS_REGION": REGION,
        "BUCKET_NAME": NAME,
        "BUCKET_OWNER": ACCOUNT,
        "BASE_URL": "https://d111111abcdef8.cloudfront.net/",
        "CLOUDFRONT_DISTRIBUTION_ID": "EDFDVBD6EXAMPLE",
        "CLOUDFRONT_DOMAIN": "d111111abcdef8.cloudfront.net",
    }
    aws.calls.clear()
    # As the next run reads it back from config.env.
    assert deployment(replace(PLAIN, bucket=settings["BUCKET_NAME"])).propose().empty
    assert "ExecuteChangeSet" not in aws.calls
    assert not [each for each in aws.sets.values() if each.status == "FAILED"], "a failed change set is cleared away"


def test_changes_are_told_apart(aws: Aws) -> None:
    bring_up(USER)
    other = replace(PLAIN, bucket="acme-wheels", retention=30)
    found = {change.name: change for change in deployment(other).propose().changes}
    assert found["Bucket"].action is Action.REPLACE
    assert found["Bucket"].detail == "BucketName, LifecycleConfiguration"
    assert found["PublisherUser"].action is Action.REMOVE
    assert "Distribution" not in found


def test_a_creation_that_fails_names_what_failed_first_and_can_be_tried_again(aws: Aws) -> None:
    aws.broken["BucketPolicy"] = "Access Denied by the block of public policies"
    made = deployment()
    with pytest.raises(StackFailedError, match=r"BucketPolicy .*Access Denied") as caught:
        made.stack.execute(made.propose())
    assert caught.value.resource == "BucketPolicy"
    assert "INFRA_MODE=cdn" in caught.value.hint
    assert caught.value.exit_code == 3
    assert aws.stacks["mirror"].state == "ROLLBACK_COMPLETE"
    with pytest.raises(MirrorError, match="ROLLBACK_COMPLETE"):
        made.propose()
    aws.broken.clear()
    bring_up()
    assert aws.stacks["mirror"].state == "CREATE_COMPLETE"


def test_an_update_that_fails_is_not_taken_for_done(aws: Aws) -> None:
    bring_up()
    aws.broken["Bucket"] = "no"
    made = deployment(replace(PLAIN, retention=7))
    with pytest.raises(StackFailedError, match="Bucket") as caught:
        made.stack.execute(made.propose())
    assert caught.value.reason == "no", "not that of an earlier run, and not what was only cancelled"
    assert aws.stacks["mirror"].state == "UPDATE_ROLLBACK_COMPLETE"


def test_a_change_of_somebody_else_meanwhile_is_a_conflict(aws: Aws) -> None:
    bring_up()
    first, second = deployment(replace(PLAIN, retention=7)), deployment(replace(PLAIN, retention=8))
    proposed = first.propose()
    second.stack.execute(second.propose())
    with pytest.raises(ConflictError):
        first.stack.execute(proposed)


def test_a_busy_stack_is_waited_for(aws: Aws) -> None:
    made = bring_up()
    aws.stacks["mirror"].state = "UPDATE_IN_PROGRESS"
    aws.stacks["mirror"].steps = ["UPDATE_COMPLETE_CLEANUP_IN_PROGRESS", "UPDATE_COMPLETE"]
    made.stack.prepare()
    assert aws.stacks["mirror"].state == "UPDATE_COMPLETE"


def test_a_stack_that_only_a_person_can_help_is_left_alone(aws: Aws) -> None:
    made = bring_up()
    aws.stacks["mirror"].state = "UPDATE_ROLLBACK_FAILED"
    with pytest.raises(MirrorError, match="UPDATE_ROLLBACK_FAILED"):
        made.stack.prepare()


def test_patience_ends(aws: Aws) -> None:
    made = bring_up()
    aws.stacks["mirror"].state = "UPDATE_IN_PROGRESS"
    with pytest.raises(ConflictError, match="still UPDATE_IN_PROGRESS"):
        replace(made.stack, patience=0.0).prepare()


def test_only_absent_means_absent(aws: Aws) -> None:
    aws.refuse["DescribeStacks"] = 1
    with pytest.raises(RemoteError, match="AccessDenied") as caught:
        deployment().stack.status()
    assert "cloudformation:DescribeStacks" in caught.value.hint


def test_a_change_of_outputs_alone_is_a_change(aws: Aws) -> None:
    bring_up()
    aws.stacks["mirror"].template["Outputs"].pop("Region")
    aws.stacks["mirror"].outputs.pop("Region")
    made = deployment()
    changes = made.propose()
    assert [change.name for change in changes.changes] == ["Outputs"]
    found = made.execute(changes)
    assert found.outputs["Region"] == REGION
    assert made.propose().empty
    assert not [each for each in aws.sets.values() if each.execution == "AVAILABLE"], "nothing is left behind"


def test_a_header_that_cloudfront_refuses_fails_the_stack(aws: Aws) -> None:
    made = deployment()
    wrong = json.loads(made.template())
    config = wrong["Resources"]["FileHeaders"]["Properties"]["ResponseHeadersPolicyConfig"]
    header = {"Header": "Access-Control-Allow-Origin", "Value": "*", "Override": True}
    config["CustomHeadersConfig"] = {"Items": [header]}
    with pytest.raises(StackFailedError, match=r"FileHeaders .*cannot be set as custom header"):
        made.stack.execute(made.stack.propose(json.dumps(wrong)))


def foreign(aws: Aws, state: str = "CREATE_COMPLETE") -> aws_stand_in.Stack:
    """Somebody else's stack, of our name."""
    database = {"Resources": {"Database": {"Type": "AWS::RDS::DBInstance"}}, "Outputs": {}}
    made = aws_stand_in.Stack("mirror", "arn:stack/mirror/foreign", state, template=database)
    aws.stacks["mirror"] = made
    return made


@pytest.mark.parametrize("state", ["CREATE_COMPLETE", "ROLLBACK_COMPLETE", "CREATE_FAILED", "UPDATE_IN_PROGRESS"])
def test_a_stack_of_somebody_else_is_not_touched(aws: Aws, state: str) -> None:
    foreign(aws, state)
    made = deployment(USER)
    for ask in (made.stack.prepare, made.propose, made.stack.status, made.delete):
        with pytest.raises(MirrorError, match="somebody else") as caught:
            ask()
        assert "STACK_NAME" in caught.value.hint
    assert aws.stacks["mirror"].state == state
    assert set(aws.calls) <= {"DescribeStacks", "GetCallerIdentity"}


@pytest.mark.parametrize("state", ["CREATE_FAILED", "ROLLBACK_FAILED", "DELETE_FAILED"])
def test_a_stack_that_holds_something_is_not_cleared_away_unasked(aws: Aws, state: str) -> None:
    made = bring_up()
    aws.stacks["mirror"].state = state
    for ask in (made.stack.prepare, made.propose):
        with pytest.raises(MirrorError, match=state) as caught:
            ask()
        assert "infra down" in caught.value.hint
    assert "DeleteStack" not in aws.calls
    made.delete()
    assert not aws.stacks


def test_a_user_with_keys_goes_with_its_stack(aws: Aws) -> None:
    made = bring_up(USER)
    aws.keys["mirror-PublisherUser"] = {ONE: "Active", TWO: "Inactive"}
    # As CloudFormation alone would have it:
    with pytest.raises(StackFailedError, match=r"PublisherUser .*must delete access keys first") as caught:
        made.stack.delete()
    assert "infra down" in caught.value.hint
    assert aws.stacks["mirror"].state == "DELETE_FAILED"
    made.delete()
    assert not aws.stacks
    assert not aws.keys


def test_a_policy_that_was_attached_by_hand_goes_with_its_stack(aws: Aws) -> None:
    made = bring_up(GITHUB)
    policy = f"arn:aws:iam::{ACCOUNT}:policy/PrunePolicy"
    aws.holders[policy] = [("Role", "ops"), ("User", "ann"), ("Group", "admins"), ("Role", "mirror-Publisher")]
    with pytest.raises(StackFailedError, match=r"attached to entities|detach all policies"):
        made.stack.delete()
    made.delete()
    assert not aws.stacks
    assert not aws.holders


def test_another_publisher_takes_the_place_of_a_user_and_of_its_keys(aws: Aws) -> None:
    bring_up(USER)
    aws.keys["mirror-PublisherUser"] = {ONE: "Active"}
    policy = f"arn:aws:iam::{ACCOUNT}:policy/PrunePolicy"
    aws.holders[policy] = [("Role", "ops"), ("User", "mirror-PublisherUser")]
    made = deployment(GITHUB)
    changes = made.propose()
    assert {change.name for change in changes.changes if change.action is Action.REMOVE} == {"PublisherUser"}
    assert aws.keys["mirror-PublisherUser"], "nothing is taken before it is agreed to"
    found = made.execute(changes)
    assert found.outputs["RoleArn"].endswith("role/mirror-Publisher")
    assert not aws.keys, "no user stays behind with a key"
    assert aws.holders[policy] == [("Role", "ops")]


def test_a_provider_that_the_stack_let_go_of_is_used_as_it_is(aws: Aws) -> None:
    for wanted in (GITHUB, USER, GITHUB):
        made = deployment(wanted)
        made.stack.prepare()
        changes = made.propose()
        if not changes.empty:
            made.execute(changes)
    assert made.stack.resources()["Provider"].kept
    assert "Provider" not in aws.stacks["mirror"].template["Resources"]
    assert made.propose().empty


def test_a_provider_for_other_audiences_is_named_before_anything_is_made(aws: Aws) -> None:
    arn = f"arn:aws:iam::{ACCOUNT}:oidc-provider/token.actions.githubusercontent.com"
    aws.providers[arn] = ["https://github.com/acme"]
    with pytest.raises(MirrorError, match=r"does not take tokens for sts\.amazonaws\.com") as caught:
        deployment(GITHUB).propose()
    assert f"--open-id-connect-provider-arn {arn} --client-id sts.amazonaws.com" in caught.value.hint
    assert not aws.stacks
    aws.providers[arn].append("sts.amazonaws.com")
    assert "Provider" not in bring_up(GITHUB).stack.resources()


@pytest.mark.parametrize("lost", ["Region", "BaseUrl", "DistributionId"])
def test_a_stack_without_an_output_says_what_to_do(aws: Aws, lost: str) -> None:
    made = bring_up()
    found = made.stack.status()
    assert found is not None
    with pytest.raises(MirrorError, match="INFRA_MODE=cdn") as caught:
        made.settings(replace(found, outputs={key: value for key, value in found.outputs.items() if key != lost}))
    assert "mirror infra up" in caught.value.hint
    with pytest.raises(MirrorError, match="ROLLBACK_COMPLETE"):
        made.settings(replace(found, state="ROLLBACK_COMPLETE", outputs={}))
    with pytest.raises(MirrorError, match="INFRA_MODE=s3-only"):
        deployment(replace(PLAIN, mode=Mode.S3_ONLY)).settings(found)


def test_the_provider_is_made_once_for_an_account_and_kept_by_who_made_it(aws: Aws) -> None:
    made = bring_up(GITHUB)
    assert "Provider" in made.stack.resources()
    assert deployment(GITHUB).propose().empty, "its own provider is no reason to drop it"
    other = bring_up(replace(GITHUB, stack="second"))
    assert "Provider" not in other.stack.resources()
    assert deployment(replace(GITHUB, stack="second")).propose().empty


# --- keys ---------------------------------------------------------------------------------------


class StopError(Exception):
    """It could not be stored."""


class KilledError(BaseException):
    """The process is killed here."""


def nowhere() -> Store:
    return lambda _: None


def into(stored: list[Key]) -> Callable[[], Store]:
    return lambda: stored.append


def rotation(folder: Path) -> Rotation:
    return Rotation(
        account=Account(region=REGION), user="publisher", record=folder / "rotation.json", progress=Silence(), pause=0.0
    )


def test_the_first_key_is_made_proven_and_stored(aws: Aws, tmp_path: Path) -> None:
    aws.keys["publisher"] = {}
    name = rotation(tmp_path).run(lambda: store_in_file(tmp_path / "key.ini", "mirror"))
    text = (tmp_path / "key.ini").read_text("ascii")
    assert text == f"[mirror]\naws_access_key_id = {name}\naws_secret_access_key = secret-of-{name}\n"
    assert stat.S_IMODE((tmp_path / "key.ini").stat().st_mode) == 0o600
    assert aws.keys["publisher"] == {name: "Active"}
    assert aws.calls.count("GetCallerIdentity") == 3, "a new key is not known at once"
    assert not (tmp_path / "rotation.json").exists()


def test_the_old_key_works_until_the_new_one_is_stored(aws: Aws, tmp_path: Path) -> None:
    aws.keys["publisher"] = {OLD: "Active"}
    seen = []
    name = rotation(tmp_path).run(lambda: lambda key: seen.append((key, dict(aws.keys["publisher"]))))
    [(key, keys)] = seen
    assert keys == {OLD: "Active", name: "Active"}
    assert aws.keys["publisher"] == {name: "Active"}
    assert key.secret not in repr(key)
    order = [call for call in aws.calls if call.endswith("AccessKey")]
    assert order == ["CreateAccessKey", "UpdateAccessKey", "DeleteAccessKey"]


def test_cut_anywhere_and_run_again_it_ends_with_one_stored_key(aws: Aws, tmp_path: Path) -> None:
    """Cut before and after each request, and inside the store: the next run ends as if nothing had happened."""
    for cut in range(1, 40):
        aws.keys["publisher"] = {OLD: "Active"}
        aws.unknown.clear()
        stored: list[Key] = []
        asked = 0

        def count(_: str, limit: int = cut) -> None:
            nonlocal asked
            asked += 1
            if asked == limit:
                raise aws_stand_in.RefusedError("ServiceFailure", "cut", 400)

        aws.on_call = count
        folder = tmp_path / str(cut)
        folder.mkdir()
        try:
            replace(rotation(folder), patience=0.5).run(into(stored))
        except RemoteError:
            interrupted = True
        else:
            interrupted = False
        aws.on_call = None
        working = [name for name, state in aws.keys["publisher"].items() if state == "Active"]
        assert set(working) & {OLD, *(key.name for key in stored)}, "somebody can always publish"
        if interrupted:
            rotation(folder).run(into(stored))
        assert aws.keys["publisher"] == {stored[-1].name: "Active"}
        # A slow machine may lose its patience before the cut: that is one more way to be interrupted.
        if asked < cut and not interrupted:
            assert cut > 8
            return
    pytest.fail("it never ran through")


def test_a_key_that_could_not_be_stored_is_not_left_behind(aws: Aws, tmp_path: Path) -> None:
    aws.keys["publisher"] = {OLD: "Active"}

    def fail(_: Key) -> None:
        raise StopError

    with pytest.raises(StopError):
        rotation(tmp_path).run(lambda: fail)
    assert aws.keys["publisher"][OLD] == "Active"
    assert len(aws.keys["publisher"]) == 2
    assert "secret" not in (tmp_path / "rotation.json").read_text("ascii")
    name = rotation(tmp_path).run(nowhere)
    assert aws.keys["publisher"] == {name: "Active"}


def test_two_active_keys_are_never_guessed_about(aws: Aws, tmp_path: Path) -> None:
    aws.keys["publisher"] = {ONE: "Active", TWO: "Active"}
    with pytest.raises(MirrorError, match="two active keys"):
        rotation(tmp_path).run(nowhere)
    assert aws.keys["publisher"] == {ONE: "Active", TWO: "Active"}
    aws.keys["publisher"][TWO] = "Inactive"
    name = rotation(tmp_path).run(nowhere)
    assert aws.keys["publisher"] == {name: "Active"}


def test_a_credentials_file_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "key.ini"
    path.write_text("mine")
    with pytest.raises(MirrorError, match="cannot write"):
        store_in_file(path, "mirror")
    assert path.read_text() == "mine"
    other = tmp_path / "other.ini"
    store = store_in_file(other, "mirror")
    assert not other.exists(), "it is tried whether it could be written, and no more"
    other.write_text("mine, too")
    with pytest.raises(MirrorError, match="cannot write"):
        store(Key("NAME", "secret"))
    assert other.read_text() == "mine, too"


@pytest.mark.parametrize("place", ["key.ini", "missing/key.ini"])
def test_no_key_is_made_that_there_is_no_place_for(aws: Aws, tmp_path: Path, place: str) -> None:
    (tmp_path / "key.ini").write_text("mine")
    aws.keys["publisher"] = {OLD: "Active"}
    with pytest.raises(MirrorError, match="cannot write"):
        rotation(tmp_path).run(lambda: store_in_file(tmp_path / place, "mirror"))
    assert "CreateAccessKey" not in aws.calls
    assert aws.keys["publisher"] == {OLD: "Active"}
    assert not (tmp_path / "rotation.json").exists()


@pytest.mark.parametrize("old", [{OLD: "Active"}, {}], ids=["another", "the-first"])
def test_a_rotation_that_is_killed_while_it_stores_takes_no_key_from_publishers(
    aws: Aws, tmp_path: Path, old: dict[str, str]
) -> None:
    aws.keys["publisher"] = dict(old)
    stored: list[Key] = []

    def killed(key: Key) -> None:
        stored.append(key)
        raise KilledError

    with pytest.raises(KilledError):
        rotation(tmp_path).run(lambda: killed)
    dead = []
    aws.on_call = lambda action: dead.append(action) if aws.keys["publisher"].get(stored[-1].name) != "Active" else None
    name = rotation(tmp_path).run(into(stored))
    assert aws.keys["publisher"] == {name: "Active"}
    assert stored[-1].name == name
    assert len(stored) == 2
    assert not dead


def test_what_could_not_be_stored_twice_leaves_publishers_their_key(aws: Aws, tmp_path: Path) -> None:
    aws.keys["publisher"] = {OLD: "Active"}

    def fail(_: Key) -> None:
        raise RemoteError("gh: not signed in")

    for _ in range(3):
        with pytest.raises(RemoteError):
            rotation(tmp_path).run(lambda: fail)
        assert aws.keys["publisher"][OLD] == "Active"


# --- the end of a bucket ------------------------------------------------------------------------


def bucket() -> Bucket:
    return Bucket(client=Account(region=REGION).client("s3"), name="wheels", owner=ACCOUNT)


def filled(aws: Aws, count: int = 2300) -> aws_stand_in.Bucket:
    made = aws_stand_in.Bucket({TAG: "mirror"})
    made.versions = [
        (f"packages/p{number // 3}.whl", f"v{number:05d}", None if number % 5 == 0 else 10) for number in range(count)
    ]
    made.uploads = [("packages/half.whl", "u1")]
    aws.buckets["wheels"] = made
    return made


def test_every_version_and_marker_goes_in_batches(aws: Aws) -> None:
    made = filled(aws)
    contents = bucket().refuse_doubts("mirror")
    assert (contents.versions, contents.markers, contents.size) == (1840, 460, 18400)
    made.uploads.clear()
    aws.calls.clear()
    bucket().remove(Silence(), items=2300)
    assert "wheels" not in aws.buckets
    assert aws.calls.count("POST delete") == 3
    assert not bucket().exists()


def test_what_is_in_doubt_stays(aws: Aws) -> None:
    made = filled(aws, 5)
    with pytest.raises(MirrorError, match="was not made by stack other"):
        bucket().refuse_doubts("other")
    made.versions.append(("photos/cat.jpg", "v9", 1))
    with pytest.raises(MirrorError, match=r"photos/cat\.jpg"):
        bucket().refuse_doubts("mirror")
    made.tags.clear()
    with pytest.raises(MirrorError, match="not there"):
        bucket().refuse_doubts("mirror")
    assert len(made.versions) == 6


def test_what_cannot_be_deleted_is_named_and_the_bucket_stays(aws: Aws) -> None:
    made = filled(aws, 5)
    made.uploads.clear()
    aws.stubborn.add("packages/p0.whl")
    with pytest.raises(RemoteError, match=r"packages/p0\.whl: AccessDenied"):
        bucket().remove(Silence(), items=5)
    assert {key for key, _, _ in made.versions} == {"packages/p0.whl"}


def test_a_bucket_that_may_not_be_looked_at_is_not_taken_for_absent(aws: Aws) -> None:
    filled(aws, 1)
    aws.refuse["HEAD bucket"] = 1
    with pytest.raises(RemoteError):
        bucket().exists()


# --- the commands -------------------------------------------------------------------------------

CONFIG = """# our mirror
AWS_REGION=eu-west-1   # near us
INFRA_MODE=cdn

# who publishes
DEPLOY_IDENTITY=user
"""


def life(folder: Path, config: str = CONFIG) -> Path:
    (folder / "config.env").write_text(config)
    done = mirror(folder, "up")
    assert done.returncode == 0, done.stderr
    return folder / "config.env"


def mirror(folder: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mirror", "infra", *words], cwd=folder, capture_output=True, text=True, check=False,
        timeout=120, stdin=subprocess.DEVNULL, env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
    )  # fmt: skip


def test_a_life_by_the_command_line(aws: Aws, tmp_path: Path) -> None:
    config = tmp_path / "config.env"
    config.write_text(CONFIG)
    done = mirror(tmp_path, "plan", "--json")
    assert done.returncode == 0, done.stderr
    assert "Bucket" in {change["name"] for change in json.loads(done.stdout)}
    assert not aws.stacks
    assert config.read_text() == CONFIG

    done = mirror(tmp_path, "up")
    assert done.returncode == 0, done.stderr
    text = config.read_text()
    assert text.startswith(CONFIG)
    assert f"\nBUCKET_NAME={NAME}\n" in text
    assert f"\nDESTINATION=s3://{NAME}\n" in text
    assert "\nCLOUDFRONT_DISTRIBUTION_ID=EDFDVBD6EXAMPLE\n" in text

    done = mirror(tmp_path, "up")
    assert done.returncode == 0, done.stderr
    assert "nothing to change" in done.stderr
    assert config.read_text() == text

    done = mirror(tmp_path, "rotate-key", "--credentials-file", "key.ini")
    assert done.returncode == 0, done.stderr
    [name] = aws.keys["mirror-PublisherUser"]
    assert f"aws_secret_access_key = secret-of-{name}" in (tmp_path / "key.ini").read_text()
    assert f"secret-of-{name}" not in done.stdout + done.stderr

    aws.buckets[NAME].versions = [("simple/index.html", "v1", 5), ("simple/index.html", "v2", None)]
    for words in (("down",), ("down", "--yes-delete", "other")):
        done = mirror(tmp_path, *words)
        assert done.returncode == 2, done.stderr
        assert "nothing was deleted" in done.stderr
    assert aws.stacks
    assert len(aws.buckets[NAME].versions) == 2
    done = mirror(tmp_path, "down", "--yes-delete", NAME)
    assert done.returncode == 0, done.stderr
    assert not aws.stacks
    assert not aws.buckets
    assert "\nCLOUDFRONT_DISTRIBUTION_ID=\n" in config.read_text()


def test_what_would_be_replaced_is_not_replaced_unasked(aws: Aws, tmp_path: Path) -> None:
    (tmp_path / "config.env").write_text(CONFIG)
    assert mirror(tmp_path, "up").returncode == 0
    done = mirror(tmp_path, "up", BUCKET_NAME="another-bucket")
    assert done.returncode == 2
    assert "Bucket would be replaced" in " ".join(done.stderr.split())
    assert set(aws.buckets) == {NAME}
    assert not [each for each in aws.sets.values() if each.execution == "AVAILABLE"]


@pytest.mark.parametrize("reader", ["ci:s3cret", "ci:${READER}"])
def test_up_again_keeps_the_reader_in_the_address(aws: Aws, tmp_path: Path, reader: str) -> None:
    config = tmp_path / "config.env"
    config.write_text(f"{CONFIG}BASE_URL=https://{reader}@d111111abcdef8.cloudfront.net   # ours\n")
    config.chmod(0o600)
    for _ in range(2):
        done = mirror(tmp_path, "up", READER="s3cret")
        assert done.returncode == 0, done.stderr
        assert f"\nBASE_URL=https://{reader}@d111111abcdef8.cloudfront.net   # ours\n" in config.read_text()
        assert "s3cret" not in done.stdout + done.stderr
        before = config.read_bytes()
    assert mirror(tmp_path, "up", READER="s3cret").returncode == 0
    assert config.read_bytes() == before
    assert aws.stacks


def test_an_address_elsewhere_is_written_anew_and_its_password_goes_nowhere(aws: Aws, tmp_path: Path) -> None:
    config = tmp_path / "config.env"
    config.write_text(f"{CONFIG}BASE_URL=https://me:s3cret@other.example/\n")
    done = mirror(tmp_path, "up")
    assert done.returncode == 0, done.stderr
    assert "\nBASE_URL=https://d111111abcdef8.cloudfront.net/\n" in config.read_text()
    assert "BASE_URL had a user and a password for another address" in " ".join(done.stderr.split())
    assert aws.stacks


GH = """#!{python}
import os, pathlib, sys
with open(pathlib.Path(__file__).parent / "log", "a") as log:
    log.write(" ".join(sys.argv[1:]) + " <<< " + sys.stdin.read() + "\\n")
repositories = {{
    "repos/acme/app": '{{"full_name": "acme/app", "id": 123, "owner": {{"id": 45}}}}',
    "repos/ACME/App": '{{"full_name": "acme/app", "id": 123, "owner": {{"id": 45}}}}',
    "repos/acme/other": '{{"full_name": "acme/other", "id": 678, "owner": {{"id": 45}}}}',
}}
if sys.argv[1] == "api" and sys.argv[2] in repositories:
    print(repositories[sys.argv[2]])
elif sys.argv[1:3] == ["variable", "delete"]:
    sys.exit("failed to delete variable " + sys.argv[3] + ": HTTP 404: Not Found")
elif sys.argv[1] == "api" and "PUT" not in sys.argv and "environments" in sys.argv[-1]:
    sys.exit("gh: Not Found (HTTP 404)")
"""


@pytest.mark.skipif(os.name == "nt", reason="the gh of this test is a script")
def test_github_is_told_through_gh_without_a_value_among_the_arguments(aws: Aws, tmp_path: Path) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "gh").write_text(GH.format(python=sys.executable))
    (tools / "gh").chmod(0o755)
    path = f"{tools}{os.pathsep}{os.environ['PATH']}"
    config = tmp_path / "config.env"
    config.write_text("AWS_REGION=eu-west-1\nDEPLOY_REPOSITORY=acme/app\n")
    done = mirror(tmp_path, "up", PATH=path)
    assert done.returncode == 0, done.stderr
    assert "DEPLOY_REPOSITORY_ID=123\nDEPLOY_OWNER_ID=45\n" in config.read_text()
    config.write_text(config.read_text() + "DEPLOY_IDENTITY=user\n")
    assert mirror(tmp_path, "up", "--yes", PATH=path).returncode == 0
    done = mirror(tmp_path, "github-secrets", PATH=path)
    assert done.returncode == 0, done.stderr
    log = (tools / "log").read_text().splitlines()
    [name] = aws.keys["mirror-PublisherUser"]
    assert f"secret set AWS_SECRET_ACCESS_KEY --repo acme/app --env mirror <<< secret-of-{name}" in log
    assert f"variable set BUCKET_NAME --repo acme/app --env mirror <<< {NAME}" in log
    assert "variable delete AWS_ROLE_ARN --repo acme/app --env mirror <<< " in log
    assert "api --method PUT repos/acme/app/environments/mirror <<< " in log
    assert not any("secret-of" in line.partition(" <<< ")[0] for line in log)
    assert "secret-of" not in done.stdout + done.stderr


@pytest.mark.skipif(os.name == "nt", reason="the gh of this test is a script")
def test_jobs_get_in_behind_basic_auth_and_hear_of_no_distribution_that_is_gone(aws: Aws, tmp_path: Path) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "gh").write_text(GH.format(python=sys.executable))
    (tools / "gh").chmod(0o755)
    path = f"{tools}{os.pathsep}{os.environ['PATH']}"
    config = tmp_path / "config.env"
    config.write_text("AWS_REGION=eu-west-1\nDEPLOY_REPOSITORY=acme/app\n")
    assert mirror(tmp_path, "up", PATH=path).returncode == 0
    where = "d111111abcdef8.cloudfront.net"
    config.write_text(config.read_text().replace(where + "/", where).replace(f"//{where}", f"//ci:s3cret@{where}"))
    done = mirror(tmp_path, "github-secrets", PATH=path)
    assert done.returncode == 0, done.stderr
    log = (tools / "log").read_text().splitlines()
    assert f"secret set BASE_URL --repo acme/app --env mirror <<< https://ci:s3cret@{where}" in log
    assert f"variable set BASE_URL --repo acme/app --env mirror <<< https://{where}/" in log
    assert sum("s3cret" in line for line in log) == 1
    assert "s3cret" not in done.stdout + done.stderr
    by_hand = mirror(tmp_path, "github-secrets", PATH="")
    assert "s3cret" not in by_hand.stdout + by_hand.stderr
    assert "BASE_URL with its user and password goes into a secret" in " ".join(by_hand.stderr.split())

    config.write_text("AWS_REGION=eu-west-1\nDEPLOY_REPOSITORY=acme/app\nINFRA_MODE=s3-only\n")
    assert mirror(tmp_path, "up", "--yes", PATH=path).returncode == 0
    assert mirror(tmp_path, "github-secrets", PATH=path).returncode == 0
    log = (tools / "log").read_text().splitlines()
    for name in ("CLOUDFRONT_DISTRIBUTION_ID", "CLOUDFRONT_DOMAIN"):
        assert f"variable delete {name} --repo acme/app --env mirror <<< " in log
    assert sum("secret set BASE_URL" in line for line in log) == 1
    by_hand = mirror(tmp_path, "github-secrets", PATH="")
    assert "CLOUDFRONT_DISTRIBUTION_ID" not in by_hand.stdout
    said = " ".join(by_hand.stderr.split())
    assert "Remove these if they are there: CLOUDFRONT_DISTRIBUTION_ID, CLOUDFRONT_DOMAIN" in said
    assert aws.stacks


def test_without_gh_it_says_what_to_do_by_hand(aws: Aws, tmp_path: Path) -> None:
    (tmp_path / "config.env").write_text(
        "AWS_REGION=eu-west-1\nDEPLOY_REPOSITORY=acme/app\nDEPLOY_REPOSITORY_ID=1\nDEPLOY_OWNER_ID=2\n"
    )
    assert mirror(tmp_path, "up", PATH="").returncode == 0
    done = mirror(tmp_path, "github-secrets", PATH="")
    assert done.returncode == 3
    assert f"AWS_ROLE_ARN=arn:aws:iam::{ACCOUNT}:role/mirror-Publisher" in done.stdout.splitlines()
    assert "gh is not installed" in done.stderr


def test_the_same_credentials_file_twice_makes_no_second_key(aws: Aws, tmp_path: Path) -> None:
    life(tmp_path)
    words = ("rotate-key", "--credentials-file", "key.ini")
    assert mirror(tmp_path, *words).returncode == 0
    keys = dict(aws.keys["mirror-PublisherUser"])
    aws.calls.clear()
    done = mirror(tmp_path, *words)
    assert done.returncode == 2
    assert "cannot write key.ini" in done.stderr
    assert aws.keys["mirror-PublisherUser"] == keys
    assert "CreateAccessKey" not in aws.calls
    assert not list(tmp_path.glob("**/rotation.json"))


def test_down_leaves_the_stack_of_somebody_else(aws: Aws, tmp_path: Path) -> None:
    (tmp_path / "config.env").write_text(CONFIG)
    foreign(aws)
    for words in (("down", "--yes-delete", NAME), ("up", "--yes"), ("plan",), ("status",), ("rotate-key",)):
        done = mirror(tmp_path, *words)
        assert done.returncode == 2, (words, done.stderr)
        assert "was made by somebody else" in done.stderr
    assert aws.stacks["mirror"].state == "CREATE_COMPLETE"
    assert (tmp_path / "config.env").read_text() == CONFIG


def test_down_leaves_a_stack_whose_bucket_is_another(aws: Aws, tmp_path: Path) -> None:
    config = life(tmp_path)
    config.write_text(config.read_text().replace(f"BUCKET_NAME={NAME}", "BUCKET_NAME=acme-wheels"))
    before = config.read_text()
    done = mirror(tmp_path, "down", "--yes-delete", "acme-wheels")
    assert done.returncode == 2
    assert f"made bucket {NAME}, not acme-wheels" in " ".join(done.stderr.split())
    assert aws.stacks["mirror"].state == "CREATE_COMPLETE"
    assert set(aws.buckets) == {NAME}
    assert config.read_text() == before


def test_down_goes_on_where_it_failed(aws: Aws, tmp_path: Path) -> None:
    life(tmp_path)
    aws.keys["mirror-PublisherUser"] = {ONE: "Active"}
    aws.refuse["ListAccessKeys"] = 1
    assert mirror(tmp_path, "down", "--yes-delete", NAME).returncode == 3
    assert aws.stacks["mirror"].state == "CREATE_COMPLETE", "what would get stuck is not begun"
    aws.stacks["mirror"].state = "DELETE_FAILED"
    done = mirror(tmp_path, "up")
    assert done.returncode == 2
    assert "mirror infra down" in done.stderr
    done = mirror(tmp_path, "down", "--yes-delete", NAME)
    assert done.returncode == 0, done.stderr
    assert not aws.stacks
    assert not aws.buckets
    assert not aws.keys


def test_a_stack_that_does_not_stand_gives_no_settings(aws: Aws, tmp_path: Path) -> None:
    config = life(tmp_path, CONFIG + "DEPLOY_REPOSITORY=acme/app\n")
    done = mirror(tmp_path, "github-secrets", PATH="", INFRA_MODE="s3-only")
    assert done.returncode == 2
    assert "INFRA_MODE=s3-only" in done.stderr
    aws.stacks["mirror"].state = "ROLLBACK_COMPLETE"
    aws.stacks["mirror"].outputs.clear()
    done = mirror(tmp_path, "github-secrets", PATH="")
    assert done.returncode == 2
    assert "stack mirror is in ROLLBACK_COMPLETE" in done.stderr
    assert config.exists()


def test_outputs_alone_are_planned_and_made(aws: Aws, tmp_path: Path) -> None:
    life(tmp_path)
    aws.stacks["mirror"].template["Outputs"].pop("Region")
    aws.stacks["mirror"].outputs.pop("Region")
    done = mirror(tmp_path, "plan")
    assert done.returncode == 0, done.stderr
    assert "Outputs" in done.stdout + done.stderr
    assert not [each for each in aws.sets.values() if each.execution == "AVAILABLE"]
    assert mirror(tmp_path, "up").returncode == 0
    assert aws.stacks["mirror"].outputs["Region"] == REGION
    assert not [each for each in aws.sets.values() if each.execution == "AVAILABLE"]


def with_gh(folder: Path) -> str:
    """A search path on which gh is found."""
    tools = folder / "tools"
    tools.mkdir()
    (tools / "gh").write_text(GH.format(python=sys.executable))
    (tools / "gh").chmod(0o755)
    return f"{tools}{os.pathsep}{os.environ['PATH']}"


def subjects(aws: Aws) -> list[str]:
    """Who may assume the role."""
    trust = aws.stacks["mirror"].template["Resources"]["Publisher"]["Properties"]["AssumeRolePolicyDocument"]
    found: list[str] = trust["Statement"][0]["Condition"]["StringEquals"]["token.actions.githubusercontent.com:sub"]
    return found


@pytest.mark.skipif(os.name == "nt", reason="the gh of this test is a script")
def test_a_plan_asks_github_and_writes_nothing(aws: Aws, tmp_path: Path) -> None:
    config, path = tmp_path / "config.env", with_gh(tmp_path)
    config.write_text("AWS_REGION=eu-west-1\nDEPLOY_REPOSITORY=ACME/App\n")
    before = config.read_text()
    done = mirror(tmp_path, "plan", PATH=path)
    assert done.returncode == 0, done.stderr
    assert config.read_text() == before
    assert mirror(tmp_path, "up", PATH=path).returncode == 0
    # Tokens have GitHub's own spelling, and the role compares letter by letter.
    assert subjects(aws) == ["repo:acme/app:environment:mirror", "repo:acme@45/app@123:environment:mirror"]
    assert "DEPLOY_REPOSITORY=acme/app\n" in config.read_text()
    before = config.read_text()
    assert mirror(tmp_path, "up", PATH=path).returncode == 0
    assert config.read_text() == before


@pytest.mark.skipif(os.name == "nt", reason="the gh of this test is a script")
def test_the_numbers_of_one_repository_are_not_used_for_another(aws: Aws, tmp_path: Path) -> None:
    path = with_gh(tmp_path)
    config = tmp_path / "config.env"
    config.write_text("AWS_REGION=eu-west-1\nDEPLOY_REPOSITORY=acme/app\n")
    assert mirror(tmp_path, "up", PATH=path).returncode == 0
    config.write_text(config.read_text().replace("=acme/app", "=acme/other"))
    aws.calls.clear()
    done = mirror(tmp_path, "up", PATH=path)
    assert done.returncode == 2
    said = " ".join(done.stderr.split())
    assert "DEPLOY_REPOSITORY_ID is 123, and GitHub says 678 for acme/other" in said
    assert "empty DEPLOY_REPOSITORY_ID and DEPLOY_OWNER_ID" in said
    assert "CreateChangeSet" not in aws.calls
    assert mirror(tmp_path, "status", PATH=path).returncode == 0
    config.write_text(config.read_text().replace("_ID=123", "_ID=").replace("_ID=45", "_ID="))
    assert mirror(tmp_path, "up", PATH=path).returncode == 0
    assert subjects(aws)[1] == "repo:acme@45/other@678:environment:mirror"
    assert "DEPLOY_REPOSITORY_ID=678\nDEPLOY_OWNER_ID=45\n" in config.read_text()


@pytest.mark.skipif(os.name == "nt", reason="the gh of this test is a script")
def test_numbers_that_are_there_do_without_github(aws: Aws, tmp_path: Path) -> None:
    path = with_gh(tmp_path)
    words = "AWS_REGION=eu-west-1\nDEPLOY_REPOSITORY=acme/unknown\n"
    (tmp_path / "config.env").write_text(words)
    assert mirror(tmp_path, "up", PATH=path).returncode == 3
    done = mirror(tmp_path, "plan", PATH="")
    assert done.returncode == 2
    assert "DEPLOY_REPOSITORY_ID is not set" in done.stderr
    assert mirror(tmp_path, "down", PATH="").returncode == 0, "what is there no longer matters to what goes"
    (tmp_path / "config.env").write_text(f"{words}DEPLOY_REPOSITORY_ID=1\nDEPLOY_OWNER_ID=2\n")
    done = mirror(tmp_path, "up", PATH=path)
    assert done.returncode == 0, done.stderr
    assert "taken as they are" in done.stderr
    assert subjects(aws)[1] == "repo:acme@2/unknown@1:environment:mirror"
