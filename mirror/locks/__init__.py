"""Lock files: each format is read into the one shape that the pipeline knows."""

from mirror.locks.formats import read

__all__ = ["read"]
