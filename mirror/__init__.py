"""Mirror exactly what a lock file pins, for every platform it runs on, as a static Python index with proof."""

__version__ = "0.1.0"
