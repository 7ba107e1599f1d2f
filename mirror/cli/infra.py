"""`mirror infra`: what a published mirror stands on, made, shown and taken down."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, replace
from functools import cached_property, partial, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from mirror import config_file
from mirror.cli import options
from mirror.cli.session import Session
from mirror.console import Console
from mirror.credentials import redact, userinfo
from mirror.errors import MirrorError, RemoteError
from mirror.infra import cost as costs
from mirror.infra.aws import Account
from mirror.infra.blueprint import Blueprint, Identity, Mode, Publisher
from mirror.infra.deployment import Deployment
from mirror.infra.edge import new_reader
from mirror.infra.github import Repository
from mirror.infra.keys import Rotation, store_in_file
from mirror.infra.stack import Action
from mirror.model import Manifest
from mirror.settings import CONFIG, Settings
from mirror.state import State

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from mirror.infra.keys import Key, Store
    from mirror.infra.stack import ChangeSet, Status

_RISKY = (Action.REPLACE, Action.REMOVE)
_INTERRUPTED = 130
"""128 + SIGINT, as shells count."""


@dataclass(kw_only=True)
class Site:
    """One invocation: the settings, and the deployment that they mean."""

    session: Session

    @property
    def console(self) -> Console:
        """Where it reports to."""
        return self.session.console

    @property
    def config(self) -> Path:
        """The file that outputs are written to."""
        return self.session.config or Path(CONFIG)

    @cached_property
    def account(self) -> Account:
        """The account that the credentials are of."""
        chosen = self.session.settings
        return Account(region=chosen.aws_region, profile=chosen.aws_profile)

    @cached_property
    def deployment(self) -> Deployment:
        """What the settings ask for."""
        chosen = self.session.settings
        blueprint = Blueprint(
            mode=Mode(chosen.infra_mode or Mode.CDN),
            stack=chosen.stack_name,
            region=self.account.where,
            bucket=chosen.bucket_name,
            domain=chosen.domain,
            zone=chosen.hosted_zone_id,
            certificate=chosen.certificate_arn,
            readers=chosen.basic_auth,
            retention=chosen.retention_days,
            price_class=chosen.price_class,
            publisher=self._publisher,
        )
        return Deployment(wanted=blueprint, account=self.account, progress=self.console)

    @cached_property
    def planned(self) -> Deployment:
        """The same with what GitHub says of the repository, checked; raise `MirrorError` for what does not fit."""
        deployment = self.deployment
        if deployment.wanted.publisher.identity is not self.session.settings.deploy_identity:
            self.console.say("DEPLOY_REPOSITORY is empty: no role for publishing jobs is made")
        wanted = replace(deployment.wanted, publisher=self._confirmed(deployment.wanted.publisher))
        wanted.check()
        return replace(deployment, wanted=wanted)

    @property
    def repository(self) -> Repository:
        """The GitHub repository that publishes. Raise `MirrorError` when none is configured."""
        chosen = self.session.settings
        if chosen.deploy_identity is Identity.GITLAB or not chosen.deploy_repository:
            raise MirrorError(
                "DEPLOY_REPOSITORY names no GitHub repository", hint="set DEPLOY_REPOSITORY=owner/name in config.env"
            )
        return Repository(name=chosen.deploy_repository, environment=chosen.deploy_environment)

    @property
    def _publisher(self) -> Publisher:
        chosen = self.session.settings
        identity = chosen.deploy_identity
        if identity in (Identity.GITHUB, Identity.GITLAB) and not chosen.deploy_repository:
            identity = Identity.NONE
        return Publisher(
            identity=identity,
            repository=chosen.deploy_repository,
            repository_id=chosen.deploy_repository_id,
            owner_id=chosen.deploy_owner_id,
            environment=chosen.deploy_environment,
            branch=chosen.deploy_branch,
            host=chosen.gitlab_url,
        )

    def _confirmed(self, publisher: Publisher) -> Publisher:
        """The publisher as GitHub knows it, where gh is at hand: a role tied to anything else could not be assumed."""
        if publisher.identity is not Identity.GITHUB or not Repository.reachable():
            return publisher
        stated = {"DEPLOY_REPOSITORY_ID": publisher.repository_id, "DEPLOY_OWNER_ID": publisher.owner_id}
        try:
            found = self.repository.facts()
        except RemoteError as error:
            if not all(stated.values()):
                raise
            self.console.say(f"{', '.join(stated)} are taken as they are: {error}")
            return publisher
        for (key, number), real in zip(stated.items(), (found.number, found.owner), strict=True):
            if number not in ("", real):
                raise MirrorError(
                    f"{key} is {number}, and GitHub says {real} for {publisher.repository}",
                    hint=f"if DEPLOY_REPOSITORY was changed, empty {' and '.join(stated)}: they are looked up again; "
                    "if not, the repository has moved, or somebody else has its name now",
                )
        return replace(publisher, repository=found.name, repository_id=found.number, owner_id=found.owner)

    def _identity(self) -> dict[str, str]:
        """What GitHub said, where the settings do not have it."""
        chosen, publisher = self.session.settings, self.planned.wanted.publisher
        if publisher.identity is not Identity.GITHUB:
            return {}
        known = {
            "DEPLOY_REPOSITORY": (chosen.deploy_repository, publisher.repository),
            "DEPLOY_REPOSITORY_ID": (chosen.deploy_repository_id, publisher.repository_id),
            "DEPLOY_OWNER_ID": (chosen.deploy_owner_id, publisher.owner_id),
        }
        return {key: real for key, (stated, real) in known.items() if stated != real}

    def remember(self, values: Mapping[str, str]) -> None:
        """Write settings back, and say so."""
        if config_file.store(self.config, values):
            self.console.say(f"Written to {self.config}: {', '.join(values)}")

    def standing(self) -> Status:
        """The stack. Raise `MirrorError` when there is none."""
        found = self.deployment.stack.status()
        if found is None:
            raise MirrorError(f"there is no stack {self.deployment.wanted.stack}", hint="make it: mirror infra up")
        return found

    def up(self, *, yes: bool) -> bool:
        """Make the stack what the settings say, and write what a run must know; say whether it was agreed to."""
        deployment = self.planned
        deployment.stack.prepare()
        changes = deployment.propose()
        self.show(changes)
        if changes.empty:
            status = self.standing()
        else:
            if not yes and not self._agreed(changes):
                deployment.stack.discard(changes)
                self.console.say("Nothing was changed")
                return False
            status = deployment.execute(changes)
        self.remember({**self._identity(), **self._settings(status), **self._destination(status)})
        self.console.say(f"The mirror will be at {status.outputs['BaseUrl']}simple/")
        return True

    def _settings(self, status: Status) -> dict[str, str]:
        """What to write of a stack. An address that leads there already stays, with the reader that stands in it."""
        found = dict(self.deployment.settings(status))
        address = config_file.read(self.config).get("BASE_URL", "")
        if _same_place(address, found["BASE_URL"]):
            del found["BASE_URL"]
        elif redact(address) != address:
            self.console.say("BASE_URL had a user and a password for another address; write them in again if need be")
        return found

    def _agreed(self, changes: ChangeSet) -> bool:
        """Ask before anything is replaced or removed; what is only added or changed needs no question."""
        risky = [change.name for change in changes.changes if change.action in _RISKY]
        if not risky:
            return True
        if not sys.stdin.isatty():
            self.deployment.stack.discard(changes)
            raise MirrorError(
                f"{', '.join(risky)} would be replaced or removed", hint="look at it, and run again with --yes"
            )
        return click.confirm(f"{', '.join(risky)} will be replaced or removed. Go on?", err=True)

    def _destination(self, status: Status) -> dict[str, str]:
        """Publish to the bucket, unless the settings already say where to."""
        bucket = f"s3://{status.outputs['BucketName']}"
        destinations = self.session.settings.destination
        if bucket in destinations:
            return {}
        if destinations == Settings().destination:
            return {"DESTINATION": bucket}
        self.console.say(f"DESTINATION is {', '.join(destinations)}; add {bucket} to publish there too")
        return {}

    def show(self, changes: ChangeSet) -> None:
        """Show what would change, or that nothing would."""
        if changes.empty:
            self.console.say(f"Stack {self.deployment.wanted.stack} is as configured; nothing to change")
            return
        rows = [(change.action, change.name, change.kind, change.detail) for change in changes.changes]
        self.console.table(("change", "name", "type", "properties"), rows)


def _same_place(one: str, other: str) -> bool:
    """Whether two addresses differ in user and password at most; as text, for one may name variables."""
    return redact(one).rstrip("/") == redact(other).rstrip("/")


@click.group()
def infra() -> None:
    """Make, show and take down what a mirror stands on: CloudFormation on AWS.

    Example: mirror infra plan
    """


def _command(*groups: options.Group[Any]) -> Callable[[Callable[[Site], int]], click.Command]:
    """Make a command of a function from a site to an exit code; flags that are no settings stay in `session.flags`."""

    def make(function: Callable[[Site], int]) -> click.Command:
        @wraps(function)
        def run(**flags: Any) -> None:
            try:
                code = function(Site(session=Session.from_flags(flags)))
            except KeyboardInterrupt:
                Console().say("Interrupted; run it again and it goes on where it was")
                code = _INTERRUPTED
            sys.exit(code)

        name = function.__name__.replace("_", "-")
        return infra.command(name=name)(options.options(*groups, options.COMMON)(run))

    return make


_YES: options.Group[Any] = (click.option("--yes", is_flag=True, help="Replace and remove without asking."),)
_KEY: options.Group[Any] = (
    click.option(
        "--credentials-file", type=click.Path(dir_okay=False, path_type=Path),
        help="Write the key to this new file, for nobody else to read. Default: GitHub secrets, through gh.",
    ),
)  # fmt: skip


@_command(_YES)
def up(site: Site) -> int:
    """Make the stack what config.env says, and write its names back; run again, it changes nothing.

    Example: mirror infra up
    """
    return 0 if site.up(yes=site.session.flags["yes"]) else 1


@_command(options.JSON)
def plan(site: Site) -> int:
    """Show what `up` would add, change, replace or remove; nothing is changed.

    Example: mirror infra plan
    """
    changes = site.planned.propose()
    if site.session.flags["as_json"]:
        fields = ("action", "name", "kind", "identity", "detail")
        site.console.data(json.dumps([{name: getattr(c, name) for name in fields} for c in changes.changes], indent=1))
    else:
        site.show(changes)
    if not changes.empty:
        site.deployment.stack.discard(changes)
    return 0


@_command()
def template(site: Site) -> int:
    """Print the CloudFormation template that `up` deploys, for a review or another tool.

    Example: mirror infra template
    """
    site.console.data(site.planned.template())
    return 0


@_command(options.JSON)
def status(site: Site) -> int:
    """Show the stack as it stands.

    Example: mirror infra status
    """
    found = site.standing()
    if site.session.flags["as_json"]:
        site.console.data(json.dumps({"state": found.state, "outputs": dict(found.outputs)}, indent=1, sort_keys=True))
    else:
        rows = [("state", found.state), *sorted(found.outputs.items())]
        site.console.table((site.deployment.wanted.stack, ""), rows)
    return 0


@_command((click.option("--yes-delete", metavar="BUCKET", help="The bucket's name, instead of typing it."),))
def down(site: Site) -> int:
    """Delete the stack, every version of everything in its bucket, and the bucket. There is no way back.

    Example: mirror infra down
    """
    deployment, bucket = site.deployment, site.deployment.bucket()
    found, there = deployment.stack.status(), bucket.exists()
    if found is None and not there:
        site.console.say(f"There is neither a stack {deployment.wanted.stack} nor a bucket {bucket.name}")
        return 0
    if found is not None:
        deployment.require_bucket(found)
    if there:
        contents = bucket.refuse_doubts(deployment.wanted.stack)
        items = contents.versions + contents.markers
        site.console.say(f"Bucket {bucket.name}: {items} versions and markers, {contents.size / 1e9:.2f} GB")
    _require_consent(site, bucket.name)
    # The stack goes first: nobody is to read from a bucket that is half empty.
    deployment.delete()
    if there:
        bucket.remove(site.console, items=items)
    gone = ("CLOUDFRONT_DISTRIBUTION_ID", "CLOUDFRONT_DOMAIN", "BASE_URL")
    if site.config.exists():
        site.remember(dict.fromkeys(gone, ""))
    site.console.say("Everything is gone; an OpenID Connect provider stays, for other roles may use it")
    return 0


def _require_consent(site: Site, name: str) -> None:
    typed = site.session.flags["yes_delete"]
    if typed is None and sys.stdin.isatty():
        typed = click.prompt(f"Type the bucket's name to delete it all ({name})", err=True)
    if typed != name:
        raise MirrorError(
            f"nothing was deleted: {name} was not confirmed", hint=f"mirror infra down --yes-delete {name}"
        )


@_command(_KEY)
def rotate_key(site: Site) -> int:
    """Give the publishing user a new access key: make, prove, store, put the old one out of use, delete it.

    Example: mirror infra rotate-key --credentials-file ./publisher.ini
    """
    name = _rotate(site, site.session.flags["credentials_file"])
    site.console.say(f"{name} is the key now")
    return 0


def _rotate(site: Site, file: Path | None) -> str:
    user = site.standing().outputs.get("UserName")
    if user is None:
        raise MirrorError(
            "the stack has no user, so there is no key to rotate", hint="roles of GitHub and GitLab need none"
        )
    workspace = site.session.workspace
    rotation = Rotation(
        account=site.account, user=user, record=workspace.state / "rotation.json", progress=site.console
    )
    with workspace.claimed():
        return rotation.run(partial(_place, site, file))


def _place(site: Site, file: Path | None) -> Store:
    return store_in_file(file, site.session.settings.stack_name) if file else _store_on_github(site)


def _store_on_github(site: Site) -> Store:
    repository = site.repository
    if not Repository.reachable():
        raise MirrorError("gh is not installed, so the key has no place to go", hint="name one: --credentials-file")
    repository.ensure_environment()

    def store(key: Key) -> None:
        repository.set_secret("AWS_ACCESS_KEY_ID", key.name)
        repository.set_secret("AWS_SECRET_ACCESS_KEY", key.secret)

    return store


@_command()
def github_secrets(site: Site) -> int:
    """Tell the GitHub environment what publishing jobs need; without gh, say what to set by hand.

    Example: mirror infra github-secrets
    """
    repository, found = site.repository, site.standing()
    settings = {**site.deployment.settings(found), "AWS_ROLE_ARN": found.outputs.get("RoleArn", "")}
    values = {key: value for key, value in settings.items() if value}
    # What stood there once, and does no more: a job would go on with it.
    gone = [key for key, value in settings.items() if not value]
    address = site.session.settings.base_url
    reader = userinfo(address) is not None and _same_place(address, values["BASE_URL"])
    if not Repository.reachable():
        site.console.say(f"gh is not installed. Set these variables of environment {repository.environment} of "
                         f"{repository.name} by hand (Settings, Environments):")  # fmt: skip
        site.console.data("\n".join(f"{name}={value}" for name, value in values.items()))
        if gone:
            site.console.say(f"Remove these if they are there: {', '.join(gone)}")
        if reader:
            site.console.say("BASE_URL with its user and password goes into a secret of that name")
        if "UserName" in found.outputs:
            site.console.say("The key goes into the secrets AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; make one with "
                             "mirror infra rotate-key --credentials-file FILE")  # fmt: skip
        return RemoteError.exit_code
    repository.ensure_environment()
    repository.set_variables(values)
    repository.unset_variables(gone)
    site.console.say(f"Set on {repository.name}, environment {repository.environment}: {', '.join(values)}")
    if reader:
        repository.set_secret("BASE_URL", address)
        site.console.say("BASE_URL with its user and password is in the secrets")
    if "UserName" in found.outputs:
        site.console.say(f"{_rotate(site, None)} is in the secrets")
    return 0


@_command(options.WORK)
@click.argument("user")
def token(site: Site) -> int:
    """Make a token for a reader, print it once, and write its digest into config.env; `up` puts it to work.

    Example: mirror infra token ci
    """
    reader, secret = new_reader(site.session.flags["user"])
    others = [each for each in site.session.settings.basic_auth if each.user != reader.user]
    site.remember({"BASIC_AUTH": ",".join(map(str, (*others, reader)))})
    site.console.data(secret)
    site.console.say(f"Readers use it as https://{reader.user}:TOKEN@…; deploy it with: mirror infra up")
    return 0


@_command(
    options.WORK,
    (
        click.option("--installs", type=click.IntRange(min=0), default=1000, show_default=True,
                     help="Installations a month that find nothing in a cache."),
        click.option("--runs", type=click.IntRange(min=0), default=30, show_default=True, help="Refreshes a month."),
        click.option("--changes", type=click.IntRange(min=0), default=20, show_default=True,
                     help="New files in each of them."),
        click.option("--prices", type=click.Path(dir_okay=False, path_type=Path), help="JSON file with other prices."),
    ),
    options.JSON,
)  # fmt: skip
def cost(site: Site) -> int:
    """Estimate a month: S3 alone, CloudFront by use, a flat plan, R2; from the manifest's real sizes.

    Example: mirror infra cost --installs 5000
    """
    flags = site.session.flags
    manifest = State(site.session.workspace.state).require(Manifest, "consolidate")
    prices = costs.load_prices(flags["prices"])
    use = costs.use_of(manifest, installs=flags["installs"], runs=flags["runs"], changes=flags["changes"])
    estimates = costs.estimate(use, prices)
    if flags["as_json"]:
        fields = ("name", "storage", "requests", "egress", "total", "note")
        document = {"as_of": prices["as_of"], "usd_a_month": [{f: getattr(e, f) for f in fields} for e in estimates]}
        site.console.data(json.dumps(document, indent=1))
        return 0
    site.console.say(
        f"{use.files} files, {use.stored_gb:.2f} GB stored; {use.installs} installs x {use.install_gb * 1000:.0f} MB = "
        f"{use.egress_gb:.1f} GB a month; {use.runs} refreshes with {use.changes} new files"
    )
    rows: Sequence[tuple[str, ...]] = [
        (each.name, *(f"{value:.2f}" for value in (each.storage, each.requests, each.egress, each.total)), each.note)
        for each in estimates
    ]
    site.console.table(("USD a month", "storage", "requests", "egress", "total", ""), rows)
    site.console.say(f"Prices of {prices['as_of']}: {prices['where']}")
    return 0
