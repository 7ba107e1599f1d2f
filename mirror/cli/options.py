"""Flags, by what they are about. A command takes the groups that it uses, so no flag of it does nothing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import rich_click as click

from mirror.samples import FILES, PROJECTS
from mirror.selection import SdistPolicy
from mirror.settings import DownloaderName

if TYPE_CHECKING:
    from collections.abc import Callable

F = TypeVar("F", bound="Callable[..., Any]")
Group = tuple["Callable[[F], F]", ...]

_FOLDER = click.Path(file_okay=False, path_type=Path)

CONFIG: Group[Any] = (
    click.option(
        "--config", type=click.Path(path_type=Path), help="Settings file. Default: config.env if it is there."
    ),
)
COMMON: Group[Any] = (
    *CONFIG,
    click.option("--quiet", "-q", is_flag=True, help="Show only warnings, errors and results."),
)
WORK: Group[Any] = (
    click.option("--work-dir", type=_FOLDER, help="Holds packages/, index/ and .mirror/. Default: the current folder."),
)
LOCKS: Group[Any] = (
    click.option(
        "--project", multiple=True, type=click.Path(path_type=Path),
        help="Folder with a lock file, or a lock file; repeatable. Default: the current folder.",
    ),
    click.option("--allow-stale", is_flag=True, help="Accept a lock that is older than its pyproject.toml."),
)  # fmt: skip
SELECTION: Group[Any] = (
    click.option("--targets", help="Platforms, e.g. linux-x86_64,macos-arm64."),
    click.option("--python", "python_versions", help="CPython versions, e.g. 3.11,3.12. Default: all the lock admits."),
    click.option("--groups", help="Dependency groups, e.g. main,dev. Default: all."),
    click.option("--extras", help="Extras. Default: all."),
)
PAGES: Group[Any] = (
    click.option(
        "--sdists", type=click.Choice([policy.value for policy in SdistPolicy]), help="Which sdists to mirror."
    ),
    click.option("--jobs", type=int, help="Requests to have under way at once."),
)
UPSTREAM: Group[Any] = (
    click.option("--index-url", help="Simple index to read. Default: what pip is configured to use."),
    click.option("--offline", is_flag=True, default=None, help="Use only what earlier runs kept."),
)
FETCH: Group[Any] = (
    click.option(
        "--downloader",
        type=click.Choice([name.value for name in DownloaderName]),
        help="What fetches wheels. Default: pip; direct is faster on a fast network.",
    ),
)
DESTINATION: Group[Any] = (
    click.option("--destination", multiple=True, help="Folder or s3://bucket/prefix; repeatable. Default: ./site."),
)
PUBLISH: Group[Any] = (
    click.option("--allow-shrink", is_flag=True, help="Publish even if many files would no longer be listed."),
    click.option("--check-remote", is_flag=True, help="List the destination and repair what is missing there."),
)
EVERYTHING: Group[Any] = (
    click.option("--all", "everything", is_flag=True, help="Invalidate every page, whatever is known of the CDN."),
)
DOCTOR: Group[Any] = (
    click.argument("address", metavar="[URL]", default=""),
    click.option(
        "--projects", type=click.IntRange(1), default=PROJECTS, show_default=True,
        help="Projects of the index to visit, spread over its list.",
    ),
    click.option("--all", "everything", is_flag=True, help="Visit every project."),
)  # fmt: skip
RELEASE: Group[Any] = (
    click.argument("release", default=""),
    click.option("--to", "moment", metavar="TIME", help="Instead of an id: the release that was current then."),
)
RETENTION: Group[Any] = (
    click.option("--keep", type=click.IntRange(1), default=10, show_default=True, help="Newest releases that stay."),
    click.option(
        "--grace", type=click.FloatRange(0), default=7, show_default=True, metavar="DAYS",
        help="Days that something stays after a release dropped it.",
    ),
    click.option("--limit", type=click.IntRange(1), default=1000, show_default=True, help="Most objects to remove."),
    click.option("--allow-shrink", is_flag=True, help="Remove even a large share of the artifacts."),
    click.option("--pool", is_flag=True, help="Delete old downloads in packages/ that the last plan does not want."),
)  # fmt: skip
DRY_RUN: Group[Any] = (click.option("--dry-run", "-n", is_flag=True, help="Show what would be done, and do nothing."),)
REHASH: Group[Any] = (
    click.option("--rehash", is_flag=True, help="Read every byte again, whatever is known to be unchanged."),
)
VERIFY: Group[Any] = (
    click.option("--fail-on", help="Coverage reasons that end in exit code 1, e.g. no-wheel,sdist-only; none: never."),
)
INSTALL: Group[Any] = (
    click.option(
        "--install", is_flag=True, help="Let pip, and uv if it is there, try every environment without installing."
    ),
)


def _known_forms(context: click.Context, parameter: click.Parameter, paths: tuple[Path, ...]) -> tuple[Path, ...]:  # noqa: ARG001
    """Refuse a file that no report has the form of before the run, not at its end."""
    from mirror.reports.forms import form_of

    for path in paths:
        form_of(path.name)
    return paths


REPORT: Group[Any] = (
    click.option(
        "--report", multiple=True, metavar="FILE", type=click.Path(dir_okay=False, path_type=Path),
        callback=_known_forms,
        help="Write the result to FILE.html, .md, .xml (JUnit), .json or .codequality.json; repeatable.",
    ),
)  # fmt: skip


def _known_change_forms(
    context: click.Context,  # noqa: ARG001
    parameter: click.Parameter,
    paths: tuple[Path, ...],
) -> tuple[Path, ...]:
    for path in paths:
        if path.suffix.lower() not in CHANGE_FORMS:
            raise click.BadParameter(f"{path}: end the name in {' or '.join(CHANGE_FORMS)}", param=parameter)
    return paths


CHANGE_FORMS = (".md", ".json")
AGAINST: Group[Any] = (
    click.option(
        "--against", metavar="REF",
        help="Show what changed since a git ref, or a release of the destination: its id, or current.",
    ),
    click.option(
        "--report", multiple=True, metavar="FILE", type=click.Path(dir_okay=False, path_type=Path),
        callback=_known_change_forms, help="Write what changed to FILE.md or FILE.json; repeatable.",
    ),
)  # fmt: skip
VISIT: Group[Any] = (
    click.option("--url", help="Verify what is served there. Default: BASE_URL or CLOUDFRONT_DOMAIN, if set."),
    click.option("--deep", is_flag=True, help="Download and digest every file, not a sample."),
    click.option("--sample", type=click.IntRange(0), help=f"Files to download from the site. Default: {FILES}."),
)
OUTPUT: Group[Any] = (
    click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="File to write. Default: stdout."),
)
JSON: Group[Any] = (click.option("--json", "as_json", is_flag=True, help="Print the result as JSON on stdout."),)


def options(*groups: Group[Any]) -> Callable[[F], F]:
    """Add flags to a command, in the order given."""

    def add(function: F) -> F:
        for group in reversed(groups):
            for option in reversed(group):
                function = option(function)
        return function

    return add
