"""What a run of parity leaves in ``DIR/proof``: the report, JUnit XML, pictures of some images, the page of all."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgemat.files import write_json
from edgemat.verify import proof
from edgemat.verify.page import build, strips
from edgemat.verify.parity import junit

if TYPE_CHECKING:
    from edgemat.verify.parity.images import ParitySet
    from edgemat.verify.parity.report import ParityReport
    from edgemat.verify.parity.run import Shown

PICTURES = 4
"""Images that are shown."""


def write(report: ParityReport, shown: Shown, parity_set: ParitySet, folder: Path) -> tuple[Path, ...]:
    """Write the documents; the same run gives the same bytes, but for the timings in the report.

    Args:
        report: What was found.
        shown: What its pictures are made of.
        parity_set: What it was found on.
        folder: They go into ``folder/proof``; what others left there stays, and is on the page.

    Returns:
        What was written.

    Raises:
        OutputError: It cannot be written.
    """
    place = folder / proof.FOLDER
    places = place / proof.PARITY, place / proof.JUNIT, place / proof.STRIPS
    write_json(places[0], report.to_json())
    junit.write(report, places[1])
    strips.save(pictures(shown, parity_set), places[2])
    return (*places, build.write(folder))


def pictures(shown: Shown, parity_set: ParitySet) -> strips.Strips:
    """Choose the images where some artefact is farthest from the float network, and fill up with the first.

    Args:
        shown: Every artefact's alpha.
        parity_set: The images, and what is known of them.
    """
    reference = strips.codes(shown.reference)
    far = np.zeros(len(reference))
    for codes in shown.codes.values():
        difference = np.abs(codes.astype(np.int16) - reference).mean(axis=(1, 2))
        far = np.maximum(far, difference)
    order = sorted(range(len(far)), key=lambda i: (-far[i], i))
    chosen = sorted(order[:PICTURES])
    truth, doubt = parity_set.truth, parity_set.uncertainty
    most = 0.0 if doubt is None else float(doubt.max())
    return strips.Strips(
        parity_set.images[chosen],
        {name: codes[chosen] for name, codes in shown.codes.items()},
        reference[chosen],
        None if truth is None else strips.codes(truth[chosen]),
        None if doubt is None else strips.codes(doubt[chosen] / (most or 1.0)),
        tuple(", ".join(parity_set.strata[i]) or f"image {i}" for i in chosen),
    )
