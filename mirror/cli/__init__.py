"""The command line: flags become settings, settings become a pipeline, results become an exit code."""
