"""Import coremltools late, and keep its expected noise off the terminal without hiding anything else."""

from __future__ import annotations

import contextlib
import importlib
import io
import logging
import re
import sys
from collections.abc import Iterator
from typing import Any

_IMPORT_NOISE = re.compile(
    r"Failed to load _ML\w+: No module named 'coremltools\.libcoremlpython'"
    r"|version \S+ has not been tested with coremltools"
    r"|scikit-learn version \S+ is not supported"
)
_PROGRESS = re.compile(r"^\s*Running MIL .* pipeline:")


class _DropImportNoise(logging.Filter):
    """Drop what coremltools says at every import off macOS: its predictor is absent, other packages are newer."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the record says anything unexpected."""
        return _IMPORT_NOISE.search(record.getMessage()) is None


def load(name: str = "coremltools") -> Any:
    """Import coremltools or one of its modules, some seconds the first time.

    Args:
        name: Dotted module name, such as ``coremltools.proto.Model_pb2``.

    Returns:
        The module, untyped as coremltools is.
    """
    logger = logging.getLogger("coremltools")
    noise = _DropImportNoise()
    logger.addFilter(noise)
    try:
        return importlib.import_module(name)
    finally:
        logger.removeFilter(noise)


@contextlib.contextmanager
def no_progress_bars() -> Iterator[None]:
    """Hold back what is written to stderr, drop the progress bars from it and pass on the rest."""
    held = io.StringIO()
    try:
        with contextlib.redirect_stderr(held):
            yield
    finally:
        rest = [line for line in re.split(r"[\r\n]+", held.getvalue()) if line and not _PROGRESS.match(line)]
        if rest:
            sys.stderr.write("\n".join(rest) + "\n")
