"""`python -m mulgil` is `mulgil`."""

from mulgil.app.cli import main

if __name__ == "__main__":
    main()
