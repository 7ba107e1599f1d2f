"""Against: what a former release of a destination has, as far as a plan is to be compared with it."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

from mirror.changes import Former, of_release
from mirror.errors import MirrorError
from mirror.history import read_history
from mirror.layout import PACKAGES, former_page_key, project_page_keys
from mirror.model import Reason
from mirror.release import Kind, kind
from mirror.simple import json
from mirror.simple.page import PageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from mirror.model import Plan
    from mirror.release import Release
    from mirror.selection import Selection
    from mirror.stores.base import Store
    from mirror.targets import Baseline, Target

CURRENT = "current"
"""Names the release that is current, whatever its id."""

_RELEASE = re.compile(r"\d{6}\d*(-[0-9a-f]{0,12})?", re.ASCII)


def names_release(text: str) -> bool:
    """Whether a name may be that of a release, or the beginning of an id; tags and commits may look so, too."""
    return text == CURRENT or _RELEASE.fullmatch(text) is not None


def former_release(
    store: Store,
    name: str,
    planned: Plan,
    selections: Sequence[Selection],
    platforms: Sequence[Target],
    baseline: Baseline,
) -> Former | None:
    """Read a release that the store has kept; None when none is called so.

    Of its pages only those are read that may have called a file of the plan yanked. Raise `MirrorError` when more than
    one is called so, or none is current, `RemoteError` when the store does not answer, `IntegrityError` for a manifest
    that was altered.
    """
    history = read_history(store)
    if name == CURRENT:
        if history is None:
            raise MirrorError(f"{store.name}: nothing was published there yet", hint="run mirror refresh first")
        release = history.current.release
    elif history is None or not any(kept.release.id.startswith(name) for kept in history.releases):
        return None
    else:
        release = history.find(name)
    sizes = {
        key.removeprefix(PACKAGES): found.size for key, found in release.objects.items() if kind(key) is Kind.ARTIFACT
    }
    asked = {cell.package for cell in planned.cells if cell.reason is Reason.YANKED and cell.filename in sizes}
    yanked = frozenset(_yanked(release, store, asked))
    return of_release(release.id, sizes, yanked, selections, platforms, baseline)


def _yanked(release: Release, store: Store, projects: Iterable[str]) -> Iterable[str]:
    for project in sorted(projects):
        key = project_page_keys(project)[1]
        data = _page(release, store, key)
        if data is not None:
            try:
                page = json.parse(data, f"/{key}", project)
            except PageError as error:
                raise MirrorError(
                    f"{store.name}: {key} of release {release.id} cannot be read: {error}",
                    hint="compare with another release",
                ) from error
            yield from (file.filename for file in page.files if file.yanked is not None)


def _page(release: Release, store: Store, key: str) -> bytes | None:
    """A page as the release had it: where former pages are kept, or where it still is. None when it is gone."""
    wanted = release.objects.get(key)
    for place in (former_page_key(wanted.sha256), key) if wanted else ():
        found = store.read(place)
        if found and wanted and hashlib.sha256(found[0]).hexdigest() == wanted.sha256:
            return found[0]
    return None
