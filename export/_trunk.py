"""Make the trunk, the one float ONNX graph that every target starts from, and prove it before anyone uses it."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from edgemat.errors import InputError
from edgemat.export import _foreign, _graph
from edgemat.export._target import ModelInfo, Trunk
from edgemat.files import atomic_path, sha256
from edgemat.quantize import extract, qdq, settle

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import torch
    from onnx import ModelProto

    from edgemat.export._foreign import Foreign
    from edgemat.export._target import Images
    from edgemat.quantize.extract import Extracted
    from edgemat.quantize.grid import Grid

    Floats = npt.NDArray[np.float32]
    Source = Callable[[Floats], Floats]
    """The network as it was before: image float32 (1, 3, H, W) to alpha float32 (1, 1, H, W)."""

PARITY = 1e-5
"""Largest admissible difference of alpha between the trunk and what it was made from."""
CODE = 1.0 / 255.0
"""Largest admissible mean difference of alpha between a Q/DQ file and the grid that was read from it."""


def from_student(weights: Path | None, height: int, width: int, out: Path, images: Images | None = None) -> Trunk:
    """Write the trunk of a student; of a quantized one, with its grid.

    Args:
        weights: A file of `edgemat.model.weights.save` or `edgemat.quantize.checkpoint.save`; None takes the weights
            that come with the package.
        height: Rows, divisible by 16.
        width: Columns, divisible by 16.
        out: The ONNX file to write.
        images: RGB, uint8, (N, height, width, 3), on which the trunk is compared with torch, beside random pixels.

    Raises:
        InputError: The weights, the grid or the size cannot be used.
        TrunkError: The graph is not as every target expects it, a defect of edgemat or of its exporter.
    """
    import torch

    from edgemat.model import weights as files
    from edgemat.model.student import STRIDE
    from edgemat.quantize import checkpoint

    if min(height, width) < STRIDE or height % STRIDE or width % STRIDE:
        near = "x".join(str(max(STRIDE, round(n / STRIDE) * STRIDE)) for n in (height, width))
        raise InputError(f"--size {height}x{width}: both must be multiples of {STRIDE}; try --size {near}")
    path = weights or files.shipped()
    loaded: files.LoadedStudent | checkpoint.QuantizedStudent
    if files.file_format(path) == files.QUANTIZED_FORMAT:
        loaded = checkpoint.load(path)
        net, grid = loaded.net, loaded.grid
    else:
        loaded = files.load(path)
        net, grid = loaded.net.deploy(), None
    model = _torch_to_onnx(net, height, width)
    model = _simplified(model)
    _graph.strip(model)
    _graph.name_by_module(model)

    def source(image: Floats) -> Floats:
        with torch.inference_mode():
            result: Floats = loaded.net(torch.from_numpy(image)).numpy()
        return result

    extra = dict(loaded.info)
    info = ModelInfo(
        name="student",
        version=extra.pop("version"),
        author=extra.pop("author"),
        license=extra.pop("license"),
        description=extra.pop("description"),
        extra=extra | {"weights_sha256": sha256(path)},
    )
    return _finish(path, model, source, Trunk(out, height, width, info, grid), images)


def from_onnx(
    path: Path, out: Path, size: tuple[int, int] | None = None, complete: Callable[[Extracted], Grid] | None = None
) -> Trunk:
    """Write the trunk of another team's network, without judging its operators: each target does.

    Of a Q/DQ file the trunk is the float network behind it, and its grid is what the file states.

    Args:
        path: An ONNX file: one RGB image, float32, (1, 3, H, W), in [0, 1], to one matte, float32, (1, 1, H, W), in
            [0, 1]. Input and output may have any name; they become ``image`` and ``alpha``.
        out: The ONNX file to write.
        size: Height and width for a file that leaves them open.
        complete: Gives the grid of a Q/DQ file whose placement is incomplete; such a file is refused where None.

    Raises:
        InputError: The file is broken, or is not such a network, or states no whole grid; the message says how.
        UnsupportedOpError: Operators outside the ONNX standard, or control flow.
    """
    import numpy as np

    from edgemat.export.onnx import session

    foreign = _foreign.read(path, size)
    try:
        run = session(foreign.original.SerializeToString())
        blank = np.zeros((1, 3, foreign.height, foreign.width), np.float32)
        found, expected = run.run(None, {foreign.input: blank})[0].shape, (1, 1, foreign.height, foreign.width)
    except Exception as error:  # ONNX Runtime's own exceptions share no public base
        raise InputError(f"{path}: ONNX Runtime cannot run it: {error}") from error
    if found != expected:
        raise InputError(f"{path}: the output has shape {found}, expected a matte as large as the image, {expected}")
    if extract.is_quantized(foreign.model):
        return _from_qdq(path, out, foreign, complete)
    model = _simplified(foreign.model)
    _graph.strip(model)

    def source(image: Floats) -> Floats:
        return np.asarray(run.run(None, {foreign.input: image})[0], np.float32)

    return _finish(path, model, source, Trunk(out, foreign.height, foreign.width, foreign.info), None)


def _from_qdq(path: Path, out: Path, foreign: Foreign, complete: Callable[[Extracted], Grid] | None) -> Trunk:
    """Write the trunk of a Q/DQ file: the float network, and the grid that the file states or ``complete`` gives."""
    import dataclasses

    import numpy as np

    from edgemat.export.onnx import session
    from edgemat.quantize import graph as graphs

    stated = extract.extract(foreign.model, str(path))
    before = session(stated.model.SerializeToString())
    model = _simplified(stated.model)
    _graph.strip(model)
    stated = dataclasses.replace(stated, model=model, graph=graphs.of(model, str(path)))
    grid = settle.grid_of(stated, str(path)) if complete is None else complete(stated)

    def source(image: Floats) -> Floats:
        return np.asarray(before.run(None, {"image": image})[0], np.float32)

    trunk = _finish(path, model, source, Trunk(out, foreign.height, foreign.width, foreign.info, grid), None)
    if complete is None:
        _integer_parity(path, foreign.model, qdq.insert(model, grid, str(path)), trunk)
    return trunk


def _integer_parity(origin: Path, file: ModelProto, made: ModelProto, trunk: Trunk) -> None:
    """Raise unless a Q/DQ file and what was read from it give the same alpha, up to a code here and there."""
    import numpy as np

    from edgemat.export.onnx import session

    image = np.random.default_rng(0).random((1, 3, trunk.height, trunk.width), np.float32)
    one, other = (session(m.SerializeToString()).run(None, {"image": image})[0] for m in (file, made))
    difference = float(np.abs(np.asarray(one) - np.asarray(other)).mean())
    if not difference <= CODE:
        raise TrunkError(
            f"{origin}: read back from its Q/DQ pairs, its alpha differs by {difference:.3g} in the mean on random "
            f"pixels, expected at most {CODE:.3g}"
        )


def _torch_to_onnx(net: torch.nn.Module, height: int, width: int) -> ModelProto:
    """Export through torch.export, in silence."""
    import torch

    example = (torch.zeros(1, 3, height, width),)
    with _quiet():
        program = torch.onnx.export(
            torch.export.export(net, example),
            example,
            dynamo=True,
            external_data=False,
            opset_version=_graph.OPSET,
            input_names=["image"],
            output_names=["alpha"],
            verbose=False,
        )
    if program is None:
        raise TrunkError("torch.onnx.export returned nothing")
    model: ModelProto = program.model_proto
    return model


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporter: it warns of packages that the network does not use."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _simplified(model: ModelProto) -> ModelProto:
    """Fold constants; equal weights stay apart, so that each keeps its own name."""
    import onnxsim

    try:
        simple: ModelProto = onnxsim.simplify(model, skipped_optimizers=["eliminate_duplicate_initializer"])[0]
    except Exception as error:  # onnxsim raises bare RuntimeErrors of its C++ part
        raise TrunkError(f"onnxsim cannot simplify the graph: {str(error).splitlines()[0]}") from error
    _graph.lift_constants(simple)
    return simple


def _finish(origin: Path, model: ModelProto, source: Source, trunk: Trunk, images: Images | None) -> Trunk:
    """Infer shapes, check every postcondition, compare with the source, write the file."""
    import onnx

    from edgemat import __version__

    model.producer_name, model.producer_version = "edgemat", __version__
    try:
        model = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
        onnx.checker.check_model(model, full_check=True)
    except (onnx.shape_inference.InferenceError, onnx.checker.ValidationError) as error:
        raise TrunkError(f"{origin}: the shapes inside do not fit together: {error}") from error
    wrong = _complaints(model, trunk.height, trunk.width)
    if wrong:
        raise TrunkError("\n  ".join([f"{origin}: its ONNX graph is not as every target needs it:", *wrong[:10]]))
    serialised = model.SerializeToString(deterministic=True)
    _parity(origin, serialised, source, trunk, images)
    if trunk.grid is not None:
        qdq.insert(model, trunk.grid, str(origin))  # every rule of the grid is a postcondition
    with atomic_path(trunk.path) as temporary:
        temporary.write_bytes(serialised)
    return trunk


def _complaints(model: ModelProto, height: int, width: int) -> list[str]:
    """Return in which ways the graph is not what `Trunk` promises."""
    import onnx

    wrong = []
    if _graph.opset_of(model) != _graph.OPSET:
        wrong.append(f"opset {_graph.opset_of(model)}, expected {_graph.OPSET}")
    for values, name, shape in (
        (model.graph.input, "image", (1, 3, height, width)),
        (model.graph.output, "alpha", (1, 1, height, width)),
    ):
        found = [(v.name, v.type.tensor_type.elem_type, _graph.shape(v)) for v in values]
        if found != [(name, onnx.TensorProto.FLOAT, shape)]:
            wrong.append(f"found {found}, expected one float32 {name} {shape}")
    known = {v.name: _graph.shape(v) for v in (*model.graph.value_info, *model.graph.output)}
    for node in model.graph.node:
        for name in filter(None, node.output):
            if name not in known or not all(isinstance(n, int) for n in known[name]):
                wrong.append(f"{name} ({node.op_type}): shape {known.get(name, 'unknown')}, expected a fixed one")
    return wrong + _graph.not_finite(model)


def _parity(origin: Path, serialised: bytes, source: Source, trunk: Trunk, images: Images | None) -> None:
    """Raise unless the graph gives alpha in [0, 1] and the same as its source."""
    import numpy as np

    from edgemat.export.onnx import session, to_floats

    noise = np.random.default_rng(0).random((1, 3, trunk.height, trunk.width), np.float32)
    inputs = [noise] if images is None else [noise, *to_floats(images)]
    run = session(serialised)
    for i, image in enumerate(inputs):
        what = "random pixels" if i == 0 else f"calibration image {i - 1}"
        alpha = np.asarray(run.run(None, {"image": image})[0])
        low, high = float(alpha.min()), float(alpha.max())
        if not (low >= 0.0 and high <= 1.0):
            raise InputError(
                f"{origin}: alpha is in [{low:.4g}, {high:.4g}] on {what}, expected [0, 1]; "
                "end the network in a clamp or sigmoid"
            )
        difference = float(np.abs(alpha - source(image)).max())
        if not difference <= PARITY:
            raise TrunkError(
                f"{origin}: on {what} the trunk's alpha differs by {difference:.3g}, expected at most {PARITY}"
            )


class TrunkError(InputError):
    """The ONNX graph that came out is not what every target starts from."""
