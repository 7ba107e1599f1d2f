"""`python -m mirror` and the console script."""

from mirror.cli.commands import main

if __name__ == "__main__":
    main()
