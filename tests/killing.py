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
from mirror.lease import Owner
from mirror.model import Artifact, Manifest
from mirror.phases.sync import sync
from mirror.progress import Silence
from mirror.simple import html
from mirror.simple import json as json_pages
from mirror.stores.local import LocalStore

CHANGES = {"os.rename", "os.link", "os.mkdir", "os.rmdir", "os.remove", "os.chmod", "os.truncate"}


def publish(root: Path, job: list[Any], jobs: int) -> None:
    pages, artifacts, manifest = job
    sync(
        Manifest(
            artifacts=tuple(Artifact(**artifact) for artifact in manifest["artifacts"]), locks=tuple(manifest["locks"])
        ),
        Path(pages),
        Path(artifacts),
        LocalStore(root, DigestCache()),
        Silence(),
        owner=Owner.here(),
        allow_shrink=True,
        jobs=jobs,
    )
    gc.collect()


def in_child(act: Any) -> int:
    """Act in a process of its own; return its exit status, negative for a signal."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    try:
        act()
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


def kill(directory: Path, jobs: int) -> None:
    before, killed, wanted = (
        json.loads((directory / f"{name}.json").read_text()) for name in ("before", "killed", "wanted")
    )
    start, undisturbed, root = directory / "start", directory / "undisturbed", directory / "killed"
    start.mkdir()
    for job in before:
        assert in_child(lambda job=job: publish(start, job, jobs)) == 0
    shutil.copytree(start, undisturbed)
    assert in_child(lambda: publish(undisturbed, wanted[0], jobs)) == 0
    expected = tree(undisturbed)
    number = 0
    while True:
        number += 1
        shutil.rmtree(root, ignore_errors=True)
        shutil.copytree(start, root)

        def doomed(number: int = number) -> None:
            killed_at(number, root)
            publish(root, killed[0], jobs)

        status = in_child(doomed)
        if status == 0:
            break
        assert status == -signal.SIGKILL, f"change {number}: status {status}"
        look(root)
        if killed != wanted:

            def doomed_again(number: int = number) -> None:
                killed_at(number, root)
                publish(root, wanted[0], jobs)

            assert in_child(doomed_again) in (0, -signal.SIGKILL)
            look(root)
        assert in_child(lambda: publish(root, wanted[0], jobs)) == 0, f"after a kill at change {number}"
        look(root)
        compare(tree(root), expected, number, detour=killed != wanted)
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
