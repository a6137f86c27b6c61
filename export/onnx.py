"""The onnx target: the trunk for ONNX Runtime, in float32, in half precision, or on its integer grid."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgemat.errors import InputError, UnsupportedOpError
from edgemat.export import _graph, _half
from edgemat.export._target import Gate, IntegerGate, Runner, Scales, Target, Trunk

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt
    from onnx import ModelProto, NodeProto
    from onnxruntime import InferenceSession

    from edgemat.export._target import Alphas, Images, Tensors
    from edgemat.inspection import Inspection
    from edgemat.quantize.grid import Codes

PRECISION = "edgemat.precision"
REQUIRED = ("author", "license", "version", "description", "input", "output", PRECISION)
"""Keys of the metadata of every file."""
BYTES = "int8_byte_io"
INTEGER = ("int8", BYTES)
_FLOAT_OPS = ("Add", "Conv", "ConvTranspose", "FusedConv", "Mul", "Sub")


def convert(trunk: Trunk, precision: str, path: Path) -> None:
    """Write the trunk with its metadata.

    Args:
        trunk: With a grid for the precisions in `INTEGER`.
        precision: ``fp32``; ``fp16``; ``int8``: Q/DQ pairs, floats in and out; ``int8_byte_io``: the same without the
            first and the last pair, 8-bit pixels in and 8-bit alpha out.
        path: The goal.

    Raises:
        InputError: A weight is beyond float16, or the grid breaks a rule.
        UnsupportedOpError: An operator does not exist in float16, or cannot be quantized.
    """
    import onnx

    model = onnx.load(trunk.path)
    if precision == "fp16":
        try:
            model = _half.to_half(model)
        except onnx.shape_inference.InferenceError as error:
            raise UnsupportedOpError(f"no float16 for an operator of {trunk.path.name}: {error}") from error
    if precision in INTEGER:
        from edgemat.quantize import qdq

        assert trunk.grid is not None  # the frame has seen to it
        model = qdq.insert(model, trunk.grid, trunk.path.name)
        _hold(model, trunk.grid.kept)
        if precision == BYTES:
            model = qdq.with_byte_ends(model)
    describe(model, trunk, precision)
    path.write_bytes(model.SerializeToString(deterministic=True))


def _hold(model: ModelProto, kept: frozenset[str]) -> None:
    """Put a Clip without bounds before whatever a node that is kept in float reads, in place.

    ONNX Runtime 1.32 fuses what stands between DequantizeLinear and QuantizeLinear, and quantizes a convolution's float
    weights by itself (its WeightBiasQuantization); it does not look past a Clip.
    """
    from onnx import helper

    constants = {tensor.name for tensor in model.graph.initializer}
    nodes = []
    for node in model.graph.node:
        for place, source in enumerate(node.input if node.name in kept else ()):
            if source and source not in constants:
                held = f"{node.name}#held{place}"
                nodes.append(helper.make_node("Clip", [source], [held], held))
                node.input[place] = held
        nodes.append(node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def describe(model: ModelProto, trunk: Trunk, precision: str) -> None:
    """Put into a model's metadata what it is; what it says already of its grid stays."""
    from onnx import helper

    from edgemat import __version__

    info, size = trunk.info, f"{trunk.height}x{trunk.width}"
    kind, ends = ("uint8", "in [0, 255]") if precision == BYTES else ("float32", "in [0, 1]")
    stated = {entry.key: entry.value for entry in model.metadata_props}
    helper.set_model_props(
        model,
        {
            **stated,
            **info.extra,
            "name": info.name,
            "version": info.version,
            "author": info.author,
            "license": info.license,
            "description": info.description,
            "input": f"image: RGB, {kind}, 1x3x{size}, {ends}; normalisation is inside",
            "output": f"alpha: {kind}, 1x1x{size}, {ends}; the largest is skin",
            PRECISION: precision,
        },
    )
    model.doc_string = info.description
    model.graph.name = info.name
    model.producer_name, model.producer_version = "edgemat", __version__


def inspect(path: Path) -> Inspection:
    """Return what a file computes in."""
    from edgemat.export import _onnx_facts

    return _onnx_facts.inspect(path)


