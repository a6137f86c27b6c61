"""What an oracle is asked: an artefact's network as ONNX, an integer one's codes as outputs, and what to feed it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy.typing as npt
    from onnx import ModelProto

    from edgemat.export._target import Alphas, Images
    from edgemat.quantize.grid import Codes
    from edgemat.verify.exported import Entry


@dataclass(frozen=True)
class Source:
    """A network in ONNX.

    Attributes:
        path: The file: float, or with steps of the grid.
        image: Its input's name.
        takes_bytes: Whether the input is codes, uint8; else float32.
        scale: What to divide pixels by before they are fed.
        alpha: Its matte's name.
        codes: Tensors of the trunk, each with the output that holds its codes and what to add for the grid's own.
    """

    path: Path
    image: str
    takes_bytes: bool
    scale: float
    alpha: str
    codes: Mapping[str, tuple[str, int]]

    def feeds(self, images: Images) -> dict[str, npt.NDArray[Any]]:
        """Return what to feed for RGB images, uint8, (N, H, W, 3)."""
        import numpy as np

        pixels = np.ascontiguousarray(images.transpose(0, 3, 1, 2))
        return {self.image: pixels if self.takes_bytes else pixels.astype(np.float32) / np.float32(self.scale)}

    def matte(self, found: Mapping[str, npt.NDArray[Any]]) -> Alphas:
        """Return alpha, float32, (N, H, W) if the output is a matte at all."""
        import numpy as np

        alpha = found[self.alpha]
        if alpha.dtype == np.uint8:
            alpha = alpha.astype(np.float32) / np.float32(255)
        matte: Alphas = alpha[:, 0] if alpha.ndim == 4 and alpha.shape[1] == 1 else alpha
        return matte

    def shown(self, found: Mapping[str, npt.NDArray[Any]], images: Images) -> Iterator[dict[str, Codes]]:
        """Yield each image's codes, in the trunk's names and the grid's own codes."""
        import numpy as np

        for number, image in enumerate(images if self.codes else ()):
            codes = {
                name: found[at][number : number + 1].astype(np.int32) + add for name, (at, add) in self.codes.items()
            }
            codes.setdefault("image", image.transpose(2, 0, 1)[None].astype(np.int32))
            yield codes


def of(entry: Entry, path: Path) -> Source:
    """Write an artefact's network as ONNX.

    Args:
        entry: Of target coreml or onnx.
        path: The file to write.

    Raises:
        InputError: The artefact cannot be read.
        UnsupportedOpError: A package holds operators that have no counterpart in ONNX.
    """
    import onnx

    from edgemat.quantize import qdq

    if entry.target.name == "coreml":
        codes, scale = _of_package(entry.path, path), 1.0
        model = onnx.load(path)
    else:
        from edgemat.export import _graph
        from edgemat.export.coreai import _write

        model, scale = _write.with_float_biases(_graph.read(entry.path)), 255.0
        steps = [node.output[0] for node in model.graph.node if node.op_type == "QuantizeLinear"]
        codes = {name.removesuffix(qdq.CODES): (name, 0) for name in steps if name.endswith(qdq.CODES)}
    (image,), (alpha,) = model.graph.input, model.graph.output
    takes_bytes, gives_bytes = (end.type.tensor_type.elem_type == onnx.TensorProto.UINT8 for end in (image, alpha))
    if gives_bytes:
        codes[alpha.name] = (alpha.name, 0)
    _show(model, sorted({at for at, _ in codes.values()} - {alpha.name}))
    path.write_bytes(model.SerializeToString(deterministic=True))
    return Source(path, image.name, takes_bytes, scale, alpha.name, codes)


def _of_package(package: Path, path: Path) -> dict[str, tuple[str, int]]:
    """Write a Core ML package as ONNX; return where the codes of the trunk's tensors are."""
    from edgemat.export.coreml import _back, _codes, _package

    _back.to_onnx(package, path)
    read = _package.read(package)
    codes = {
        name: (step.op.output.name, _codes.shift(read, step.kind)) for name, step in _codes.quantized(read).items()
    }
    return codes | {alias: codes[name] for alias, name in _codes.same(read).items() if name in codes}


def _show(model: ModelProto, names: list[str]) -> None:
    """Make inner tensors outputs, in place."""
    import onnx

    values = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph.value_info
    known = {value.name: value for value in values}
    model.graph.output.extend(known[name] for name in names)
