"""Every check, in the order of the list."""

from __future__ import annotations

from mirror.doctor import files, html, json, transport

CHECKS = (*transport.CHECKS, *html.CHECKS, *json.CHECKS, *files.CHECKS)
