"""Run each artefact in a process of its own, and say what became of it when that goes wrong.

The process is started afresh (`edgemat.export._isolated`): a back end that crashes, hangs or returns nonsense takes
nothing else with it, and what one leaves in memory cannot change another's figures.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgemat.errors import BackendMissingError, EdgematError
from edgemat.export._isolated import CrashedError, HungError, IsolatedRunner
from edgemat.export._target import Runner, Scales, Target
from edgemat.verify.compare import complaints

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from edgemat.export._isolated_child import Answer
    from edgemat.export._target import Alphas, Images, Tensors
    from edgemat.quantize.grid import Codes
    from edgemat.verify.exported import Entry

OPENER = "edgemat.verify.parity.isolate:serve"
"""What the process serves."""
_BATCH = 8
"""Images a request: so many are in memory twice, and a hang is seen after the time that so many may take."""


class WrongOutputError(EdgematError):
    """An artefact returned what cannot be an alpha."""


class Isolated(IsolatedRunner):
    """An artefact that is open in a process of its own; a context manager.

    Args:
        entry: The artefact.
        timeout: Seconds that opening and each answer may take.

    Raises:
        EdgematError: It cannot be opened.
    """

    def __init__(self, entry: Entry, timeout: float) -> None:
        """Start the process and open the artefact in it."""
        super().__init__(OPENER, entry.path, {"target": entry.target.name}, rounding=None, timeout=timeout)

    def run(self, images: Images) -> Alphas:
        """Return alpha, float32, (N, H, W), of RGB images, uint8, (N, H, W, 3), some at a time.

        Values are returned as they come, NaN among them.

        Raises:
            WrongOutputError: It returned another type or shape.
        """
        import numpy as np

        found = []
        for start in range(0, len(images), _BATCH):
            batch = images[start : start + _BATCH]
            alpha = super().run(batch)
            if alpha.dtype != np.float32 or alpha.shape != batch.shape[:3]:
                raise WrongOutputError(complaints(alpha, batch.shape[:3], 0.0)[0])
            found.append(alpha)
        return np.concatenate(found)

    def check(self) -> tuple[str, ...]:
        """Return what the target's own check complains of."""
        return tuple(self.ask({"what": "check"})[0]["complaints"])

    def scales(self, path: Path | None = None) -> Scales:
        """Return the scales that the file states; the path is the one that was opened."""
        found, arrays = self.ask({"what": "scales"})
        return Scales({name: (scale, zero) for name, (scale, zero) in found["activations"].items()}, arrays)

    def as_target(self, target: Target) -> Target:
        """Return the target with what it reads from a file read in the process, too."""
        if target.scales is None:
            return target
        return dataclasses.replace(target, scales=self.scales)


class Served(Runner):
    """The process's side: the target's runner, and what else the target reads from the file."""

    def __init__(self, target: Target, path: Path) -> None:
        """Open an artefact."""
        self._target, self._path = target, path
        self._runner = target.load(path)
        self.rounding = self._runner.rounding

    def run(self, images: Images) -> Alphas:
        """Return alpha, float32, (N, H, W), of RGB images, uint8, (N, H, W, 3)."""
        return self._runner.run(images)

    def trace(self, image: Images) -> Tensors:
        """Return the inner tensors of one image, uint8, (H, W, 3)."""
        return self._runner.trace(image)

    def codes(self, image: Images) -> Mapping[str, Codes]:
        """Return the codes of one image, uint8, (H, W, 3)."""
        return self._runner.codes(image)

    def ask(self, arguments: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[np.generic]]) -> Answer:
        """Answer what is no run: ``check`` or ``scales``."""
        del arrays
        if arguments["what"] == "check":
            return {"complaints": list(self._target.check(self._path))}, {}
        assert self._target.scales is not None  # the other side asks none else
        found = self._target.scales(self._path)
        return {"activations": {name: [float(s), int(z)] for name, (s, z) in found.activations.items()}}, dict(
            found.weights
        )


def serve(path: Path, *, target: str) -> Served:
    """Open an artefact, in the process."""
    from edgemat import export

    return Served(export.get(target), path)


def state(error: Exception) -> str:
    """Return the state of an artefact that raised: one of `edgemat.verify.parity.report.STATES`.

    Example:
        >>> state(HungError("a.tflite: gave no answer within 300 s"))
        'timeout'
    """
    if isinstance(error, HungError):
        return "timeout"
    if isinstance(error, CrashedError):
        return "crashed"
    return "unavailable" if isinstance(error, BackendMissingError) else "error"
