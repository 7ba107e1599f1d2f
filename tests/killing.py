"""Publish, be killed before the Nth change of the destination, look, publish again, compare; for every N.

`python killing.py kill DIRECTORY JOBS` reads before.json, killed.json and wanted.json there and prints a report;
`python killing.py look SITE` only looks. A script of its own, because it forks and has to have no threads then.
"""

from __future__ import annotations

import gc
import hashlib
import json
import os
import shutil
import signal
import sys
import threading
from pathlib import Path
from typing import Any
from urllib.parse import unquote

sys.path.insert(0, str(Path(__file__).parent.parent))

from mirror.files import DigestCache
from mirror.layout import POINTER
from mirror.lease import Owner
from mirror.model import Artifact, Manifest
from mirror.phases.prune import Retention, prune
from mirror.phases.rollback import rollback
from mirror.phases.sync import sync
from mirror.progress import Silence
from mirror.simple import html
from mirror.simple import json as json_pages
from mirror.stores.local import LocalStore
from tests.oddities import Anchors

CHANGES = {"os.rename", "os.link", "os.mkdir", "os.rmdir", "os.remove", "os.chmod", "os.truncate"}


def act(root: Path, job: list[Any], jobs: int) -> None:
    """Publish `[pages, artifacts, manifest]`, or do what `["rollback", id]` or `["prune", ""]` says."""
    store = LocalStore(root, DigestCache())
    if job[0] == "rollback":
        rollback(store, Silence(), release=job[1], owner=Owner.here(), jobs=jobs)
    elif job[0] == "prune":
        prune(store, Silence(), Retention(keep=1, grace=0, allow_shrink=True), owner=Owner.here(), jobs=jobs)
    else:
        publish(store, job, jobs)
    del store
    gc.collect()


def publish(store: LocalStore, job: list[Any], jobs: int) -> None:
    pages, artifacts, manifest = job
    sync(
        Manifest(
            artifacts=tuple(Artifact(**artifact) for artifact in manifest["artifacts"]), locks=tuple(manifest["locks"])
        ),
        Path(pages),
        Path(artifacts),
        store,
        Silence(),
        owner=Owner.here(),
        allow_shrink=True,
        jobs=jobs,
    )


def in_child(run: Any) -> int:
    """Run in a process of its own; return its exit status, negative for a signal."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    try:
        run()
    except BaseException as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        os._exit(1)
    os._exit(0)


def killed_at(number: int, root: Path) -> None:
    """Kill this process right before the change with that number below `root`."""
    counted = 0
    lock = threading.Lock()

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal counted
        writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        if not writes and event not in CHANGES:
            return
        # The lock of the tree is opened for every change and never changes itself.
        if not any(str(path).startswith(str(root)) and not str(path).endswith(".lock") for path in arguments[:2]):
            return
        with lock:
            counted += 1
            if counted == number:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def look(root: Path) -> None:
    """Fail unless everything that a page lists is there, whole, and every project that is listed has its pages."""
    names = set()
    for form, name in ((html, "index.html"), (json_pages, "index.v1_json")):
        for path in sorted((root / "simple").glob(f"*/{name}")):
            key = path.relative_to(root).as_posix()
            for file in form.parse(path.read_bytes(), f"/{key}", path.parent.name).files:
                artifact = root / unquote(file.url).removeprefix("/")
                assert artifact.is_file(), f"{key} lists {file.filename}, which is not there"
                digest = hashlib.sha256(artifact.read_bytes()).hexdigest()
                assert {each.hex for each in file.digests} == {digest}, (
                    f"{key} states another digest for {file.filename}"
                )
                if file.core_metadata:
                    sidecar = artifact.with_name(f"{artifact.name}.metadata")
                    assert hashlib.sha256(sidecar.read_bytes()).hexdigest() == file.core_metadata.hex, key
        path = root / "simple" / name
        if path.exists():
            names = set(form.parse_list(path.read_bytes()))
            for project in names:
                assert (root / "simple" / project / name).is_file(), f"{project} is listed and has no page"
    # The way up is there at the end of the first publish: two pages that link to each other cannot come first both.
    for path in [root / "index.html", *(root / "projects").glob("*.html")]:
        for attributes, _ in Anchors(path.read_bytes()).found if path.exists() else ():
            place = unquote(str(attributes["href"]))
            assert place.startswith(("#", "http", "../index")) or (path.parent / place).is_file(), (
                f"{path.name} leads to {place}"
            )
    current = root / ".mirror/current.json"
    if current.exists():
        pointer = json.loads(current.read_bytes())
        manifest = (root / f".mirror/releases/{pointer['release']}.json").read_bytes()
        assert hashlib.sha256(manifest).hexdigest() == pointer["sha256"]


def tree(root: Path) -> dict[str, bytes]:
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and not path.match(".mirror/.staging/*.lock")
    }


def release(files: dict[str, bytes]) -> bytes:
    found: str = json.loads(files[POINTER])["release"]
    return found.encode()


def kill(directory: Path, jobs: int) -> None:
    before, killed, wanted = (
        json.loads((directory / f"{name}.json").read_text()) for name in ("before", "killed", "wanted")
    )
    start, undisturbed, root = directory / "start", directory / "undisturbed", directory / "killed"
    start.mkdir()
    for job in before:
        assert in_child(lambda job=job: act(start, job, jobs)) == 0
    shutil.copytree(start, undisturbed)
    assert in_child(lambda: act(undisturbed, wanted[0], jobs)) == 0
    expected = tree(undisturbed)
    if wanted[0][0] == "prune":
        expected[POINTER] = release(expected)
    number = 0
    while True:
        number += 1
        shutil.rmtree(root, ignore_errors=True)
        shutil.copytree(start, root)

        def doomed(number: int = number) -> None:
            killed_at(number, root)
            act(root, killed[0], jobs)

        status = in_child(doomed)
        if status == 0:
            break
        assert status == -signal.SIGKILL, f"change {number}: status {status}"
        look(root)
        if killed != wanted:

            def doomed_again(number: int = number) -> None:
                killed_at(number, root)
                act(root, wanted[0], jobs)

            assert in_child(doomed_again) in (0, -signal.SIGKILL)
            look(root)
        assert in_child(lambda: act(root, wanted[0], jobs)) == 0, f"after a kill at change {number}"
        look(root)
        found = tree(root)
        if wanted[0][0] == "prune":
            # The pointer says how often one began; what it points to is compared.
            found[POINTER] = release(found)
        compare(found, expected, number, detour=killed != wanted)
    print(json.dumps({"killed": number - 1}))


def compare(found: dict[str, bytes], expected: dict[str, bytes], number: int, *, detour: bool) -> None:
    odd = {key for key in found.keys() | expected.keys() if found.get(key) != expected.get(key)}
    if detour:
        # What was published for the release that is no longer wanted waits for prune, and that release may have become
        # current, so that the next one follows it.
        odd = {key for key in odd if not key.startswith(".mirror/") and (key in expected or "packages/" not in key)}
        assert ".mirror/lock.json" not in found
    assert not odd, f"after a kill at change {number}: {sorted(odd)}"


if __name__ == "__main__":
    if sys.argv[1] == "look":
        look(Path(sys.argv[2]))
    else:
        kill(Path(sys.argv[2]), int(sys.argv[3]))
