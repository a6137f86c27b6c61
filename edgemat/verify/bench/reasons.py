"""Why an integer artefact is not faster than its float one, in plain words, from what can be measured and read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from edgemat.inspection import MOVES
from edgemat.verify.bench.ratio import FASTER, INCONCLUSIVE, Ratio

if TYPE_CHECKING:
    from edgemat.inspection import Inspection
    from edgemat.verify.bench.peaks import Peaks
    from edgemat.verify.bench.roofline import Bound

LITTLE_GAIN = 1.5
"""Below this gain of int8 over float32 in one large product, the processor or the run time has no fast int8."""
MANY_MOVES = 0.25
MEMORY = 0.5
_NAMED = 4


def why_not_faster(
    ratio: Ratio,
    inspection: Inspection,
    stores_only: bool,
    peaks: Peaks,
    bounds: tuple[Bound, Bound],
    dot_products: Sequence[str] | None,
) -> tuple[str, ...]:
    """Return the reasons why an integer artefact does not win; none where it does, or where nothing is concluded.

    Args:
        ratio: Its time over that of the float artefact.
        inspection: What it computes in.
        stores_only: Whether it only stores integers, and computes in float.
        peaks: Of the machine.
        bounds: Its own least time, and that of the float artefact.
        dot_products: Integer instructions of the processor; None where unknown.
    """
    if ratio.verdict in (FASTER, INCONCLUSIVE):
        return ()
    found = list(_of_file(inspection, stores_only))
    if peaks.int8_gain < LITTLE_GAIN:
        flags = "" if dot_products is None or dot_products else ", which has no dot product of 8-bit integers (VNNI)"
        found.append(
            f"one large product in int8 is only {peaks.int8_gain:.1f} times as fast as in float32 here{flags}: "
            "the processor has little to give"
        )
    own, real = bounds
    if own.memory_bound > MEMORY:
        found.append(
            f"layers that wait for memory make up {own.memory_bound:.0%} of its least time: "
            f"{real.bytes / 1e6:.1f} MB become {own.bytes / 1e6:.1f} MB, arithmetic matters less"
        )
    if not found:
        found.append(
            "nothing in the file or the processor explains it: the run time's integer kernels are slow for these shapes"
        )
    return tuple(found)


def _of_file(inspection: Inspection, stores_only: bool) -> list[str]:
    """Return what the file itself says."""
    if stores_only:
        return ["it stores weights as integers and computes in float: it is smaller, not faster"]
    found = []
    if not any(op.arithmetic.startswith("int") for op in inspection.ops):
        found.append("no operator computes in integers")
    if islands := inspection.islands:
        names = ", ".join(f"{op.name} ({op.kind})" for op in islands[:_NAMED])
        more = f" and {len(islands) - _NAMED} more" if len(islands) > _NAMED else ""
        found.append(f"{len(islands)} operators compute in float between integers: {names}{more}")
    moving = Counter(op.kind for op in inspection.ops if op.arithmetic == MOVES)
    if inspection.ops and sum(moving.values()) > MANY_MOVES * len(inspection.ops):
        kinds = ", ".join(f"{count} {kind}" for kind, count in moving.most_common(_NAMED))
        found.append(
            f"{sum(moving.values())} of {len(inspection.ops)} operators only move, lay out or convert values ({kinds})"
        )
    return found
