"""The commands: one for each phase, and those that run them all."""

from __future__ import annotations

import json
import re
import signal
import sys
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timezone
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from mirror import __version__
from mirror.cli import options
from mirror.cli.options import (
    AGAINST,
    COMMON,
    CONFIG,
    DESTINATION,
    DOCTOR,
    DRY_RUN,
    EVERYTHING,
    FETCH,
    INSTALL,
    JSON,
    LOCKS,
    OUTPUT,
    PAGES,
    PUBLISH,
    REHASH,
    RELEASE,
    REPORT,
    RETENTION,
    SELECTION,
    UPSTREAM,
    VERIFY,
    VISIT,
    WORK,
)
from mirror.credentials import strip
from mirror.errors import INTERRUPTED, IntegrityError, MirrorError
from mirror.files import write
from mirror.model import Reason
from mirror.pipeline import known
from mirror.state import encode

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mirror.changes import Changes
    from mirror.cli.session import Session
    from mirror.coverage import Coverage
    from mirror.model import Plan

FINDINGS = 1
_INFRA = "infra"
"""The group of commands that has a module of its own."""

click.rich_click.TEXT_MARKUP = "rich"
click.rich_click.MAX_WIDTH = 100


class _InOrder(click.RichGroup):
    """Lists commands in the order in which they are defined here, which is that of a first visit and of the phases."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return [_INFRA, *self.commands]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name != _INFRA:
            return super().get_command(ctx, cmd_name)
        from mirror.cli.infra import infra

        return infra


@click.group(cls=_InOrder, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="mirror")
def app() -> None:
    """Mirror exactly what a lock file pins, for every platform it runs on, as a static Python index.

    Example: mirror refresh --project ../app --destination /srv/mirror

    Exit codes: 0 fine, 1 findings, 2 usage or configuration, 3 remote, 4 locked by another run, 5 integrity.
    """


def command(*groups: options.Group[Any]) -> Callable[[Callable[[Session], int]], click.Command]:
    """Make a command of a function from a session to an exit code, with the common flags and those in `groups`."""

    def make(function: Callable[[Session], int]) -> click.Command:
        @wraps(function)
        def run(**flags: Any) -> None:
            try:
                from mirror.cli.session import Session

                code = function(Session.from_flags(flags))
            except KeyboardInterrupt:
                from mirror.console import Console

                Console().say("Interrupted; run it again and it goes on where it was")
                code = INTERRUPTED
            sys.exit(code)

        return app.command(name=function.__name__.removesuffix("_command"))(options.options(*groups, COMMON)(run))

    return make


@command(LOCKS, SELECTION, PAGES, UPSTREAM, FETCH, WORK, DESTINATION, PUBLISH, REHASH, VERIFY, REPORT, DRY_RUN, JSON)
def refresh(session: Session) -> int:
    """Run every phase: export, plan, download, consolidate, index, sync, invalidate, verify.

    Example: mirror refresh --python 3.11,3.12 --destination /srv/mirror
    """
    with session.workspace.claimed():
        if session.flags["dry_run"]:
            if session.flags["report"]:
                raise MirrorError(
                    "--report tells what is published, and --dry-run publishes nothing",
                    hint="leave one of them out; `mirror verify --report` tells what is published now",
                )
            return _show_plan(session, session.pipeline.preview())
        with known(session.pipeline.refresh) as coverages:
            return _judge(session, coverages)


@command(LOCKS, SELECTION, PAGES, UPSTREAM, FETCH, WORK, DESTINATION, PUBLISH, REHASH, VERIFY, REPORT)
def setup(session: Session) -> int:
    """Check this machine, make what INFRA_MODE asks for, run every phase once, and say how to go on.

    Example: mirror setup --project ../app
    """
    from mirror.cli.checkup import Machine
    from mirror.cli.diagnosis import show_steps
    from mirror.cli.infra import Site

    # What INFRA_MODE asks for may not stand yet.
    found = Machine(session).look(destinations=not session.settings.infra_mode)
    show_steps(session.console, found)
    if found.exit_code:
        return found.exit_code
    if session.settings.infra_mode:
        if not Site(session=session).up(yes=False):
            return FINDINGS
        # What stands now was written into the settings.
        session = replace(session)
    with session.workspace.claimed(), known(session.pipeline.refresh) as coverages:
        code = _judge(session, coverages)
    if session.address:
        session.console.say(f"Install with: pip install --index-url {strip(session.address)}simple/ …")
    else:
        for destination in session.settings.destination:
            session.console.say(f"The mirror is in {destination}; its front page says how to use it.")
        session.console.say("Look at it with `make serve`, or `mirror serve`, at http://127.0.0.1:8000/.")
    session.console.say("Refresh it with `make refresh`, or `mirror refresh`, when the lock changes, and nightly.")
    return code


@command(LOCKS, DRY_RUN)
def export(session: Session) -> int:
    """Write requirements-prod.txt and requirements-all.txt beside each lock.

    Example: mirror export --project ../app
    """
    session.pipeline.export()
    return 0


@command(LOCKS, SELECTION, PAGES, UPSTREAM, WORK, DESTINATION, AGAINST, VERIFY, JSON)
def plan(session: Session) -> int:
    """Show what would be fetched for each target, and what is missing and why.

    Example: mirror plan --targets linux-x86_64 --json; mirror plan --against main --report changes.md
    """
    against = session.flags["against"]
    if session.flags["report"] and not against:
        raise MirrorError("--report tells what changed", hint="say since when: --against main, or --against current")
    with session.workspace.claimed():
        planned = session.pipeline.plan()
        if not against:
            return _show_plan(session, planned)
        changes = session.pipeline.changes(planned, against, session.former_lock)
    return _show_plan(session, planned, changes)


@command(UPSTREAM, FETCH, WORK, DRY_RUN)
def download(session: Session) -> int:
    """Fetch what the last plan wants and packages/ does not hold; interrupted, it goes on where it was.

    Example: mirror download --index-url https://index.example/simple
    """
    with session.workspace.claimed():
        result = session.pipeline.download()
    return _worst(failure.reason for failure in result.failures)


@command(WORK, REHASH)
def consolidate(session: Session) -> int:
    """Link what was planned and downloaded into packages/all/, and write the manifest.

    Example: mirror consolidate --rehash
    """
    with session.workspace.claimed():
        session.pipeline.consolidate()
    return 0


@command(WORK, DRY_RUN)
def index(session: Session) -> int:
    """Write the pages of the manifest to index/; only what changed is rewritten.

    Example: mirror index --dry-run
    """
    with session.workspace.claimed():
        session.pipeline.index()
    return 0


@command(WORK, DESTINATION, PUBLISH, DRY_RUN)
def sync(session: Session) -> int:
    """Publish pages and packages to every destination, in an order that never shows a dangling link.

    Example: mirror sync --destination /srv/mirror --dry-run
    """
    with session.workspace.claimed():
        session.pipeline.sync()
    return 0


@command(WORK, DESTINATION, EVERYTHING, DRY_RUN)
def invalidate(session: Session) -> int:
    """Make CloudFront forget the pages that changed, and wait until it has; nothing that is current is asked for.

    Example: mirror invalidate --dry-run
    """
    session.require_cdn()
    with session.workspace.claimed():
        session.pipeline.invalidate(everything=session.flags["everything"])
    return 0


@command(LOCKS, SELECTION, WORK, DESTINATION, VISIT, REHASH, INSTALL, VERIFY, REPORT, JSON)
def verify(session: Session) -> int:
    """Compare what is served, or what is stored, with the lock: every package in every environment.

    Example: mirror verify --url https://mirror.example/ --deep; mirror verify --destination /srv/mirror
    """
    with known(session.pipeline.verify) as coverages:
        if not session.flags["install"]:
            return _judge(session, coverages)
        from mirror.installers.host import here

        return _judge(session, session.pipeline.prove(coverages, session.installers, session.served, here()))


@command(DOCTOR, LOCKS, UPSTREAM, WORK, DESTINATION, JSON)
def doctor(session: Session) -> int:
    """Judge any simple index as its clients find it; without an address, look at this machine.

    Example: mirror doctor https://mirror.example/simple/; mirror doctor
    """
    from mirror.cli.checkup import Machine
    from mirror.cli.diagnosis import show_checkup, show_diagnosis
    from mirror.phases.doctor import address
    from mirror.phases.doctor import doctor as visit

    url, as_json = session.flags["address"], session.flags["as_json"]
    if not url:
        found = Machine(session).look()
        if as_json:
            session.console.data(json.dumps(found.to_json(), indent=1))
        else:
            show_checkup(session.console, found)
        return found.exit_code
    sample = None if session.flags["everything"] else session.flags["projects"]
    url = address(url)
    diagnosis = visit(url, session.client(url), session.console, sample=sample, jobs=session.settings.jobs)
    if as_json:
        session.console.data(json.dumps(diagnosis.to_json(), indent=1))
    else:
        show_diagnosis(session.console, diagnosis)
    return FINDINGS if diagnosis.failed else 0


@command(WORK, DESTINATION, JSON)
def releases(session: Session) -> int:
    """List the releases that each destination has kept, newest first.

    Example: mirror releases --destination /srv/mirror --json
    """
    with known(session.pipeline.releases) as lists:
        if session.flags["as_json"]:
            session.console.data(json.dumps([listed.to_json() for listed in lists], indent=1))
            return 0
        headings = ("release", "published (UTC)", "artifacts", "pages", "bytes", "locks", "")
        for listed in lists:
            session.console.say(f"{listed.destination}:")
            session.console.table(headings, [entry.row for entry in listed.releases])
        return 0


@command(RELEASE, WORK, DESTINATION, DRY_RUN)
def rollback(session: Session) -> int:
    """Publish a kept release once more: by its id or the beginning of it, or by a time.

    Example: mirror rollback 000041 --dry-run; mirror rollback --to 2026-11-20T18:00:00Z
    """
    release, moment = session.flags["release"], session.flags["moment"]
    if bool(release) is bool(moment):
        raise MirrorError(
            "which release is wanted?", hint="name one that `mirror releases` lists, or a time with --to, and not both"
        )
    with session.workspace.claimed():
        session.pipeline.rollback(release, _moment(moment) if moment else None)
    return 0


@command(RETENTION, WORK, DESTINATION, DRY_RUN)
def prune(session: Session) -> int:
    """Remove what no kept release needs any more and nobody is led to.

    Example: mirror prune --keep 5 --grace 14 --dry-run
    """
    from mirror.phases.prune import DAY, Retention

    flags = session.flags
    retention = Retention(
        keep=flags["keep"], grace=flags["grace"] * DAY, limit=flags["limit"], allow_shrink=flags["allow_shrink"]
    )
    with session.workspace.claimed(), known(lambda: session.pipeline.prune(retention, pool=flags["pool"])) as results:
        if flags["dry_run"]:
            for result in results:
                session.console.data("".join(f"{key}\n" for key in result.deletes))
    return 0


@command(OUTPUT, WORK)
def sbom(session: Session) -> int:
    """Write what the mirror holds as a software bill of materials: CycloneDX 1.6, in JSON.

    Example: mirror sbom --output mirror.cdx.json
    """
    from mirror.downloads.configuration import builtin_index

    bill, output = session.pipeline.sbom(builtin_index()), session.flags["output"]
    if output is None:
        session.console.data(bill.decode())
    else:
        write(output, bill)
        session.console.say(f"Wrote {output}")
    return 0


def _moment(text: str) -> float:
    """Seconds since the epoch; a time without an offset is UTC, as `releases` shows it."""
    try:
        moment = datetime.fromisoformat(re.sub("[Zz]$", "+00:00", text))
    except ValueError as error:
        raise MirrorError(
            f"{text!r} is no time", hint="write it as 2026-11-20T18:00:00Z or 2026-11-20T18:00:00+01:00"
        ) from error
    return (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).timestamp()


@app.command()
@click.option(
    "--directory", type=click.Path(file_okay=False, path_type=Path),
    help="The published mirror. Default: the first DESTINATION, ./site if none is set.",
)  # fmt: skip
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="0 picks a free one.")
@options.options(CONFIG)
def serve(directory: Path | None, host: str, port: int, config: Path | None) -> None:
    """Serve a published mirror over HTTP, as a good host would.

    Example: mirror serve --directory ./site --port 8080
    """
    from mirror.cli.session import Session
    from mirror.console import Console
    from mirror.serve import serve as run

    def ready(url: str) -> None:
        console.say(f"Serving {directory} at {url}; stop with Ctrl-C")
        console.say(f"pip install --index-url {url}simple/ …")

    console = Console()
    directory = directory or Session(config=config, flags={}, console=console).published
    with suppress(KeyboardInterrupt):
        run(directory, host=host, port=port, ready=ready)


def _show_plan(session: Session, planned: Plan, changes: Changes | None = None) -> int:
    from mirror.cli.reports import hand_out_plan

    policy = session.settings.policy
    failures = [cell for cell in planned.cells if cell.reason in policy]
    if session.flags["as_json"]:
        whole = encode(planned) if changes is None else changes.to_json()
        session.console.data(json.dumps(whole, indent=1, sort_keys=changes is None))
    elif changes is None:
        session.console.plan(planned, policy)
        session.pipeline.download(planned, dry_run=True)
    else:
        session.console.changes(changes, failures)
    hand_out_plan(session, planned, changes)
    return _worst(cell.reason for cell in failures)


def _judge(session: Session, coverages: Sequence[Coverage]) -> int:
    from mirror.cli.reports import hand_out

    policy = session.settings.policy
    if session.flags.get("as_json"):
        session.console.data(json.dumps([coverage.to_json(policy) for coverage in coverages], indent=1))
    else:
        for coverage in coverages:
            session.console.coverage(coverage, policy)
    hand_out(session, coverages)
    failures = [cell.reason for coverage in coverages for cell in coverage.failures(policy)]
    found = {finding.code for coverage in coverages for finding in coverage.findings}
    if "altered" in found:
        return IntegrityError.exit_code
    return _worst(failures) or (FINDINGS if found else 0)


def _worst(reasons: Any) -> int:
    found = set(reasons)
    if Reason.DIGEST_MISMATCH in found:
        return IntegrityError.exit_code
    return FINDINGS if found else 0


def main() -> None:
    """Run the command line; every error ends in its exit code and says what to do."""
    # Ended by a scheduler as by Ctrl-C: the pips that run are ended, too, and what is whole is kept.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        app(prog_name="mirror")
    except MirrorError as error:
        from mirror.console import Console

        Console().error(error)
        sys.exit(error.exit_code)
