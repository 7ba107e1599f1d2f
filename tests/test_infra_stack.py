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
from mirror.infra.blueprint import Blueprint, Identity, Publisher
from mirror.infra.bucket import Bucket
from mirror.infra.deployment import Deployment
from mirror.infra.keys import Key, Rotation, store_in_file
from mirror.infra.stack import Action, StackFailedError
from mirror.infra.template import TAG
from mirror.progress import Silence
from tests import aws_stand_in
from tests.templates import ACCOUNT, REGION

if TYPE_CHECKING:
    from collections.abc import Iterator

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
    assert found["Publisher"].action is Action.REMOVE
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


def test_the_provider_is_made_once_for_an_account_and_kept_by_who_made_it(aws: Aws) -> None:
    made = bring_up(GITHUB)
    assert "Provider" in made.stack.resources()
    assert deployment(GITHUB).propose().empty, "its own provider is no reason to drop it"
    other = bring_up(replace(GITHUB, stack="second"))
    assert "Provider" not in other.stack.resources()
    assert deployment(replace(GITHUB, stack="second")).propose().empty


# --- keys ---------------------------------------------------------------------------------------


class StopError(Exception):
    """The process is killed here."""


def rotation(folder: Path) -> Rotation:
    return Rotation(
        account=Account(region=REGION), user="publisher", record=folder / "rotation.json", progress=Silence(), pause=0.0
    )


def test_the_first_key_is_made_proven_and_stored(aws: Aws, tmp_path: Path) -> None:
    aws.keys["publisher"] = {}
    name = rotation(tmp_path).run(store_in_file(tmp_path / "key.ini", "mirror"))
    text = (tmp_path / "key.ini").read_text("ascii")
    assert text == f"[mirror]\naws_access_key_id = {name}\naws_secret_access_key = secret-of-{name}\n"
    assert stat.S_IMODE((tmp_path / "key.ini").stat().st_mode) == 0o600
    assert aws.keys["publisher"] == {name: "Active"}
    assert aws.calls.count("GetCallerIdentity") == 3, "a new key is not known at once"
    assert not (tmp_path / "rotation.json").exists()


def test_the_old_key_works_until_the_new_one_is_stored(aws: Aws, tmp_path: Path) -> None:
    aws.keys["publisher"] = {OLD: "Active"}
    seen = []
    name = rotation(tmp_path).run(lambda key: seen.append((key, dict(aws.keys["publisher"]))))
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
            replace(rotation(folder), patience=0.5).run(stored.append)
        except RemoteError:
            interrupted = True
        else:
            interrupted = False
        aws.on_call = None
        working = [name for name, state in aws.keys["publisher"].items() if state == "Active"]
        assert set(working) & {OLD, *(key.name for key in stored)}, "somebody can always publish"
        if interrupted:
            rotation(folder).run(stored.append)
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
        rotation(tmp_path).run(fail)
    assert aws.keys["publisher"][OLD] == "Active"
    assert len(aws.keys["publisher"]) == 2
    assert "secret" not in (tmp_path / "rotation.json").read_text("ascii")
    name = rotation(tmp_path).run(lambda _: None)
    assert aws.keys["publisher"] == {name: "Active"}


def test_two_active_keys_are_never_guessed_about(aws: Aws, tmp_path: Path) -> None:
    aws.keys["publisher"] = {ONE: "Active", TWO: "Active"}
    with pytest.raises(MirrorError, match="two active keys"):
        rotation(tmp_path).run(lambda _: None)
    assert aws.keys["publisher"] == {ONE: "Active", TWO: "Active"}
    aws.keys["publisher"][TWO] = "Inactive"
    name = rotation(tmp_path).run(lambda _: None)
    assert aws.keys["publisher"] == {name: "Active"}


def test_a_credentials_file_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "key.ini"
    path.write_text("mine")
    with pytest.raises(MirrorError, match="cannot write"):
        store_in_file(path, "mirror")(Key("NAME", "secret"))
    assert path.read_text() == "mine"


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
    [name] = aws.keys["mirror-Publisher"]
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
if sys.argv[1:] == ["api", "repos/acme/app"]:
    print('{{"id": 123, "owner": {{"id": 45}}}}')
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
    [name] = aws.keys["mirror-Publisher"]
    assert f"secret set AWS_SECRET_ACCESS_KEY --repo acme/app --env mirror <<< secret-of-{name}" in log
    assert f"variable set BUCKET_NAME --repo acme/app --env mirror <<< {NAME}" in log
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
