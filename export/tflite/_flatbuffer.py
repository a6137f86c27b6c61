"""Build a TFLite FlatBuffer: tensors, buffers, operators, one signature; the same bytes for the same calls."""

from __future__ import annotations

from typing import Any

import flatbuffers
import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

TYPES = {
    np.dtype(np.float32): schema.TensorType.FLOAT32,
    np.dtype(np.float16): schema.TensorType.FLOAT16,
    np.dtype(np.int32): schema.TensorType.INT32,
    np.dtype(np.int8): schema.TensorType.INT8,
}

RUNTIMES = {
    ("ADD", 1): "1.5.0",
    ("ADD", 2): "1.14.0",
    ("AVERAGE_POOL_2D", 1): "1.5.0",
    ("AVERAGE_POOL_2D", 2): "1.14.0",
    ("CONCATENATION", 1): "1.5.0",
    ("CONCATENATION", 2): "1.14.0",
    ("CONV_2D", 1): "1.5.0",
    ("CONV_2D", 3): "1.14.0",
    ("DEPTHWISE_CONV_2D", 1): "1.5.0",
    ("DEPTHWISE_CONV_2D", 2): "1.12.0",
    ("DEPTHWISE_CONV_2D", 3): "1.14.0",
    ("DEPTH_TO_SPACE", 1): "2.1.0",
    ("DEPTH_TO_SPACE", 2): "2.5.0",
    ("DEQUANTIZE", 2): "1.14.0",
    ("DEQUANTIZE", 3): "1.15.0",
    ("DIV", 1): "1.6.0",
    ("LOGISTIC", 1): "1.14.0",
    ("LOGISTIC", 2): "1.14.0",
    ("MAXIMUM", 1): "1.14.0",
    ("MAXIMUM", 2): "1.14.0",
    ("MAX_POOL_2D", 1): "1.5.0",
    ("MAX_POOL_2D", 2): "1.14.0",
    ("MEAN", 1): "1.6.0",
    ("MEAN", 2): "1.14.0",
    ("MINIMUM", 1): "1.14.0",
    ("MINIMUM", 2): "1.14.0",
    ("MUL", 1): "1.5.0",
    ("MUL", 2): "1.14.0",
    ("MUL", 3): "1.15.0",
    ("PAD", 1): "1.5.0",
    ("PAD", 2): "1.14.0",
    ("QUANTIZE", 1): "1.14.0",
    ("RELU", 1): "1.5.0",
    ("RELU6", 1): "1.5.0",
    ("RELU_N1_TO_1", 1): "1.5.0",
    ("RESIZE_BILINEAR", 3): "2.2.0",
    ("RESIZE_NEAREST_NEIGHBOR", 3): "2.3.0",
    ("SPACE_TO_DEPTH", 1): "1.5.0",
    ("SPACE_TO_DEPTH", 2): "1.14.0",
    ("SUB", 1): "1.6.0",
    ("SUB", 2): "1.14.0",
    ("TRANSPOSE_CONV", 3): "2.3.0",
}
"""The first TFLite runtime that runs an operator at a version; the operators and versions that are ever written."""

ALIGNMENT = 16
"""The schema asks for buffers at multiples of 16 bytes; the generated Python writer would leave them at 4."""


class _Buffer(schema.BufferT):  # type: ignore[misc]
    """A buffer whose bytes lie where the schema's ``force_align`` wants them."""

    def Pack(self, builder: Any) -> int:  # noqa: N802  (the generated name)
        """Write the bytes and the table."""
        data = None if self.data is None else np.ascontiguousarray(self.data).tobytes()
        if data is not None:
            builder.StartVector(1, len(data), ALIGNMENT)
            builder.head -= len(data)
            builder.Bytes[builder.head : builder.head + len(data)] = data
            data = builder.EndVector()
        schema.BufferStart(builder)
        if data is not None:
            schema.BufferAddData(builder, data)
        return int(schema.BufferEnd(builder))


