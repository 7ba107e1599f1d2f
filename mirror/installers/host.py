"""Which of the targets this machine is."""

from __future__ import annotations

import platform
import sys

from mirror.installers.base import Here
from mirror.targets import TARGETS


def here() -> Here:
    """The target and the Python that we run on."""
    names = (
        name
        for name, target in TARGETS.items()
        if dict(target.markers)["sys_platform"] == sys.platform
        and dict(target.markers)["platform_machine"] == platform.machine()
        and (target.system == "linux") is (platform.libc_ver()[0] == "glibc")
    )
    # Markers are judged for CPython only.
    known = next(names, "") if sys.implementation.name == "cpython" else ""
    return Here(target=known, version=platform.python_version())
