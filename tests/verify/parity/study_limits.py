"""How near the artefacts of an export come to each limit of parity, over disjoint choices of hold-out composites.

The defaults of `edgemat.verify.parity` (docs/parity.md, "Gates") were read off this table, of the shipped student::

    python tests/verify/parity/study_limits.py FOLDER --draws 8 --targets coreml,onnx,openvino,tensorrt,tflite

FOLDER is what ``edgemat export --target all --precision all --out FOLDER`` wrote. Needs ``edgemat data fetch``. Each
artefact runs in this process, a few images at a time; simulators make it a matter of an hour, the others of minutes.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgemat.export._target import Runner
from edgemat.export.onnx import OnnxRunner
from edgemat.verify import exported
from edgemat.verify.parity import images
from edgemat.verify.parity.composite import Composite
from edgemat.verify.parity.quality import Quality
from edgemat.verify.parity.report import COMPOSITE, Figure

Extremes = dict[tuple[str, str, str], tuple[float, str]]
"""Kind of artefact, figure and place, to the number that a limit is held against at its worst, and whose it was."""
_AT_ONCE = 16


def decisive(figure: Figure) -> tuple[str, float] | None:
    """Return where a figure counts, and what its limit is held against; None where it is not judged."""
    if figure.limit is None or figure.value is None:
        return None
    sign = -1.0 if figure.at_least else 1.0
    if figure.question == COMPOSITE:
        return figure.region, figure.value
    if figure.low is None or figure.high is None or "nobody sees" in figure.detail:
        return None
    stratum = figure.region not in ("", "unknown")
    end = figure.low if stratum == (sign > 0) else figure.high
    return ("worst stratum, lower end" if stratum else (figure.region or "frame") + ", upper end"), sign * end


def run(runner: Runner, to_run: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Run an artefact a few images at a time."""
    return np.concatenate([runner.run(to_run[i : i + _AT_ONCE]) for i in range(0, len(to_run), _AT_ONCE)])


def study(folder: Path, draws: int, targets: list[str]) -> Extremes:
    """Return the worst of all artefacts and draws."""
    found = exported.read(folder)
    plain = found.trunks.plain
    if plain is None:
        sys.exit(f"{folder}: holds no float network")
    worst: Extremes = {}
    for draw in range(draws):
        chosen = images.load("holdout", plain.height, plain.width, draw=draw)
        with OnnxRunner(plain.path) as runner:
            reference = run(runner, chosen.to_run)
        quality, composite = Quality(chosen, reference), Composite(chosen, reference)
        for entry in found.entries:
            if targets and entry.target.name not in targets:
                continue
            with entry.target.load(entry.path) as runner:
                alphas = run(runner, chosen.to_run)
            kind = "integers" if entry.target.needs_grid(entry.precision) else "float"
            for figure in (*quality.figures(alphas), *composite.figures(alphas)):
                held = decisive(figure)
                if held is not None:
                    key, value = (kind, figure.name, held[0]), (held[1], f"{entry.name}, draw {draw}, {figure.region}")
                    worst[key] = max(worst.get(key, value), value)
            print(f"draw {draw}: {entry.name}", file=sys.stderr, flush=True)
    return worst


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--draws", type=int, default=8)
    parser.add_argument("--targets", default="")
    asked = parser.parse_args()
    targets = [name for name in asked.targets.split(",") if name]
    for (kind, name, where), (value, whose) in sorted(study(asked.folder, asked.draws, targets).items()):
        print(f"{kind:9} {name:24} {where:26} {value:+9.4f} %   {whose}")


if __name__ == "__main__":
    main()