class ModelBuilder:
    """Collects one subgraph, then writes the file."""

    def __init__(self) -> None:
        """Start with no tensor and the empty buffer 0 that the format reserves."""
        self._tensors: list[Any] = []
        self._buffers: list[Any] = [_Buffer()]
        self._operators: list[Any] = []
        self._codes: dict[tuple[str, int], int] = {}
        self._indices: dict[str, int] = {}

    def activation(self, name: str, shape: tuple[int, ...], quantization: Any = None) -> int:
        """Return the index of the tensor ``name``, declared as a float32 activation on first use.

        Args:
            name: Unique name.
            shape: NHWC.
            quantization: Scale and zero point (``QuantizationParametersT``); the tensor is then int8.
        """
        if name not in self._indices:
            dtype = np.dtype(np.float32 if quantization is None else np.int8)
            self._add(name, shape, dtype, 0, quantization)
        return self._indices[name]

    def constant(self, name: str, value: npt.NDArray[Any], quantization: Any = None) -> int:
        """Return the index of a new constant; ``name`` gets a number when it is taken (one value in two layouts)."""
        count = 1
        while (unique := name if count == 1 else f"{name}#{count}") in self._indices:
            count += 1
        self._buffers.append(_Buffer(np.frombuffer(value.tobytes(), np.uint8)))
        self._add(unique, value.shape, value.dtype, len(self._buffers) - 1, quantization)
        return self._indices[unique]

    def _add(self, name: str, shape: tuple[int, ...], dtype: np.dtype[Any], buffer: int, quantization: Any) -> None:
        self._indices[name] = len(self._tensors)
        tensor = schema.TensorT(shape=list(shape), type=TYPES[dtype], buffer=buffer, name=name, hasRank=True)
        tensor.quantization = quantization
        self._tensors.append(tensor)

    def operator(self, op: str, inputs: list[int], outputs: list[int], options: Any = None, version: int = 1) -> None:
        """Append an operator.

        Args:
            op: Name in the schema's ``BuiltinOperator``.
            inputs: Tensor indices.
            outputs: Tensor indices.
            options: The operator's options object of the schema.
            version: Lowest operator version that has the semantics asked for; it must be one of `RUNTIMES`.
        """
        assert (op, version) in RUNTIMES, f"{op} version {version} has no entry in RUNTIMES"
        code = self._codes.setdefault((op, version), len(self._codes))
        operator = schema.OperatorT(opcodeIndex=code, inputs=inputs, outputs=outputs)
        if options is not None:
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, type(options).__name__.removesuffix("T"))
            operator.builtinOptions = options
        self._operators.append(operator)

    def product(self, one: int, two: int, output: int) -> float:
        """Return the scales of two int8 tensors, multiplied, over a third's: MUL's version depends on it."""
        scales = [float(self._tensors[index].quantization.scale[0]) for index in (one, two, output)]
        return scales[0] * scales[1] / scales[2]

    def min_runtime(self) -> str:
        """Return the first runtime version that runs every operator so far."""
        versions = [RUNTIMES[key] for key in self._codes] or ["1.5.0"]
        return max(versions, key=lambda text: tuple(int(part) for part in text.split(".")))

    def finish(
        self,
        description: str,
        inputs: dict[str, int],
        outputs: dict[str, int],
        metadata: dict[str, bytes],
    ) -> bytes:
        """Return the file's bytes.

        Args:
            description: Of the model.
            inputs: Signature name to tensor index.
            outputs: Signature name to tensor index.
            metadata: Name to content.
        """
        entries = []
        for name, content in metadata.items():
            self._buffers.append(_Buffer(np.frombuffer(content, np.uint8)))
            entries.append(schema.MetadataT(name=name, buffer=len(self._buffers) - 1))
        subgraph = schema.SubGraphT(
            tensors=self._tensors,
            inputs=list(inputs.values()),
            outputs=list(outputs.values()),
            operators=self._operators,
            name="main",
        )
        signature = schema.SignatureDefT(
            signatureKey="serving_default", inputs=_maps(inputs), outputs=_maps(outputs), subgraphIndex=0
        )
        model = schema.ModelT(
            version=3,
            operatorCodes=[_operator_code(op, version) for op, version in self._codes],
            subgraphs=[subgraph],
            description=description,
            buffers=self._buffers,
            metadata=entries,
            signatureDefs=[signature],
        )
        return write(model)


def write(model: Any) -> bytes:
    """Return the bytes of a model of the schema's object API.

    Args:
        model: ``ModelT``; a test may have edited it after reading.
    """
    for i, buffer in enumerate(model.buffers):
        model.buffers[i] = _Buffer(buffer.data)
    builder = flatbuffers.Builder(1 << 20)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _maps(tensors: dict[str, int]) -> list[Any]:
    return [schema.TensorMapT(name=name, tensorIndex=index) for name, index in tensors.items()]


def _operator_code(op: str, version: int) -> Any:
    code = getattr(schema.BuiltinOperator, op)
    return schema.OperatorCodeT(deprecatedBuiltinCode=min(code, 127), builtinCode=code, version=version)
