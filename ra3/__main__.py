"""`python -m ra3` is `ra3`."""

from ra3.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
