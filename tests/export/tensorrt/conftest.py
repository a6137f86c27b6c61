"""The small student on the symmetric grid."""

from __future__ import annotations

import pytest

from edgemat.export._target import Trunk, Trunks


@pytest.fixture(scope="session")
def sym_trunk(trunks: Trunks) -> Trunk:
    """Return the small student's trunk with a symmetric grid of 8 bits."""
    return trunks.on_grid["static_w8c_a8s"]
