"""Downloads: ways to bring a planned file's bytes here."""
