"""Stores: places that a mirror is published to."""
