"""Figures for people: sizes and counts in words."""

from __future__ import annotations


def size(count: int) -> str:
    """Bytes in decimal units, two or three digits of them: `444 MB`, `1.2 GB`."""
    amount, unit = float(count), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if round(amount) < 1000:
            break
        amount, unit = amount / 1000, larger
    return f"{amount:.0f} {unit}" if unit == "B" or amount >= 99.95 else f"{amount:.1f} {unit}"


def counted(number: int, noun: str, plural: str = "") -> str:
    """`1 file`, `1,200 files`."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"
