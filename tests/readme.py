"""Write into the README what the code says: help texts, settings, mutants. `python -m tests.readme` mends it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from mirror.doctor.rows import CHECKS
from tests.mutants import DOCTOR, MUTANTS, VERIFY

ROOT = Path(__file__).parent.parent
COMMANDS = (
    *("refresh", "setup", "export", "plan", "download", "consolidate", "index"),
    *("sync", "invalidate", "verify", "serve", "infra"),
    *("doctor", "releases", "rollback", "prune", "sbom"),
)


def help_of(*command: str) -> str:
    """The help text of a command, at a fixed width and without colours."""
    environment = {**os.environ, "COLUMNS": "100", "TERM": "dumb", "NO_COLOR": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", "mirror", *command, "--help"],
        check=True, capture_output=True, text=True, encoding="utf-8", env={**environment, "PYTHONUTF8": "1"},
    )  # fmt: skip
    return "\n".join(line.rstrip() for line in done.stdout.strip().splitlines())


def settings_table() -> str:
    """config.env.example as a table: key, default, the comment above it."""
    rows = ["| key | default | meaning |", "|---|---|---|"]
    comment: list[str] = []
    for line in (ROOT / "config.env.example").read_text(encoding="utf-8").splitlines():
        if line.startswith("# ---") or not line:
            comment = []
        elif line.startswith("#"):
            comment.append(line.lstrip("# "))
        else:
            key, _, value = line.partition("=")
            shown = ", ".join(f"`{part}`" for part in value.split(",")) if value else ""
            rows.append(f"| `{key}` | {shown} | {' '.join(comment)} |")
    return "\n".join(rows)


def mutants_table() -> str:
    """What catches each mutant of a published site; tests prove both columns."""
    rows = ["| what is broken | `mirror verify --url` says | `mirror doctor` says |", "|---|---|---|"]
    for mutant in MUTANTS:
        columns = (", ".join(f"`{word}`" for word in caught[mutant.name]) for caught in (VERIFY, DOCTOR))
        rows.append(f"| {mutant.name} | {' | '.join(column or '-' for column in columns)} |")
    return "\n".join(rows)


def rows_table() -> str:
    """Every row that `mirror doctor` judges, as a table."""
    rows = [f"| {check.id} | {check.rank} | {_literally(check.asserts)} |" for check in CHECKS]
    return "\n".join(["| row | level | holds when |", "|---|---|---|", *rows])


def _literally(text: str) -> str:
    return text.replace("<", "&lt;").replace("|", "&#124;")


def expected(text: str) -> str:
    """The README with its generated parts as they should be."""
    helps = "\n\n".join(f"```console\n$ mirror {name} --help\n{help_of(name)}\n```" for name in COMMANDS)
    for name, part in (
        ("help", helps),
        ("settings", settings_table()),
        ("mutants", mutants_table()),
        ("rows", rows_table()),
    ):
        begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
        before, _, rest = text.partition(begin)
        text = f"{before}{begin}\n{part}\n{end}{rest.partition(end)[2]}"
    return text


if __name__ == "__main__":
    readme = ROOT / "README.md"
    readme.write_text(expected(readme.read_text(encoding="utf-8")), encoding="utf-8")
