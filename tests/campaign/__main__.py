"""Run the campaign and write its page: ``python -m tests.campaign`` from the root of the repository."""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # small networks: more threads only wait for each other

from edgemat.files import atomic_path

from . import table
from .campaign import trials
from .planters import FAULTS, SITES
from .untouched import SEEDS, run_all


def main() -> int:
    """Plant, count, write; exit 1 where less is caught than asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.campaign", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("docs/faults.md"), help="the page (docs/faults.md)")
    parser.add_argument("--seeds", type=int, default=SEEDS, help=f"untouched students ({SEEDS})")
    parser.add_argument(
        "--faults", default="", help="only these kinds, by commas: " + ", ".join(f.name for f in FAULTS)
    )
    parser.add_argument("--sites", default="", help="only there, by commas: " + ", ".join(SITES))
    asked = parser.parse_args()
    start = time.perf_counter()
    kinds = [fault for fault in FAULTS if not asked.faults or fault.name in asked.faults.split(",")]
    sites = asked.sites.split(",") if asked.sites else None
    with tempfile.TemporaryDirectory() as folder:
        found = list(trials(Path(folder), kinds, sites, on_progress=_say))
        untouched = list(run_all(Path(folder), asked.seeds, _say))
    minutes = (time.perf_counter() - start) / 60
    machine = f"{minutes:.0f} minutes on {os.cpu_count()} cores, {platform.machine()}"
    with atomic_path(asked.out) as temporary:
        command = " ".join(["python -m tests.campaign", *sys.argv[1:]])
        temporary.write_text(table.page(found, untouched, command, machine), encoding="utf-8")
    print(f"written: {asked.out}")
    return 0 if table.passes(found, untouched) else 1


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
