"""Run the command line: ``python -m edgemat``."""

import sys

from edgemat.cli import main

sys.exit(main())
