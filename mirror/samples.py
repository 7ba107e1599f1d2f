"""How much of a site is looked at when nobody says how much."""

FILES = 16
"""Files that are read whole."""
PROJECTS = 20
"""Projects of an index that are visited."""
