"""`python -m mirror` and the console script."""

import sys

from mirror.errors import INTERRUPTED


def main() -> None:
    """Run the command line."""
    try:
        # Importing takes a moment, too, in which somebody may press Ctrl-C.
        from mirror.cli.commands import main as run  # noqa: PLC0415

        run()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main()
