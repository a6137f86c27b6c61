"""What imports OpenVINO, and so runs in a process of its own (`edgemat.export._isolated`); importing this does not."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgemat.errors import InputError, UnsupportedOpError

Arrays = dict[str, npt.NDArray[Any]]

CONFIG = {
    "INFERENCE_PRECISION_HINT": "f32",  # where it can, a CPU would compute the float parts in bfloat16
    "EXECUTION_MODE_HINT": "ACCURACY",
}
_CODES, _QUANTIZE, _DEQUANTIZE = "#codes", "#quantize", "#dequantize"


def to_ir(arguments: dict[str, Any], arrays: Arrays) -> tuple[dict[str, Any], Arrays]:
    """Write an ONNX graph (``model``, bytes) as IR to ``path``, with ``facts`` in its ``rt_info``.

    Raises:
        UnsupportedOpError: OpenVINO cannot read the graph.
    """
    import openvino

    try:
        model = openvino.Core().read_model(arrays["model"].tobytes())
    except RuntimeError as error:
        raise UnsupportedOpError(f"{arguments['origin']}: OpenVINO cannot read its graph: {_reason(error)}") from error
    if '"scales"' in arguments["facts"]:
        _forget_names(model)
    model.set_rt_info(arguments["facts"], ["edgemat", "facts"])
    openvino.save_model(model, arguments["path"], compress_to_fp16=False)
    return {}, {}


def _forget_names(model: Any) -> None:
    """Keep the names that somebody looks for: of operators, codes and ends; the others are a tenth of the text."""
    for number, node in enumerate(model.get_ordered_ops()):
        kind = node.get_type_name()
        if kind == "Result":  # what makes an output was renamed after it
            source = node.input_value(0).get_node()
            ending = {"FakeQuantize": _QUANTIZE, "Multiply": _DEQUANTIZE}.get(source.get_type_name(), "")
            source.set_friendly_name(source.get_friendly_name().removesuffix(ending) + ending)
        if kind in ("Constant", "Convert"):
            node.set_friendly_name(f"n{number}")
        for port in node.outputs():
            kept = {name for name in port.get_names() if name.endswith(_CODES) and kind != "Constant"}
            if kind not in ("Parameter", "Result") and not any(
                t.get_node().get_type_name() == "Result" for t in port.get_target_inputs()
            ):
                port.get_tensor().set_names(kept)


def execution(arguments: dict[str, Any], arrays: Arrays) -> tuple[dict[str, Any], Arrays]:
    """Return what the CPU executes for the IR at ``path``: a list of operators with their precisions."""
    import openvino

    del arrays
    compiled = _compile(_read(arguments["path"]), arguments["path"])
    found = []
    for node in compiled.get_runtime_model().get_ordered_ops():
        facts = node.get_rt_info()

        def fact(key: str, facts: Any = facts) -> str:
            return str(facts[key].astype(str)) if key in facts else ""

        found.append(
            {
                "kind": fact("layerType"),
                "precision": fact("runtimePrecision"),
                "outputs": fact("outputPrecisions").split(","),
                "implementation": fact("primitiveType"),
                "layers": [name for name in fact("originalLayersNames").split(",") if name],
                "reads": [str(port.get_element_type().get_type_name()) for port in node.inputs()],
            }
        )
    return {"operators": found, "version": openvino.get_version()}, {}


def _read(path: str) -> Any:
    import openvino

    try:
        return openvino.Core().read_model(path)
    except RuntimeError as error:
        raise InputError(f"{path}: OpenVINO cannot read it: {_reason(error)}; export it again") from error


def _compile(model: Any, path: str, threads: int = 1) -> Any:
    import openvino

    try:
        return openvino.Core().compile_model(model, "CPU", {**CONFIG, "INFERENCE_NUM_THREADS": threads})
    except RuntimeError as error:
        raise InputError(f"{path}: OpenVINO's CPU cannot compile it: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    """Return the last line of OpenVINO's message: those before tell where in its source it was raised."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


