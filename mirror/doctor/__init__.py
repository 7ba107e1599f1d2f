"""Judging any simple index by what it answered: facts in, verdicts out. Nothing in here asks, reads or writes."""
