"""``python -m ferlab`` is the command ``ferlab``."""

import sys

from ferlab.runs.cli import main

if __name__ == "__main__":
    sys.exit(main())
