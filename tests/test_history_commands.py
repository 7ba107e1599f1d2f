"""`mirror releases`, `mirror rollback` and `mirror prune`, as a user runs them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.history_suite import now, three_sites
from tests.sites import local

ROOT = Path(__file__).resolve().parent.parent


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mirror", *arguments, "--destination", "site"], cwd=folder, check=False,
        capture_output=True, text=True, encoding="utf-8",
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUTF8": "1"},
    )  # fmt: skip


def test_list_go_back_and_tidy_up(tmp_path: Path) -> None:
    store = local(tmp_path / "site")
    ids = [site.publish(store, allow_shrink=True).current for site in three_sites(tmp_path / "sites")]
    listed = json.loads(run(tmp_path, "releases", "--json").stdout)
    assert [entry["id"] for entry in listed[0]["releases"]] == ids[::-1]
    assert ids[0] in run(tmp_path, "releases").stdout

    assert run(tmp_path, "rollback", ids[0], "--dry-run").returncode == 0
    assert now(store).id == ids[2]
    done = run(tmp_path, "rollback", "000001")
    assert done.returncode == 0, done.stderr
    assert now(store).id[7:] == ids[0][7:]
    assert run(tmp_path, "rollback", "--to", "2100-01-01T00:00:00Z").returncode == 0

    for wrong in ((), ("000001", "--to", "2100-01-01"), ("000009",), ("--to", "yesterday"), ("--to", "2000-01-01")):
        done = run(tmp_path, "rollback", *wrong)
        assert done.returncode == 2
        assert "hint:" in done.stderr

    assert run(tmp_path, "prune").stdout == ""
    planned = run(tmp_path, "prune", "--keep", "1", "--grace", "0", "--allow-shrink", "--dry-run").stdout.split()
    assert f".mirror/releases/{ids[2]}.json" in planned
    assert run(tmp_path, "prune", "--keep", "1", "--grace", "0").returncode == 2
    assert all((tmp_path / "site" / key).is_file() for key in planned)
    assert run(tmp_path, "prune", "--keep", "1", "--grace", "0", "--allow-shrink").returncode == 0
    assert not any((tmp_path / "site" / key).exists() for key in planned)
