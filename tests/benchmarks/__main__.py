"""Every benchmark, one after the other."""

from __future__ import annotations

import subprocess
import sys

for name in ("planning", "index", "reports", "download", "s3", "served"):
    print(f"== {name}", flush=True)
    subprocess.run([sys.executable, "-m", f"tests.benchmarks.{name}"], check=True)
