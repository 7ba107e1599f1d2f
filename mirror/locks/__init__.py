"""Lock files: each format is read into the one shape that the pipeline knows."""
