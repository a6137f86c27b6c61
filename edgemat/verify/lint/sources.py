"""Where the facts of a path come from: which target reads it, which reader, and how a bare file is run."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from edgemat.errors import InputError
from edgemat.verify.lint import measure
from edgemat.verify.lint.facts import NEVER, Facts, Measured, Op

if TYPE_CHECKING:
    from edgemat.calib_data import CalibrationSet
    from edgemat.export._target import Images, Runner

_XML = ".xml"
_IMAGES = 6
"""Images on which a bare integer file is run: some runtimes take seconds for one."""
_COMPILED = ("ethos_u", "litert_qualcomm", "qnn")
"""Targets whose artefacts are folders with one file a chip and the source of all."""
_FORMS = {"onnx": "onnx", "tensorrt": "onnx", "tflite": "tflite", "coreml": "coreml", "openvino": "openvino"}
"""Target to the reader of its artefacts; what is compiled for NPUs is read by its source."""


def endings() -> tuple[str, ...]:
    """Return the endings of what can be linted.

    Example:
        >>> ".tflite" in endings()
        True
    """
    from edgemat import export

    return (*(target.suffix for target in export.targets()), _XML)


def target_of(path: Path) -> str | None:
    """Return the name of the target whose artefacts end as a path does, the longest ending first; None for others.

    Example:
        >>> target_of(Path("student-int8.tensorrt.onnx"))
        'tensorrt'
    """
    from edgemat import export

    if path.suffix == _XML:
        return "openvino"
    fitting = [target for target in export.targets() if path.name.endswith(target.suffix)]
    return max(fitting, key=lambda target: len(target.suffix)).name if fitting else None


def read(path: Path, target: str) -> Facts:
    """Return what an artefact holds.

    What no reader knows is read through its target's inspection: kinds of operators, no tensors.

    Raises:
        InputError: It is not whole.
    """
    from edgemat.verify.lint.readers import coreml, onnx, openvino, tflite

    readers = {"onnx": onnx.read, "tflite": tflite.read, "coreml": coreml.read, "openvino": openvino.read}
    if target in _FORMS:
        return dataclasses.replace(readers[_FORMS[target]](path), file=path.name)
    source = _source(path)
    if source is None:
        return _inspected(path, target)
    form = "tflite" if source.suffix == ".tflite" else "onnx"
    facts = readers[form](source)
    return dataclasses.replace(facts, file=path.name, half=NEVER)  # compiled for integers alone


def knows(target: str) -> bool:
    """Return whether a reader knows all that a target's artefacts hold."""
    return target in _FORMS or target in _COMPILED


def _source(path: Path) -> Path | None:
    """Return the int8 source of a folder that holds compiled files; None for any other artefact.

    Raises:
        InputError: Its report is not whole.
    """
    import json

    from edgemat.export import _npu

    if not (path / _npu.REPORT).is_file():
        return None
    try:
        name = json.loads((path / _npu.REPORT).read_text(encoding="utf-8"))["source"]["file"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path / _npu.REPORT}: not a whole report ({error!r}); export the model again") from error
    return path / Path(str(name)).name


def _inspected(path: Path, target: str) -> Facts:
    from edgemat import export

    found = export.get(target).inspect(path)
    ops = tuple(Op(op.name, op.kind, (), (op.name,)) for op in found.ops)
    return Facts(file=path.name, artefact=found.form, form=found.form, ops=ops)


def measured(facts: Facts, path: Path, target: str, images: CalibrationSet) -> Measured:
    """Return ranges of a bare file, run on images by its own runtime.

    Raises:
        InputError: Its input is no image of a fixed size, it computes on codes, or its runner cannot run or trace it.
    """
    import numpy as np

    name = facts.inputs[0] if len(facts.inputs) == 1 else ""
    shape = facts.values[name].shape if name in facts.values else None
    if shape is None or len(shape) != 4 or not all(isinstance(size, int) for size in shape[1:]):
        raise InputError(
            f"{path}: ranges not measured: its input {name} is {shape}, expected one image of a fixed size"
        )
    rows, columns = (shape[1], shape[2]) if facts.form == "TFLite" else (shape[2], shape[3])
    pixels = images.resized(int(rows), int(columns))
    with _opened(facts, path, target) as runner:
        if on_codes(facts):
            return _codes(path, target, runner, pixels[measure.pick(len(pixels), _IMAGES)])
        shown = dict(runner.trace(np.asarray(pixels[0])))
        if not shown:
            raise InputError(f"{path}: ranges not measured: its runtime shows no inner tensors; give the export folder")
        return measure.measure(facts, runner.trace, pixels)[""]


def on_codes(facts: Facts) -> bool:
    """Return whether an artefact's activations are codes."""
    return any(value.quantization is not None and value.constant is None for value in facts.values.values())


def _codes(path: Path, target: str, runner: Runner, pixels: Images) -> Measured:
    """Return which codes a bare integer file itself makes; what they cut cannot be seen there."""
    from edgemat import export

    scales = export.get(target).scales
    stated = {} if scales is None else scales(path).activations
    found = measure.occurring([runner.codes(image) for image in pixels], stated)
    if not found:
        raise InputError(f"{path}: ranges not measured: its runtime shows no codes; give the export folder")
    return Measured(len(pixels), uses=found)


@contextmanager
def _opened(facts: Facts, path: Path, target: str) -> Iterator[Runner]:
    """Open a bare file; another team's ONNX is first given the names that the runner knows."""
    from edgemat import export

    if path.suffix == _XML:
        with tempfile.TemporaryDirectory() as folder:
            for source, name in ((path, "model.xml"), (path.with_suffix(".bin"), "model.bin")):
                (Path(folder) / name).write_bytes(source.read_bytes())
            with export.get(target).load(Path(folder)) as runner:
                yield runner
        return
    if target != "onnx" and not (target == "tensorrt" and not on_codes(facts)):
        with export.get(target).load(path) as runner:
            yield runner
        return
    from edgemat.export import _foreign
    from edgemat.export.onnx import OnnxRunner

    if facts.inputs == ("image",) and facts.outputs == ("alpha",):
        with OnnxRunner(path) as runner:
            yield runner
        return
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / path.name
        copy.write_bytes(_foreign.read(path, None).model.SerializeToString())
        with OnnxRunner(copy) as runner:
            yield runner
