"""What the tests of the NPUs' targets share: students to compile, and faults in what was compiled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx

from edgemat.export import _compare
from edgemat.export._target import Runner, Scales, Target, Trunk
from edgemat.quantize import graph
from edgemat.quantize.calibrate import calibrate
from edgemat.quantize.grid import Grid, QParams
from edgemat.quantize.reference import Reference
from edgemat.quantize.scheme import Scheme
from edgemat.verify import layers

Images = npt.NDArray[np.uint8]


def on_grid(trunk: Trunk, images: Images) -> Trunk:
    """Return a trunk with a grid calibrated on images."""
    return replace(trunk, grid=calibrate(onnx.load(trunk.path), images, Scheme(), "minmax"))


def student(arch: str, folder: Path, images: Images) -> Trunk:
    """Return the trunk of a small student of an architecture, with a grid."""
    import torch

    from edgemat.export import _trunk
    from edgemat.model import weights
    from edgemat.model.student import Student, StudentConfig

    torch.manual_seed(2)
    net = Student(StudentConfig(widths=(8, 8, 16), depths=(1, 1, 1), arch=arch)).eval()
    card = {"version": "0.0", "license": "Apache-2.0", "author": "the tests", "description": "A small student."}
    weights.save(net, folder / f"{arch}.safetensors", card)
    size = images.shape[1:3]
    return on_grid(_trunk.from_student(folder / f"{arch}.safetensors", *size, folder / f"{arch}.onnx", images), images)


def shipped(folder: Path) -> tuple[Trunk, Images]:
    """Return the trunk of the student that the package ships, with a grid, and images, at 256x256."""
    import edgemat.model
    from edgemat import calib_data
    from edgemat.export import _trunk

    images = calib_data.load().resized(256, 256)[:8]
    weights = Path(edgemat.model.__file__).parent / "weights" / "student.safetensors"
    return on_grid(_trunk.from_student(weights, 256, 256, folder / "trunk.onnx", images), images), images


def checked(trunk: Trunk, runner: Runner, image: Images) -> layers.LayerCheck:
    """Compare every tensor of a run with what the reference makes of the same inputs."""
    assert trunk.grid is not None
    reference = Reference(graph.of(onnx.load(trunk.path)), trunk.grid, runner.rounding)
    return layers.check(reference, runner.codes(image), image)


def agreement(trunk: Trunk, runner: Runner, images: Images) -> layers.Agreement:
    """Compare alpha end to end with the reference's."""
    assert trunk.grid is not None
    reference = Reference(graph.of(onnx.load(trunk.path)), trunk.grid, runner.rounding)
    end = trunk.grid.activations["alpha"]
    return layers.end_to_end(end.codes(runner.run(images)), end.codes(reference.run(images)))


def faulty(trunk: Trunk, fault: str) -> tuple[Trunk, str]:
    """Return a trunk with a fault in its grid, as a wrong converter would carry it, and the tensor that is wrong."""
    assert trunk.grid is not None
    grid = trunk.grid
    inner = next(n for n, p in grid.activations.items() if n.endswith(".second") and 0 < p.zero_point < 255)
    weight = list(grid.weights)[1]
    known: QParams = grid.activations[inner]
    changed: Mapping[str, tuple[Grid, str]] = {
        "scale": (
            replace(grid, activations={**grid.activations, inner: replace(known, scale=known.scale * 1.01)}), inner
        ),
        "zero point": (
            replace(grid, activations={**grid.activations, inner: replace(known, zero_point=known.zero_point + 1)}),
            inner,
        ),
        "weights": (replace(grid, weights={**grid.weights, weight: np.roll(grid.weights[weight], 1)}), weight),
    }  # fmt: skip
    wrong, tensor = changed[fault]
    return replace(trunk, grid=wrong), tensor


def without_bias(trunk: Trunk, path: Path) -> tuple[Trunk, str]:
    """Return a trunk whose second convolution has forgotten its bias, and the tensor that it makes."""
    model = onnx.load(trunk.path)
    conv = [node for node in model.graph.node if node.op_type == "Conv"][1]
    tensor = next(t for t in model.graph.initializer if t.name == conv.input[2])
    tensor.CopyFrom(onnx.numpy_helper.from_array(np.zeros_like(onnx.numpy_helper.to_array(tensor)), tensor.name))
    onnx.save(model, path)
    follower = next((n for n in model.graph.node if conv.output[0] in n.input and n.op_type == "Relu"), conv)
    return replace(trunk, path=path), str(follower.output[0])


def differences(target: Target, scales: Scales, grid: Grid) -> list[str]:
    """Return how scales that were read differ from a grid."""
    return _compare.scale_differences(replace(target, scales=lambda path: scales), grid, Path("file"), 0.0)[0]
