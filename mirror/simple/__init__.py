"""The simple repository API (PEP 503, 691, 700, 714, 792): pages as values, and values as pages."""
