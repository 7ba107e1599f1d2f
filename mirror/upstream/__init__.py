"""Upstream: the simple indexes that locked files come from."""