class Model:
    """An IR, compiled for the CPU.

    Args:
        path: Of the graph.
        scales: Tensor name to scale and zero point; empty for a float file.
        threads: Of the inference.
    """

    def __init__(self, path: Path, scales: Mapping[str, tuple[float, int]], threads: int = 1) -> None:
        """Read and compile."""
        self._path, self._scales = str(path), scales
        self._compiled = _compile(_read(self._path), self._path, threads)
        self._showing: Any = None

    def run(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Return alpha, float32, (N, H, W), of RGB images, uint8, (N, H, W, 3)."""
        alphas = [self._compiled([_floats(image)])["alpha"][0, 0].copy() for image in images]
        return np.stack(alphas).astype(np.float32)

    def codes(self, image: npt.NDArray[np.uint8]) -> Arrays:
        """Return the codes of every tensor, int32, of one image, uint8, (H, W, 3)."""
        if self._showing is None:
            self._showing = _compile(_with_codes(_read(self._path), self._scales), self._path)
        return {
            k.removesuffix(_CODES): v.astype(np.int32) for k, v in self._named(self._showing, image, _CODES).items()
        }

    def trace(self, image: npt.NDArray[np.uint8]) -> Arrays:
        """Return every named tensor, float32, of one image, uint8, (H, W, 3)."""
        if self._scales:
            found = self.codes(image)
            return {
                name: ((codes - self._scales[name][1]) * np.float64(self._scales[name][0])).astype(np.float32)
                for name, codes in found.items()
                if name in self._scales and name != "image"
            }
        model = _read(self._path)
        ports = [
            port for node in model.get_ordered_ops() if node.get_type_name() not in _ENDS for port in node.outputs()
        ]
        model.add_outputs([port for port in ports if port.get_names() and "alpha" not in port.get_names()])
        return self._named(_compile(model, self._path), image, "")

    def _named(self, compiled: Any, image: npt.NDArray[np.uint8], ending: str) -> Arrays:
        """Run, and return the outputs under their names that end so."""
        results, found = compiled([_floats(image)]), {}
        for port in compiled.outputs:
            for name in sorted(port.get_names()):
                if name.endswith(ending):
                    found[name] = np.asarray(results[port]).copy()
        return found


_ENDS = ("Constant", "Parameter", "Result")


def open_model(path: Path, *, scales: dict[str, tuple[float, int]], threads: int) -> Model:
    """Open an IR for `edgemat.export._isolated.IsolatedRunner`."""
    return Model(path, scales, threads)


def _floats(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Return an image, uint8, (H, W, 3), as the graph takes it: float32, (1, 3, H, W), in [0, 1]."""
    return np.ascontiguousarray(image.transpose(2, 0, 1)[None], np.float32) / np.float32(255)


def _with_codes(model: Any, scales: Mapping[str, tuple[float, int]]) -> Any:
    """Return the model with the codes of every tensor as further outputs.

    A FakeQuantize of reals is taken apart into one that makes codes and the steps back: what it stands for, and what
    the plugin itself makes of it. The convolutions keep their int8 kernels, and alpha its value.
    """
    added = []
    for node in model.get_ordered_ops():
        if node.get_type_name() == "FakeQuantize" and node.get_friendly_name().endswith(_QUANTIZE):
            tensor = node.get_friendly_name().removesuffix(_QUANTIZE)
            if not _makes_codes(node):
                added.append(_taken_apart(node, tensor, *scales[tensor]))
        for port in node.outputs():
            if any(name.endswith(_CODES) for name in port.get_names()) and node.get_type_name() != "Constant":
                added.append(port)
    for port in added:
        model.add_outputs([port])
    return model


def _makes_codes(node: Any) -> bool:
    """Return whether a FakeQuantize is followed by a conversion to integers."""
    return any(t.get_node().get_type_name() == "Convert" for t in node.output(0).get_target_inputs())


def _taken_apart(node: Any, tensor: str, scale: float, zero_point: int) -> Any:
    """Put codes into a FakeQuantize's place; return their port."""
    from openvino import opset13 as ops

    readers = list(node.output(0).get_target_inputs())
    names = node.output(0).get_names()
    ends = [node.input_value(i) for i in (1, 2)]
    low, high = (np.float32(0), np.float32(255))
    whole = ops.fake_quantize(node.input_value(0), *ends, low, high, 256)
    codes = ops.convert(whole, "u8")
    real: Any = ops.convert(codes, "f32")
    if zero_point:
        real = ops.subtract(real, np.float32(zero_point))
    real = ops.multiply(real, np.float32(scale))
    codes.output(0).get_tensor().set_names({tensor + _CODES})
    node.output(0).get_tensor().set_names(set())
    for reader in readers:
        reader.replace_source_output(real.output(0))
    real.output(0).get_tensor().set_names(names)
    return codes.output(0)
