"""A second opinion on an artefact: what Apple's Core AI runtime, which nobody here wrote, computes of what it holds.

A Core ML package is translated back to ONNX, so that neither its writer nor its interpreter has a say; an ONNX file is
taken as it is. coreai-onnx translates that, and Apple's runtime executes it, on Linux too. Both are betas, and so is
the verdict: a row of its own, called a beta oracle, that is asked for by name.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from edgemat.errors import EdgematError, InputError
from edgemat.files import sha256
from edgemat.verify.opinion import LABEL, NAME, Layers, Opinion

if TYPE_CHECKING:
    from edgemat.export._compare import References
    from edgemat.export._target import Alphas, Images, Unavailable
    from edgemat.quantize.grid import Codes
    from edgemat.verify.exported import Entry
    from edgemat.verify.parity.report import Figure, Outcome

ROUTES = {
    "coreml": "the package translated back to ONNX, by coreai-onnx to Core AI; reals are float32, whatever it states",
    "onnx": "the file, by coreai-onnx to Core AI",
}
"""Targets whose artefacts Core AI can be asked about, and how."""
PROVES = "Apple's Core AI runtime (beta) on this CPU, fed with what the file holds: a second opinion, not a device"
_CHILD = "edgemat.export.coreai._child:execute"
_SECONDS, _SECONDS_EACH = 120.0, 15.0
"""Patience: with the start, and with each image. The student takes 2 and 0.2 on an idle core."""
_LINES = 5
"""Findings that are told at most."""
_TRACED = 2
"""Images whose every tensor is compared."""
_NARROW = 0.05
"""Share of a tensor's codes that may differ where the file states scales in float16, and the reference float32 ones;
the shipped student's Core ML package: 0.02."""
_ROUNDING = "coreai"
_PACKAGES = ("coreai-core", "coreai-onnx")


def applies(entry: Entry) -> bool:
    """Return whether Core AI can be asked about an artefact: a Core ML package or an ONNX file."""
    return entry.target.name in ROUTES


def coreai(
    entry: Entry, images: Images, *, own: Alphas | None = None, references: References | None = None
) -> Opinion | Unavailable:
    """Ask Apple's Core AI runtime what an artefact computes.

    A float artefact's gate is its target's: a float32 package has to be within 1e-5 of ONNX Runtime and of its own
    runner. Where a package rounds to float16 the oracle does not, and the difference from its own runner is what that
    rounding makes. An integer artefact is judged layer by layer, each on the oracle's own codes before it.

    Args:
        entry: The artefact; see `applies`.
        images: RGB, uint8, (N, H, W, 3), at its size, N at least 1.
        own: What its own runner computes of them, float32, (N, H, W), where that is known already.
        references: What to compare with, of the same images, where some of it is computed already.

    Returns:
        The opinion, or why there is none: packages are missing, or another platform would be needed.

    Raises:
        InputError: The artefact cannot be read, or is of a target that the oracle knows nothing about.
        UnsupportedOpError: Core AI has no counterpart of an operator.
        IsolatedError: Core AI crashed or hung.
    """
    from edgemat import export
    from edgemat.export import _isolated
    from edgemat.export._compare import References
    from edgemat.verify import _oracle_source

    if not applies(entry):
        raise InputError(f"{entry.path}: {NAME} is no oracle for target {entry.target.name}; for {', '.join(ROUTES)}")
    missing = export.get(NAME).unavailable()
    if missing is not None:
        return missing
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        source = _oracle_source.of(entry, Path(folder) / "oracle.onnx")
        patience = _SECONDS + _SECONDS_EACH * len(images)
        _, found = _isolated.call(_CHILD, {"source": str(source.path)}, source.feeds(images), timeout=patience)
        seconds = time.perf_counter() - start
        if own is None:
            with entry.target.load(entry.path) as runner:
                own = runner.run(images)
        references = references or References(images, Path(folder))
        codes = tuple(source.shown(found, images[:_TRACED]))
        return _judged(entry, source.matte(found), own, codes, references, seconds)


def rows(
    entries: Iterable[Entry], images: Images, on_progress: Callable[[str], None] = lambda _: None
) -> list[Outcome]:
    """Return a row of a parity report for every artefact that the oracle can be asked about; raises for none of them.

    Args:
        entries: Of an export folder; those of other targets are left out.
        images: RGB, uint8, (N, H, W, 3), at their size, N at least 1.
        on_progress: Called with a short text before each.
    """
    from edgemat.export._compare import References

    found = []
    with tempfile.TemporaryDirectory() as folder:
        references = References(images, Path(folder))
        for entry in entries:
            if applies(entry):
                on_progress(f"{entry.name}: ask {NAME} ({LABEL})")
                found.append(_row(entry, images, references))
    return found


def _row(entry: Entry, images: Images, references: References) -> Outcome:
    """Return one artefact's row: what goes wrong is told in it."""
    from edgemat.export._isolated import CrashedError, HungError
    from edgemat.verify.parity.report import Outcome

    digest = sha256(entry.path)
    try:
        return outcome(entry, coreai(entry, images, references=references), digest)
    except EdgematError as error:
        state = "crashed" if isinstance(error, CrashedError) else "timeout" if isinstance(error, HungError) else "error"
        message = str(error)
    except Exception as error:  # a beta may raise anything; the other artefacts still deserve their turn
        state, message = "error", f"{type(error).__name__}: {error} (a defect of edgemat or of Core AI)"
    return Outcome(
        _target(entry), entry.precision, entry.path.name, digest, state, message, changed=entry.changed, proves=PROVES
    )