def scales(path: Path) -> Scales:
    """Return the scales that an integer file states."""
    from edgemat.export import _onnx_facts

    return _onnx_facts.scales(path)


def check(path: Path) -> tuple[str, ...]:
    """Return what is wrong with a file: interface, opset, types of the weights, metadata."""
    import onnx
    from onnx import TensorProto

    model = _graph.read(path)
    found = []
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        found.append(f"onnx.checker: {error}")
    if _graph.opset_of(model) != _graph.OPSET:
        found.append(f"opset {_graph.opset_of(model)}, expected {_graph.OPSET}")
    props = {entry.key: entry.value for entry in model.metadata_props}
    kind = TensorProto.UINT8 if props.get(PRECISION) == BYTES else TensorProto.FLOAT
    for values, name in ((model.graph.input, "image"), (model.graph.output, "alpha")):
        interface = [(v.name, v.type.tensor_type.elem_type) for v in values]
        if interface != [(name, kind)]:
            wanted = TensorProto.DataType.Name(kind)
            found.append(f"found {interface}, expected one {wanted} tensor named {name}")
    found += [f"metadata: {key} is missing" for key in REQUIRED if not props.get(key)]
    found += _wrong_types(model, props.get(PRECISION, ""))
    return tuple(found)


def _wrong_types(model: ModelProto, precision: str) -> list[str]:
    """Return a line for each weight that is not stored in the file's precision."""
    from onnx import TensorProto

    if precision not in TARGET.gates:
        return [f"metadata: {PRECISION} is {precision!r}, expected one of {', '.join(TARGET.gates)}"]
    if precision in INTEGER:
        return _unfused(model)
    wrong = TensorProto.FLOAT if precision == "fp16" else TensorProto.FLOAT16
    weights = [tensor for tensor in model.graph.initializer if tensor.name.endswith((".weight", ".bias"))]
    return [f"{tensor.name}: not {precision}" for tensor in weights if tensor.data_type == wrong]


def _unfused(model: ModelProto) -> list[str]:
    """Return a line for each operator that ONNX Runtime, having optimised an integer file, still computes in float."""
    import tempfile

    import onnx

    from edgemat.quantize import qdq

    kept = json.loads({e.key: e.value for e in model.metadata_props}.get(qdq.KEPT, "[]"))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "optimised.onnx"
        session(model.SerializeToString(), optimised=path)
        nodes = onnx.load(path).graph.node
    unkept = [
        f"{name}: kept in float, but ONNX Runtime computes it in int8" for name in kept if _is_integer(name, nodes)
    ]
    return unkept + [
        f"{node.name or node.output[0]}: ONNX Runtime computes this {node.op_type} in float, not in int8"
        for node in nodes
        if node.op_type in _FLOAT_OPS and not node.name.startswith(tuple(kept) or ("#",))
    ]


def _is_integer(name: str, nodes: Sequence[NodeProto]) -> bool:
    return any(node.op_type.startswith("QLinear") and node.name.startswith(name) for node in nodes)


