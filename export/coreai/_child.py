"""What runs beside Core AI, in a process of its own: convert, run, read back; see `export._isolated`."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from coreai._compiler import ir
from coreai.authoring import AIModelAsset
from coreai.runtime import NDArray

from edgemat.errors import InputError
from edgemat.export.coreai import _author, _facts
from edgemat.quantize import qdq

if TYPE_CHECKING:
    import numpy.typing as npt

    from edgemat.export._isolated_child import Answer, Arrays
    from edgemat.export._target import Alphas, Images
    from edgemat.quantize.grid import Codes

    Outputs = dict[str, npt.NDArray[Any]]

MAIN = "main"
"""The only function of an asset that edgemat writes."""


def convert(arguments: Mapping[str, Any], arrays: Arrays) -> Answer:
    """Write the asset of an ONNX file.

    Args:
        arguments: ``source``, the file; ``goal``, a folder that ends in .aimodel; ``metadata``, text to text.
        arrays: None.

    Raises:
        UnsupportedOpError: Nodes that cannot be translated.
    """
    program = _author.program(Path(arguments["source"]))
    program.save_asset(Path(arguments["goal"]), metadata=_author.metadata(arguments["metadata"]))
    return {}, {}


def execute(arguments: Mapping[str, Any], arrays: Arrays) -> Answer:
    """Convert an ONNX file and run it, one example a call.

    Args:
        arguments: ``source``, the file.
        arrays: Its inputs by name, each a batch of examples as the graph takes them, (N, ...), N at least 1.

    Returns:
        Its outputs by name, each (N, ...).

    Raises:
        UnsupportedOpError: Nodes that cannot be translated.
    """
    with tempfile.TemporaryDirectory() as folder:
        asset = Path(folder) / "network.aimodel"
        _author.program(Path(arguments["source"])).save_asset(asset)
        function = _Function(asset)
    names, batches = list(arrays), zip(*arrays.values(), strict=True)
    found = [function(dict(zip(names, [part[None] for part in parts], strict=True))) for parts in batches]
    return {}, {name: np.concatenate([outputs[name] for outputs in found]) for name in function.outputs}


def read(arguments: Mapping[str, Any], arrays: Arrays) -> Answer:
    """Read an asset back; ``path`` is the asset. See `_facts.read` for what comes back."""
    return _facts.read(Path(arguments["path"])), {}


class Model:
    """An asset that is open for running.

    Args:
        path: The .aimodel folder.

    Raises:
        InputError: Core AI cannot load it.
    """

    def __init__(self, path: Path) -> None:
        """Open the asset."""
        self._path = path
        self._function = _Function(path)
        self._shown: _Function | None = None

    def run(self, images: Images) -> Alphas:
        """Return alpha, float32, (N, H, W), of RGB images, uint8, (N, H, W, 3)."""
        return np.stack([self._function({"image": _floats(image)})["alpha"][0, 0] for image in images]).astype(
            np.float32
        )

    def trace(self, image: Images) -> Outputs:
        """Return every tensor of one image, uint8, (H, W, 3), by the names of the graph that it was made from."""
        values = self._all(image)
        return {name: value.astype(np.float32) for name, value in values.items() if not name.endswith(qdq.CODES)}

    def codes(self, image: Images) -> dict[str, Codes]:
        """Return the codes of one image, uint8, (H, W, 3)."""
        values = self._all(image)
        return {
            name.removesuffix(qdq.CODES): value.astype(np.int32)
            for name, value in values.items()
            if name.endswith(qdq.CODES)
        }

    def _all(self, image: Images) -> Outputs:
        if self._shown is None:
            with tempfile.TemporaryDirectory() as folder:
                shown = Path(folder) / "shown.aimodel"
                with_outputs(self._path, shown)
                self._shown = _Function(shown)
        return self._shown({"image": _floats(image)})


def with_outputs(path: Path, goal: Path) -> None:
    """Write an asset again with every tensor of the graph that it was made from as an output, under its own name.

    Args:
        path: The asset.
        goal: A folder that ends in .aimodel.
    """
    program = AIModelAsset.load(path).program
    graph: Any = program._get_graph(MAIN)
    results: OrderedDict[str, Any] = OrderedDict()
    for operation in graph.entry_block.operations:
        name = _facts.tensor(operation)
        if name and len(operation.results) == 1 and not _facts.is_constant(operation):
            results[name] = operation.results[0]  # the last of those that help to make a tensor makes it
    with graph.context, ir.Location.unknown():
        graph._terminator_op.operation.erase()
        graph.set_outputs_spec_from_dict(results)
    program.save_asset(goal)


class _Function:
    """A function in Core AI's runtime, one image a call.

    Raises:
        InputError: Core AI cannot load the asset.
    """

    def __init__(self, path: Path) -> None:
        """Load the asset; what Core AI unpacks for that is removed at once, as this process ends without a clean-up."""
        self._loop = asyncio.new_event_loop()
        unpacked, previous = tempfile.mkdtemp(), tempfile.tempdir
        try:
            tempfile.tempdir = unpacked
            self._stack = AsyncExitStack()
            opened = AIModelAsset.load(path).executable()
            model = self._loop.run_until_complete(self._stack.enter_async_context(opened))
            self._function = model.load_function(MAIN)
        except (RuntimeError, KeyError, OSError) as error:
            raise InputError(f"{path}: Core AI cannot load it: {error}; export it again") from error
        finally:
            tempfile.tempdir = previous
            shutil.rmtree(unpacked, ignore_errors=True)
        self.outputs = tuple(self._function.desc.output_names)

    def __call__(self, inputs: Mapping[str, npt.NDArray[Any]]) -> Outputs:
        """Return the outputs by name."""

        async def called() -> Any:
            return await self._function({name: NDArray(np.ascontiguousarray(v)) for name, v in inputs.items()})

        found = self._loop.run_until_complete(called())
        return {name: np.array(found[name].numpy()) for name in self.outputs}


def _floats(image: Images) -> Alphas:
    """Return an image, uint8, (H, W, 3), as an asset takes it: float32, (1, 3, H, W), in [0, 1]."""
    pixels: Alphas = np.ascontiguousarray(image.transpose(2, 0, 1)[None], np.float32)
    return pixels / np.float32(255)
