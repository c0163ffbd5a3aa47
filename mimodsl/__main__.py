"""`python -m mimodsl` is the command `mimodsl`."""

import sys

from mimodsl.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
