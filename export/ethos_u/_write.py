"""Write the folder: the int8 source in an Ethos-U's operators, and what Vela compiles of it for each core."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from edgemat.export import _npu, tflite
from edgemat.export.ethos_u import _adapt, _vela
from edgemat.files import atomic_path

if TYPE_CHECKING:
    from edgemat.export._target import Trunk

SOURCE = "source.tflite"
NOTES = (
    "the compiled files cannot be run here: what was run is source.tflite, which they were compiled from",
    "operators are counted as Vela has split and joined them",
    "cycles, milliseconds and memory are Vela's estimates for the system that each names; nothing was measured",
)


def convert(trunk: Trunk, precision: str, path: Path, cores: Collection[str] = tuple(_vela.CORES)) -> None:
    """Write an artefact.

    Args:
        trunk: With a grid of unsigned activations.
        precision: ``int8``.
        path: The goal, a folder.
        cores: Of `edgemat.export.ethos_u._vela.CORES`.

    Raises:
        UnsupportedOpError: Nodes that TFLite or a core does not take, or that the grid keeps in float; all of them.
        InputError: The grid breaks a rule.
        IsolatedError: Vela crashed or hung.
    """
    _npu.refuse_kept(trunk, "ethos_u")
    with atomic_path(path) as folder:
        folder.mkdir()
        source = folder / SOURCE
        tflite.TARGET.convert(trunk, precision, source)
        source.write_bytes(_adapt.adapt(source.read_bytes()))
        compiled = [_vela.compile_for(c, source, folder / f"{c}.tflite", trunk.path.name) for c in cores]
        versions = _npu.versions("ai-edge-litert", "ethos-u-vela")
        _npu.write_report(folder, "ethos_u", trunk, SOURCE, compiled, versions, NOTES)