def _target(entry: Entry) -> str:
    return f"{entry.target.name} in {NAME} ({LABEL})"


def outcome(entry: Entry, found: Opinion | Unavailable, sha256: str = "") -> Outcome:
    """Return an opinion, or its absence, as a row of a parity report.

    Args:
        entry: The artefact.
        found: What `coreai` returned for it.
        sha256: Of the artefact.
    """
    from edgemat.verify.parity.report import Outcome

    if not isinstance(found, Opinion):
        message = f"{found.reason}; {found.install}"
        return Outcome(_target(entry), entry.precision, entry.path.name, sha256, "unavailable", message, proves=PROVES)
    figures = tuple(_figures(found))
    failed = not found and any(not figure.passed for figure in figures)
    return Outcome(
        _target(entry),
        entry.precision,
        entry.path.name,
        sha256,
        "passed" if found else "gate" if failed else "error",
        "; ".join(found.wrong),
        figures=figures,
        changed=entry.changed,
        proves=PROVES,
    )


def _figures(found: Opinion) -> Iterator[Figure]:
    """Yield an opinion's figures, judged by the artefact's own limits."""
    from edgemat.verify.parity.report import CONVERSION, Figure

    beside = ("beside its own runner", "beside its reference")
    for region, compared in zip(beside, (found.own, found.reference), strict=True):
        for name in ("max_abs", "mean_abs") if compared is not None else ():
            value, limit = getattr(compared, name), found.gate.get(name)
            yield Figure(
                CONVERSION,
                name,
                value,
                region=region,
                limit=limit,
                passed=limit is None or value <= limit,
                detail=LABEL,
            )
    if found.layers is not None:
        detail = f"{found.layers.tensor or 'none differs'}, of {found.layers.tensors} tensors; {LABEL}"
        for name, value in (("lsb", found.layers.lsb), ("differ", found.layers.differ)):
            limit = found.gate[name]
            yield Figure(
                CONVERSION, f"layer_{name}", float(value), "LSB" if name == "lsb" else "1", limit=limit,
                passed=value <= limit, detail=detail,
            )  # fmt: skip


def _judged(
    entry: Entry,
    alpha: Alphas,
    own: Alphas,
    codes: Sequence[Mapping[str, Codes]],
    references: References,
    seconds: float,
) -> Opinion:
    """Compare the oracle's alpha with the artefact's own runner's and with the reference's, codes layer by layer."""
    from edgemat.export._target import IntegerGate
    from edgemat.verify.compare import compare, complaints

    gate, reference = entry.gate, _reference(entry, references)
    wrong = complaints(alpha, reference.shape, 1e-3 if isinstance(gate, IntegerGate) else gate.max_abs)
    wrong += [f"its own runner: {line}" for line in complaints(own, reference.shape, 1e-3)]
    beside_own = beside_reference = checked = None
    if not wrong:
        beside_own, beside_reference = compare(alpha, own), compare(alpha, reference)
    for name, compared in (("its own runner", beside_own), ("its reference", beside_reference)):
        if compared is not None and not isinstance(gate, IntegerGate):
            far = compared.max_abs > gate.max_abs or compared.mean_abs > gate.mean_abs
            figures = f"max {compared.max_abs:.3g}, mean {compared.mean_abs:.3g} from {name}"
            wrong += [f"{figures}; the gate is max {gate.max_abs:g}, mean {gate.mean_abs:g}"] if far else []
    limits: dict[str, float] = asdict(gate)
    if isinstance(gate, IntegerGate):
        limits = {"lsb": float(gate.lsb), "differ": max(gate.differ, _NARROW if gate.scales else 0.0)}
        checked, faults = _checked(entry, codes, references, limits)
        wrong += faults
    versions = {name: metadata.version(name) for name in _PACKAGES}
    route = ROUTES[entry.target.name]
    return Opinion(
        entry.name, route, beside_own, beside_reference, checked, limits, tuple(wrong), round(seconds, 3), versions
    )


def _checked(
    entry: Entry, codes: Sequence[Mapping[str, Codes]], references: References, limits: Mapping[str, float]
) -> tuple[Layers, list[str]]:
    """Return how far the oracle's codes are from the reference's, each layer given the oracle's own inputs."""
    from edgemat.verify import layers

    integer = references.integer(entry.trunk, _ROUNDING)
    found = layers.merge(
        layers.check(integer, shown, image, int(limits["lsb"]), limits["differ"])
        for shown, image in zip(codes, references.images, strict=False)
    )
    wrong = [str(layer) for layer in found.failed[:_LINES]]
    if found.missing:
        wrong.append(f"{len(found.missing)} tensors are not compared: {', '.join(found.missing[:_LINES])}")
    worst = found.worst
    tensor = worst.tensor if worst is not None and worst.lsb else ""
    lsb, differ = worst.lsb if worst is not None else 0, max((layer.differ for layer in found.layers), default=0.0)
    return Layers(lsb, differ, tensor, len(found.layers)), wrong


def _reference(entry: Entry, references: References) -> Alphas:
    """Return alpha of what an artefact was made from."""
    from edgemat.export._target import IntegerGate

    if entry.precision in entry.target.stores:
        return references.plain(references.stored(entry.trunk))
    if isinstance(entry.gate, IntegerGate):
        return references.on_grid(entry.trunk, _ROUNDING)
    return references.plain(entry.trunk)
