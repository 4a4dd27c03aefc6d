"""``python -m benchmarks.peers``."""

import sys

from benchmarks.peers import run
from benchmarks.report import main

sys.exit(main(run))
