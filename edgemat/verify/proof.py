"""Where the commands that judge an export folder leave what they found, for ``edgemat report`` to make one page of."""

from __future__ import annotations

FOLDER = "proof"
"""Folder inside the export folder."""
PARITY = "parity.json"
WATERFALL = "waterfall.json"
BENCH = "bench.json"
LINT = "lint.json"
STRIPS = "strips.npz"
"""Images, truth, uncertainty and every artefact's alpha of a few images, uint8, for the page's pictures."""
JUNIT = "junit.xml"
PAGE = "report.html"