def session(model: bytes, threads: int = 1, optimised: Path | None = None) -> InferenceSession:
    """Open a model on ONNX Runtime's CPU provider.

    Args:
        model: The serialised model.
        threads: Threads inside one operator.
        optimised: Where to write the graph that the runtime makes of it, if anywhere.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # a failure is raised; a second copy of it on stderr helps nobody
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if optimised is not None:
        options.optimized_model_filepath = str(optimised)
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


class OnnxRunner(Runner):
    """An ONNX file on ONNX Runtime's CPU provider; half precision is rounded after every operator.

    Integer files run as ONNX Runtime fuses them.

    Args:
        path: A trunk, or what `convert` wrote.
        threads: Threads inside one operator.

    Raises:
        InputError: The file is no whole ONNX model, or ONNX Runtime cannot run it.
    """

    rounding = "onnxruntime"

    def __init__(self, path: Path, threads: int = 1) -> None:
        """Open the file."""
        import onnx

        model = _graph.read(path)
        self._names = [name for node in model.graph.node for name in node.output if name]
        self._threads = threads
        try:
            opened = session(model.SerializeToString(), threads)
            if any(t.data_type == onnx.TensorProto.FLOAT16 for t in model.graph.initializer):
                model = _half.imitate(onnx.shape_inference.infer_shapes(model, strict_mode=True))
                opened = session(model.SerializeToString(), threads)
        except Exception as error:  # ONNX Runtime's own exceptions share no public base
            raise InputError(f"{path}: ONNX Runtime cannot run it: {error}; export it again") from error
        self._model, self._session = model, opened
        self._takes_bytes = opened.get_inputs()[0].type == "tensor(uint8)"

    def run(self, images: Images) -> Alphas:
        """Return alpha, float32, (N, H, W), of RGB images, uint8, (N, H, W, 3)."""
        import numpy as np

        if self._takes_bytes:
            codes = [self._session.run(["alpha"], {"image": self._feed(image)})[0][0] for image in images]
            return np.concatenate(codes).astype(np.float32) / np.float32(255)
        return np.concatenate([self.run_float(image)[None] for image in to_floats(images)])

    def _feed(self, image: Images) -> npt.NDArray[Any]:
        """Return one image, uint8, (H, W, 3), as the file takes it."""
        import numpy as np

        return np.ascontiguousarray(image.transpose(2, 0, 1)[None]) if self._takes_bytes else to_floats(image[None])[0]

    def run_float(self, image: Alphas) -> Alphas:
        """Return alpha, float32, (H, W), of one image as the graph takes it: float32, (1, 3, H, W), not only [0, 1]."""
        import numpy as np

        (alpha,) = self._session.run(["alpha"], {"image": image})
        matte: Alphas = np.asarray(alpha, np.float32)[0, 0]
        return matte

    def trace(self, image: Images) -> Tensors:
        """Return every tensor that the file's nodes make, in order, for one image, uint8, (H, W, 3)."""
        import numpy as np

        return {name: np.asarray(value, np.float32) for name, value in self._outputs(self._names, image).items()}

    def codes(self, image: Images) -> Mapping[str, Codes]:
        """Return what every QuantizeLinear of an integer file makes, for one image, uint8, (H, W, 3)."""
        import numpy as np

        from edgemat.quantize import qdq

        names = [name for name in self._names if name.endswith(qdq.CODES)]
        if not names:
            return {}
        ends = {"image": self._feed(image)} if self._takes_bytes else {}
        found = ends | self._outputs([*names, *(["alpha"] if self._takes_bytes else [])], image)
        return {name.removesuffix(qdq.CODES): np.asarray(value, np.int32) for name, value in found.items()}

    def _outputs(self, names: list[str], image: Images) -> dict[str, Any]:
        """Return inner tensors of one run."""
        import onnx

        model = onnx.ModelProto()
        model.CopyFrom(self._model)
        del model.graph.output[:]
        model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
        values = session(model.SerializeToString(), self._threads).run(None, {"image": self._feed(image)})
        return dict(zip(names, values, strict=True))


def to_floats(images: Images) -> Alphas:
    """Return images, uint8, (N, H, W, 3), as the graph takes them: float32, (N, 1, 3, H, W), in [0, 1]."""
    import numpy as np

    floats = np.ascontiguousarray(images.transpose(0, 3, 1, 2)[:, None], np.float32)
    floats /= np.float32(255)
    return floats


TARGET = Target(
    name="onnx",
    title="ONNX for ONNX Runtime",
    suffix=".onnx",
    gates={
        "fp32": Gate(max_abs=1e-5, mean_abs=1e-6),
        "fp16": Gate(max_abs=1e-2, mean_abs=2e-4),
        "int8": IntegerGate(),
        BYTES: IntegerGate(),
    },
    extra="onnx",
    requires=("onnx", "onnxruntime"),
    proves="The file in ONNX Runtime on the CPU. fp16: each tensor rounded to half, sums in float32; no accelerator.",
    convert=convert,
    load=OnnxRunner,
    check=check,
    inspect=inspect,
    scales=scales,
)
