"""Write the folder: the int8 source, and what LiteRT's Qualcomm plugin compiles of it for each chip."""

from __future__ import annotations

import importlib.util
import os
import re
import tempfile
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from edgemat.errors import BackendMissingError, EdgematError, UnsupportedOpError
from edgemat.export import _npu, _npu_tflite, tflite
from edgemat.files import atomic_path

if TYPE_CHECKING:
    from edgemat.export._target import Trunk

SOURCE = "source.tflite"
DISPATCH = "DISPATCH_OP"
"""The custom operator that LiteRT hands to its dispatch library."""
NOTES = (
    "the compiled files cannot be run here: what was run is source.tflite, which they were compiled from",
    "compiled files hold weights as the HTP lays them out: channels are padded to multiples of 32",
)
_STATED = re.compile(r"selected (\d+) ops, from a total of (\d+) ops\. resulted in (\d+) partitions")


def convert(trunk: Trunk, precision: str, path: Path, chips: Collection[str] = tuple(_npu.QUALCOMM)) -> None:
    """Write an artefact.

    Args:
        trunk: With a grid of unsigned activations.
        precision: ``int8``.
        path: The goal, a folder.
        chips: Of `edgemat.export._npu.QUALCOMM`.

    Raises:
        UnsupportedOpError: Nodes that TFLite or the accelerator does not take, or that the grid keeps in float; all.
        InputError: The grid breaks a rule.
        IsolatedError: The compiler crashed or hung.
    """
    _npu.refuse_kept(trunk, "litert_qualcomm")
    with atomic_path(path) as folder:
        folder.mkdir()
        tflite.TARGET.convert(trunk, precision, folder / SOURCE)
        compiled = [_compile(folder, chip, trunk.path.name) for chip in chips]
        versions = _npu.versions("ai-edge-litert", "onnxruntime-qnn")
        _npu.write_report(folder, "litert_qualcomm", trunk, SOURCE, compiled, versions, NOTES)


def _compile(folder: Path, chip: str, origin: str) -> _npu.Compiled:
    """Compile the source for a chip."""
    runtime, qnn = _folder_of("ai_edge_litert"), _folder_of("onnxruntime_qnn")
    goal = folder / f"{chip}.tflite"
    with tempfile.TemporaryDirectory() as stubs:
        # the plugin links a library that it never calls and no package has
        (Path(stubs) / "libQnnLpai.so").symlink_to(qnn / "libQnnIr.so")
        libraries = os.pathsep.join([stubs, str(qnn), str(runtime)])
        command = [
            str(runtime / "tools" / "apply_plugin_main"),
            "--cmd=apply",
            f"--model={folder / SOURCE}",
            f"--o={goal}",
            "--soc_manufacturer=Qualcomm",
            f"--soc_model={chip}",
            "--err=--",
            f"--libs={runtime / 'vendors' / 'qualcomm' / 'compiler'}",
            "--qualcomm_log_level=off",
        ]
        done = _npu.run_tool(command, f"{origin} for {chip}", {**os.environ, "LD_LIBRARY_PATH": libraries})
    stated = _STATED.search(done.stderr)
    if done.returncode or stated is None or not goal.stat().st_size:
        raise EdgematError(f"{origin}: LiteRT did not compile it for {chip} (code {done.returncode}){_npu.said(done)}")
    selected, total, partitions = map(int, stated.groups())
    left = _npu_tflite.left(goal, DISPATCH)
    if selected < total or partitions != 1 or left:
        lines = [f"{origin}: {total - selected} of {total} operators are not for the NPU of {chip}", *left]
        raise UnsupportedOpError("\n  ".join(lines))
    return _npu.Compiled(chip, goal.name, selected, total - selected, {"partitions": partitions})


def _folder_of(package: str) -> Path:
    """Return where a package lies, without importing it.

    Raises:
        BackendMissingError: It is not installed.
    """
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise BackendMissingError(f"{package} not installed; pip install 'edgemat[litert_qualcomm]'")
    return Path(found.submodule_search_locations[0])
