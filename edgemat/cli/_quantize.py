"""What ``edgemat quantize`` reads and writes: a student's file, or an ONNX file of someone else's."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING

from edgemat import console
from edgemat.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from edgemat.calib_data import CalibrationSet
    from edgemat.export._target import Trunk
    from edgemat.quantize.engines import Quantized
    from edgemat.quantize.extract import Extracted
    from edgemat.quantize.grid import Grid
    from edgemat.quantize.ptq import Outcome, Task


def student(
    weights: Path | None, size: tuple[int, int], path: Path, images: CalibrationSet, task: Task, out: Path | None
) -> tuple[Outcome, Path | None]:
    """Quantize a student and write it with its grid, unless a budget is missed."""
    import numpy as np
    import onnx
    import torch

    from edgemat.export import _trunk
    from edgemat.files import sha256
    from edgemat.model import weights as files
    from edgemat.quantize import checkpoint, ptq

    source = weights or files.shipped()
    if files.file_format(source) == files.QUANTIZED_FORMAT:
        raise InputError(
            f"{source}: is on its integer grid already; quantize the float student that it was made from, "
            "or export this one: edgemat export"
        )
    loaded = files.load(source)
    console.note("trunk: make and check")
    pixels = images.resized(*size)
    trunk = _trunk.from_student(source, *size, path, pixels)
    console.note(f"quantize: {task.engine}, {len(pixels)} images")
    outcome = ptq.run(onnx.load(trunk.path), pixels, mattes(images, *size), task, str(source))
    if not outcome:
        return outcome, None
    net, made = loaded.net.deploy(), outcome.quantized
    changed = {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in made.constants.items()}
    net.load_state_dict({**net.state_dict(), **changed})
    goal = out or Path(f"{source.stem}-{made.grid.scheme.name}.safetensors")
    facts = {"quantized_by": f"{made.engine} {made.method}", "quantized_from_sha256": sha256(source)}
    checkpoint.save(net, made.grid, goal, {**loaded.info, **facts})
    return outcome, goal


def foreign(
    model: Path,
    size: tuple[int, int] | None,
    path: Path,
    images: CalibrationSet,
    task: Task,
    complete: bool,
    out: Path | None,
) -> tuple[Outcome, Path | None]:
    """Quantize an ONNX file, or complete a Q/DQ one, and write it as Q/DQ, unless a budget is missed."""
    import onnx

    from edgemat.export import _trunk
    from edgemat.quantize import ptq

    made: list[Quantized] = []

    def finish(stated: Extracted) -> Grid:
        shape = stated.graph.shapes[stated.graph.inputs[0]]
        pixels = images.resized(shape[2], shape[3])
        made.append(ptq.complete(stated, pixels, task.method or "mse", task.kept, str(model)))
        return made[0].grid

    console.note("trunk: make and check")
    trunk = _trunk.from_onnx(model, path, size, finish if complete else None)
    pixels, truth = images.resized(trunk.height, trunk.width), mattes(images, trunk.height, trunk.width)
    if trunk.grid is not None and not made:
        raise InputError(
            f"{model}: is on a whole integer grid already; export it: edgemat export --model {model} --precision int8"
        )
    if complete and not made:
        raise InputError(f"{model}: holds no Q/DQ pairs to complete; leave --complete out to quantize it")
    console.note(f"quantize: {task.engine}, {len(pixels)} images")
    if made:
        outcome = ptq.measure(onnx.load(trunk.path), made[0], pixels, truth, task.budget, task.ranking)
    else:
        outcome = ptq.run(onnx.load(trunk.path), pixels, truth, task, str(model))
    if not outcome:
        return outcome, None
    goal = out or Path(f"{model.stem}-{outcome.quantized.grid.scheme.name}.onnx")
    _write(outcome.quantized, trunk, goal)
    return outcome, goal


def _write(made: Quantized, trunk: Trunk, goal: Path) -> None:
    """Write a network of someone else's with its Q/DQ pairs and its passport."""
    import onnx

    from edgemat.export import onnx as target
    from edgemat.files import atomic_path
    from edgemat.quantize.extract import PASSPORT

    onnx.save(made.model, trunk.path)
    with atomic_path(goal) as temporary:
        target.convert(dataclasses.replace(trunk, grid=made.grid), "int8", temporary)
        model = onnx.load(temporary)
        entry = model.metadata_props.add()
        entry.key, entry.value = PASSPORT, json.dumps(made.grid.passport, sort_keys=True)
        temporary.write_bytes(model.SerializeToString(deterministic=True))


def mattes(images: CalibrationSet, height: int, width: int) -> npt.NDArray[np.float32] | None:
    """Return the ground truth at a model's size, float32, (N, height, width); None unless every image has one."""
    import numpy as np

    from edgemat.calib_data import resize

    found = [alpha for alpha in images.alphas if alpha is not None]
    if len(found) < len(images):
        return None
    if all(alpha.shape == (height, width) for alpha in found):
        return np.stack(found)
    grey = [np.repeat(np.rint(alpha * 255.0).astype(np.uint8)[..., None], 3, 2) for alpha in found]
    return np.stack([resize(g, height, width)[..., 0] for g in grey]).astype(np.float32) / np.float32(255)
