"""What runs beside QNN, in a process of its own: compile contexts, read assignments, run; see `export._isolated`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnxruntime
import onnxruntime_qnn

from edgemat.errors import BackendMissingError, InputError, UnsupportedOpError
from edgemat.export import _graph
from edgemat.export.qnn import _context
from edgemat.quantize import qdq

if TYPE_CHECKING:
    from edgemat.export._isolated_child import Answer, Arrays
    from edgemat.export._target import Alphas, Images
    from edgemat.quantize.grid import Codes

QNN = "QNNExecutionProvider"
_STRICT = {"session.disable_cpu_ep_fallback": "1"}


def compile_contexts(arguments: Mapping[str, Any], arrays: Arrays) -> Answer:
    """Compile a source for chips.

    Args:
        arguments: ``source``; ``folder``, where ``CHIP.onnx`` is written for each of ``chips``, name to number.
        arrays: None.

    Returns:
        ``nodes``: the number of the source's nodes on the accelerator.

    Raises:
        UnsupportedOpError: Nodes that it does not take, all of them.
    """
    model = Path(arguments["source"]).read_bytes()
    taken = assigned(model, next(iter(arguments["chips"].values())), arguments["source"])
    for chip, number in arguments["chips"].items():
        goal = Path(arguments["folder"]) / f"{chip}.onnx"
        entries = {"ep.context_enable": "1", "ep.context_embed_mode": "1", "ep.context_file_path": str(goal)}
        _session(model, number, {**_STRICT, **entries})
    return {"nodes": taken}, {}


def execute(arguments: Mapping[str, Any], arrays: Arrays) -> Answer:
    """Run a source, compiled afresh, and the contexts that were compiled from it.

    Args:
        arguments: ``source``; ``sources``, numbers of chips for which it is run; ``contexts``, each path to its chip's
            number.
        arrays: ``image``, uint8, (H, W, 3).

    Returns:
        ``nodes``, of the source on the accelerator; alpha's codes by number and by path.

    Raises:
        UnsupportedOpError: The accelerator does not take all nodes; the others are named.
    """
    source, image, found = Path(arguments["source"]), _fed(arrays["image"]), {}
    model = source.read_bytes()
    for number in arguments["sources"]:
        taken = assigned(model, number, source.name)
        found[str(number)] = _session(model, number, _STRICT).run(["alpha"], {"image": image})[0]
    for path, number in arguments["contexts"].items():
        found[path] = opened(Path(path), number).run(["alpha"], {"image": image})[0]
    return {"nodes": taken}, found


def opened(path: Path, soc: int) -> Any:
    """Open a context.

    Raises:
        InputError: It is not whole, or the library refuses it.
    """
    model = _context.read(path).SerializeToString()
    try:
        return _session(model, soc, _STRICT)
    except Exception as error:  # see `assigned`
        raise InputError(f"{path}: the HTP library cannot load it: {error}; export it again") from error


def assigned(model: bytes, soc: int, origin: str) -> int:
    """Return how many nodes the accelerator takes: all.

    Raises:
        UnsupportedOpError: It does not take all; the others are named.
    """
    try:
        session = _session(model, soc, {**_STRICT, "session.record_ep_graph_assignment_info": "1"})
    except Exception as error:  # ONNX Runtime's own exceptions share no public base
        left = _left(model, soc)
        if not left:
            raise
        lines = [f"{origin}: {len(left)} nodes are not for Qualcomm's HTP", *left]
        raise UnsupportedOpError("\n  ".join(lines)) from error
    nodes = [(part.ep_name, node) for part in session.get_provider_graph_assignment_info() for node in part.get_nodes()]
    others = Counter(provider for provider, _ in nodes if provider != QNN)
    if others or not nodes:
        raise UnsupportedOpError(f"{origin}: assigned to {dict(others)}, expected every node on {QNN}")
    return len(nodes)


def _left(model: bytes, soc: int) -> list[str]:
    """Return the nodes that stay on the CPU where that is allowed."""
    try:
        session = _session(model, soc, {"session.record_ep_graph_assignment_info": "1"})
    except Exception:  # then it is no matter of a node
        return []
    parts = [part for part in session.get_provider_graph_assignment_info() if part.ep_name != QNN]
    return [f"{node.name} ({node.op_type})" for part in parts for node in part.get_nodes()]


def _session(model: bytes, soc: int, entries: Mapping[str, str]) -> Any:
    """Open a model on QNN's HTP back end."""
    options = onnxruntime.SessionOptions()
    if not hasattr(options, "add_provider_for_devices"):
        raise BackendMissingError(
            f"onnxruntime {onnxruntime.__version__} has no plugin providers; pip install -U 'edgemat[qnn]'"
        )
    options.log_severity_level = 4  # a failure is raised; a second copy of it on stderr helps nobody
    for key, value in entries.items():
        options.add_session_config_entry(key, value)
    options.add_provider_for_devices(_devices(), {"backend_type": "htp", "soc_model": str(soc)})
    return onnxruntime.InferenceSession(model, options)


def _devices() -> list[Any]:
    """Return what stands for QNN's device, its provider registered on first use."""
    found = [device for device in onnxruntime.get_ep_devices() if device.ep_name == QNN]
    if not found:
        onnxruntime.set_default_logger_severity(4)
        onnxruntime.register_execution_provider_library(QNN, onnxruntime_qnn.get_library_path())
        found = [device for device in onnxruntime.get_ep_devices() if device.ep_name == QNN]
    if not found:
        raise BackendMissingError(
            "onnxruntime-qnn offers no device here; it needs x86-64 Linux: pip install 'edgemat[qnn]'"
        )
    return found[:1]


class HtpRunner:
    """A compiled context in the HTP library; the source in it too, to show every tensor's codes.

    Args:
        path: The context.
        source: The Q/DQ file that it was compiled from.
        soc: Number of its chip.

    Raises:
        InputError: A file is not whole, or the library refuses it.
    """

    def __init__(self, path: Path, source: str, soc: int) -> None:
        """Open the context."""
        self._source, self._soc = _graph.read(Path(source)), soc
        self._shown: Any = None
        self._session = opened(path, soc)

    def run(self, images: Images) -> Alphas:
        """Return alpha, float32, (N, H, W), of RGB images, uint8, (N, H, W, 3)."""
        found = [self._session.run(["alpha"], {"image": _fed(image)})[0][0, 0] for image in images]
        return np.stack(found).astype(np.float32) / np.float32(255)

    def codes(self, image: Images) -> dict[str, Codes]:
        """Return every tensor's codes of one image, uint8, (H, W, 3): the source's, each an output of its graph."""
        if self._shown is None:
            model = onnx.ModelProto()
            model.CopyFrom(self._source)
            values = onnx.shape_inference.infer_shapes(model, data_prop=True).graph.value_info
            wanted = {n.output[0] for n in model.graph.node if n.op_type == "QuantizeLinear"} - {"alpha"}
            model.graph.output.extend(value for value in values if value.name in wanted)
            content = model.SerializeToString()
            assigned(content, self._soc, "the source with every tensor an output")
            self._shown = _session(content, self._soc, _STRICT)
        names = [value.name for value in self._shown.get_outputs()]
        values = dict(zip(names, self._shown.run(names, {"image": _fed(image)}), strict=True))
        codes = {"image": _fed(image), **values}
        return {name.removesuffix(qdq.CODES): np.asarray(value, np.int32) for name, value in codes.items()}


def _fed(image: Images) -> Any:
    """Return an image as the graph takes it: uint8, (1, 3, H, W)."""
    return np.ascontiguousarray(image.transpose(2, 0, 1)[None])
