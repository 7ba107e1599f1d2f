"""A site as it is seen from outside: its pages, its files and its manners, each read and judged in one module."""
