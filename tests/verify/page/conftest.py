"""An export folder's proof as the commands leave it, made up: what passes, what fails, and what no page may run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgemat.files import write_json
from edgemat.verify import proof
from edgemat.verify.bench.ratio import HERE, Gate, Ratio, judge
from edgemat.verify.bench.report import BenchReport
from edgemat.verify.bench.roofline import Bound
from edgemat.verify.bench.row import Row
from edgemat.verify.bench.runtimes import Untimed
from edgemat.verify.bootstrap import Interval
from edgemat.verify.lint.finding import Finding, Linted, LintReport
from edgemat.verify.page import strips
from edgemat.verify.parity.report import Figure, Outcome, ParityReport
from edgemat.verify.waterfall import Step, Waterfall
from edgemat.verify.waterfall_scores import Figure as StepFigure

STRATA = (
    "unknown",
    *(f"uncertainty: {bin_} %" for bin_ in ("0-50", "50-80", "80-95", "95-100")),
    *(f"occluder: {kind}" for kind in ("none", "cup", "glasses", "hair", "hand", "mask", "microphone", "phone")),
    *(f"skin: {tone}" for tone in ("dark", "brown", "tan", "intermediate", "light")),
)
NASTY = "<script>document.title='owned'</script><img src=x onerror=alert(1)>\"'&"
Page = Callable[..., Path]


def quality(rng: np.random.Generator, scale: float, beyond: str = "") -> list[Figure]:
    found = []
    for region in ("", *STRATA):
        for metric in ("mad", "mse", "sad", "grad", "conn", "iou", *(["dtssd"] if region in ("", "unknown") else [])):
            up = metric == "iou"
            value, half = float(rng.normal(0, scale)), abs(float(rng.normal(scale, scale / 3)))
            limit = 10.0 if region in STRATA[1:] else 5.0
            judged = metric in ("mad", "grad", "conn") or region in ("", "unknown")
            bad = region == beyond != "" and metric == "mad"
            value = limit * 1.8 if bad else value / 10 if up else value
            found.append(
                Figure(
                    "quantization", metric, value, "%", region, value - half, value + half,
                    None if not judged else -0.5 if up else limit, up and judged, not bad,
                    f"26.43 -> {26.43 * (1 + value / 100):.4g} 1e-3; 32 images of 32 faces",
                )
            )  # fmt: skip
    return found


def conversion(integers: bool, bad: bool = False) -> list[Figure]:
    if integers:
        value = 7.0 if bad else 0.0
        return [
            Figure("conversion", "layer_lsb", value, "LSB", limit=1.0, passed=not bad, detail="of 23 tensors"),
            Figure("conversion", "within_one", 84.2 if bad else 100.0, "%", limit=99.0, at_least=True, passed=not bad),
        ]
    return [
        Figure("conversion", "max_abs", 0.0068, limit=0.01),
        Figure("conversion", "mean_abs", 5.7e-5, limit=2e-4),
        Figure("conversion", "psnr", 71.8, "dB", limit=60.0, at_least=True),
    ]


def composite(rng: np.random.Generator) -> list[Figure]:
    found = []
    for name in ("colour", "smooth", "inverted"):
        region, share = f"filter: {name}", float(rng.uniform(0, 0.8))
        found.append(Figure("composite", "max_abs", float(rng.integers(1, 40)), "steps of 255", region))
        found.append(
            Figure(
                "composite", "off_by_more_than_2", share, "%", region, share * 0.8, share * 1.2, 1.0, detail="pixels"
            )
        )
    return found


def outcomes(failing: bool) -> tuple[Outcome, ...]:
    names = {
        "coreml": ("fp16", "fp32", "w8", "w8a8"), "ethos_u": ("int8",), "litert_qualcomm": ("int8",),
        "onnx": ("fp32", "fp16", "int8", "int8_byte_io"), "openvino": ("fp32", "int8"), "qnn": ("int8",),
        "tensorrt": ("int8",), "tflite": ("fp32", "fp16", "int8", "int8_float_io"),
    }  # fmt: skip
    found = []
    for target, precisions in names.items():
        for precision in precisions:
            integers = "8" in precision and precision != "w8"
            rng = np.random.default_rng(3 if integers else 4)
            bad = failing and (target, precision) == ("tflite", "int8")
            figures = [
                *conversion(integers, bad),
                *quality(rng, 1.2 if integers else 0.004, "skin: dark" if bad else ""),
                *composite(rng),
            ]
            about = "The file in its run time on the CPU; no accelerator, nothing about a phone's GPU or NPU."
            state, more = "gate" if bad else "passed", {}
            if failing and target == "qnn":
                state, figures, more = "crashed", [], {"message": "its process died of signal 11 (SIGSEGV)"}
            if failing and target == "openvino" and precision == "int8":
                state, figures, more = "timeout", [], {"message": "no answer in 120 s; --gate timeout_seconds=N"}
            if target == "tensorrt":
                state, figures, more = "unavailable", [], {"message": "no NVIDIA GPU here; run it where there is one"}
            if bad:
                why = (
                    "ups.0.conv: 7 LSB where 1 is allowed",
                    "a scale x1.01 explains it: 0.0236 found, 0.0234 expected",
                )
                more = {"findings": why, "tensor": "ups.0.conv", "message": "beyond its limits", "changed": True}
            file = f"student-{precision}.{target}"
            made = Outcome(target, precision, file, f"{target}{precision}", state, figures=tuple(figures), proves=about)
            found.append(made if not more else Outcome(**{**vars(made), **more}))
    return tuple(found)


def parity(failing: bool = False) -> ParityReport:
    return ParityReport(
        outcomes(failing),
        {"name": "hold-out", "count": 32, "faces": 32, "sha256": "c0ffee" * 10, "truth": True},
        {"name": "student", "version": "1.0", "license": "Apache-2.0", "size": [256, 256], "sha256": "ab" * 32},
        {"conversion": {"psnr": 60.0}, "quality": {"whole": {"mad": 5.0}}},
        {"platform": "Linux", "processor": "a CPU", "packages": {"onnxruntime": "1.28.0"}},
        ("A phone's GPU, its Neural Engine and its NPU were not run.", "Strata of fewer than 8 faces were not judged."),
        command="edgemat parity out --images holdout",
        timings={"total": 1.0},
    )


def interval(value: float, half: float) -> Interval:
    return Interval(value, value - half, value + half)


def waterfall() -> Waterfall:
    rng = np.random.default_rng(5)
    rows = [
        ("torch", "start", "float", ""), ("onnx trunk", "conversion", "float", "torch"),
        ("fp16", "half", "float", "onnx trunk"), ("coreml fp16", "runtime", "float", "fp16"),
        ("w8 torch", "training", "static_w8c_a8", "torch"), ("w8", "weights", "static_w8c_a8", "w8 torch"),
        ("w8a8", "activations", "static_w8c_a8", "w8"), ("tflite int8", "runtime", "static_w8c_a8", "w8a8"),
    ]  # fmt: skip
    steps, at = [], {"mad": 26.4, "grad": 3.8}
    for name, kind, chain, after in rows:
        figures = []
        for metric in at:
            moved = 0.0 if not after else float(rng.normal(0, 0.01)) * at[metric]
            at[metric] += moved
            change = (
                (interval(moved, abs(moved) / 2), interval(100 * moved / at[metric], 0.2)) if after else (None, None)
            )
            for region in ("frame", "unknown"):
                figures.append(StepFigure(metric, region, 32, interval(at[metric], 5.0), *change, change[1]))
        moved_by = 0.1 if after else None
        more = {"artefact": kind == "runtime", "after": after, "figures": tuple(figures), "moved": moved_by}
        steps.append(Step(name=name, kind=kind, chain=chain, **more))
    gone = {"artefact": True, "after": "w8a8", "kind": "runtime", "missing": "no NVIDIA GPU here"}
    steps.append(Step(name="tensorrt int8", chain="static_w8c_a8", **gone))
    images = {"name": "hold-out", "count": 32, "faces": 32, "clips": 0, "frames": 0, "truth": True, "sha256": "00"}
    return Waterfall(tuple(steps), ("mad", "grad"), images)


def bench() -> BenchReport:
    rows = []
    for where, factor in (("1 thread", 1.0), ("2 threads", 0.6)):
        for name, median in (("tflite fp32", 9.0), ("tflite int8", 4.1), ("onnx fp32", 8.0), ("onnx int8", 8.4)):
            m = median * factor
            rows.append(
                Row(name, "LiteRT", HERE, where, 425552, 200, m, m * 1.1, m * 1.6, m * 0.97, m * 1.04, m * 0.9, m,
                    0.97, True, 3.0, 12_000_000, Bound(m * 0.4, 70_000_000, 9_000_000, 0.4))
            )  # fmt: skip
    plan = ({"name": "stem", "op": "conv", "device": "Neural Engine", "cost": 0.2}, {"name": "up", "op": "resize"})
    mac = {"placement": {"Neural Engine": 1, "CPU": 1}, "operators": plan, "difference": {"max_abs": 0.003}}
    rows.append(Row("coreml fp16", "Core ML", "a Mac", "all units", 818024, 100, 1.1, **mac))
    ratios = (
        Ratio("tflite int8", "tflite fp32", "1 thread", 0.455, 0.44, 0.47, (0.45, 0.46), 40, 40),
        Ratio("onnx int8", "onnx fp32", "1 thread", 1.05, 0.9, 1.2, (1.0, 1.1), 12, 40, "noise drowns it"),
    )
    gates = judge([Gate("tflite int8", "tflite fp32", 0.6)], ratios)
    reasons = {"onnx int8, 1 thread": ("this processor has no dot product of 8-bit integers",)}
    untimed = (Untimed("coreml fp16", "Core ML runs on Apple's systems alone; edgemat mac-script times it"),)
    machine = {"processor": "a CPU", "cores": 2, "dot_products": []}
    settings = {"rounds": 40, "starts": 2}
    return BenchReport(
        tuple(rows), ratios, gates, untimed, (), reasons, None, machine, {}, settings, "edgemat bench out"
    )


def lint() -> LintReport:
    findings = tuple(
        Finding("EM054", "ane-older", "note", f"student-{p}.mlpackage", f"coreml {p}", "up (upsample_bilinear)", "up",
                "native from A14 and M2", "An iPhone 11 takes another route.", "Measure there.", "https://example.org/a")
        for p in ("fp16", "w8", "w8a8")
    )  # fmt: skip
    return LintReport(
        (Linted("student-fp16.mlpackage", "coreml fp16", 8, ("the weights of EM0: no reader",)),), findings
    )


def pictures(size: int = 64, count: int = 3) -> strips.Strips:
    grid = np.linspace(-1, 1, size)
    radius = np.hypot(grid[:, None], grid[None, :])
    truth = np.stack([np.clip((0.5 + 0.1 * i - radius) * 12, 0, 1) for i in range(count)])
    rng = np.random.default_rng(2)
    image = np.stack([np.stack([t * 0.8 + 0.1, t * 0.6 + 0.1, 0.6 - t * 0.2], -1) for t in truth])
    reference = np.clip(truth + rng.normal(0, 0.004, truth.shape), 0, 1)
    int8 = np.clip(
        reference + np.where((reference > 0.1) & (reference < 0.9), rng.normal(0, 0.02, truth.shape), 0), 0, 1
    )
    alphas = {o.name: strips.codes(int8 if "int8" in o.precision else reference) for o in outcomes(False)}
    names = ("occluder: hand, skin: tan", "occluder: none, skin: dark", "occluder: cup, skin: light")[:count]
    doubt = truth * (1 - truth) * 4
    return strips.Strips(
        strips.codes(image), alphas, strips.codes(reference), strips.codes(truth), strips.codes(doubt),
        names + ("more",) * (count - len(names)),
    )  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Page:
    """Return what writes a whole proof, passing or failing, into a folder; words name documents to leave out."""

    def write(*leave_out: str, failing: bool = False, report: ParityReport | None = None) -> Path:
        home = tmp_path / "out"
        place = home / proof.FOLDER
        place.mkdir(parents=True, exist_ok=True)
        found = report or parity(failing)
        documents = {
            proof.PARITY: found.to_json(),
            proof.WATERFALL: waterfall().to_json(),
            proof.BENCH: bench().to_json(),
            proof.LINT: lint().to_json(),
        }
        for name, document in documents.items():
            if name not in leave_out:
                write_json(place / name, document)
        if proof.STRIPS not in leave_out:
            strips.save(pictures(), place / proof.STRIPS)
        results = [
            {"target": o.target, "precision": o.precision, "state": "passed", "sha256": o.sha256, "bytes": 425552,
             "device_bytes": 597456 if o.target == "litert_qualcomm" else 0, "float_bytes": 1579997}
            for o in found.outcomes
        ]  # fmt: skip
        write_json(home / "report.json", {"schema_version": 3, "results": results})
        return home

    return write
