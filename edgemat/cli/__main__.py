"""Run the command line: ``python -m edgemat.cli``."""

import sys

from edgemat.cli import main

sys.exit(main())
