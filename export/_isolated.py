"""Run a back end in a process of its own, so that its threads, its locks and its crashes stay out of this one.

Some run times leave threads and handlers behind that make a later ``os.fork`` (a data loader's workers) crash. Their
functions run in a child that is started afresh (exec, never a bare fork); `edgemat.export._isolated_child` is its side.
A child that crashes or hangs is an error that says so, never the end of this process.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from edgemat import errors
from edgemat.errors import EdgematError
from edgemat.export import _isolated_child as frames
from edgemat.export._target import Runner

if TYPE_CHECKING:
    from edgemat.export._isolated_child import Answer, Arrays
    from edgemat.export._target import Alphas, Images, Tensors
    from edgemat.quantize.grid import Codes

TIMEOUT = 600.0
"""Seconds that one answer may take."""
_TAIL = 2000
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class IsolatedError(EdgematError):
    """The process of a back end crashed, hung or raised what edgemat does not know (exit code 70)."""

    exit_code = 70


class CrashedError(IsolatedError):
    """The process ended without an answer."""


class HungError(IsolatedError):
    """The process gave no answer in time, and was stopped."""


_OWN = {kind.__name__: kind for kind in (IsolatedError, CrashedError, HungError)}
"""What a child raises whose own child went wrong."""


def call(
    function: str,
    arguments: Mapping[str, object] | None = None,
    arrays: Arrays | None = None,
    *,
    timeout: float = TIMEOUT,
    threads: int = 1,
) -> Answer:
    """Call one function in a process of its own, which then ends.

    Args:
        function: ``module:function``; it takes ``(arguments, arrays)`` and returns a pair of the same kind.
        arguments: JSON-ready values.
        arrays: Of numbers, any shape; none of objects.
        timeout: Seconds until the process is killed.
        threads: What OpenMP and BLAS may use in it.

    Returns:
        What the function returned: JSON-ready values, and arrays.

    Raises:
        EdgematError: The function raised it; the same class and message.
        IsolatedError: It raised anything else, its process crashed, or it took longer than ``timeout``.

    Example:
        >>> import numpy as np
        >>> call("edgemat.export._isolated_child:echo", {"a": 1}, {"x": np.arange(3)})
        ({'a': 1}, {'x': array([0, 1, 2])})
    """
    with Child(function, timeout=timeout, threads=threads) as child:
        return child.ask("call", arguments or {}, arrays or {})


class IsolatedRunner(Runner):
    """A runner that lives in a process of its own.

    Args:
        function: ``module:function``; called with the path and ``arguments``, it returns an object with ``run`` and, if
            it can, ``codes`` and ``trace``, as `Runner` defines them.
        path: The artefact.
        arguments: Further keyword arguments, JSON-ready.
        rounding: See `Runner`; what the object itself states where None is given.
        timeout: Seconds that opening and each run may take.
        threads: What OpenMP and BLAS may use in it.

    Raises:
        EdgematError: The function raised it; the same class and message.
        IsolatedError: The process crashed or hung.
    """

    def __init__(
        self,
        function: str,
        path: Path,
        arguments: Mapping[str, object] | None = None,
        *,
        rounding: str | None = "ideal",
        timeout: float = TIMEOUT,
        threads: int = 1,
    ) -> None:
        """Start the process and open the artefact in it."""
        self._child = Child(function, timeout=timeout, threads=threads, about=str(path))
        try:
            opened, _ = self._child.ask("open", {**(arguments or {}), "path": str(path)}, {})
            self.rounding = opened["rounding"] if rounding is None else rounding
        except BaseException:
            self.close()
            raise

    def run(self, images: Images) -> Alphas:
        """Return alpha, float32, (N, H, W), of RGB images, uint8, (N, H, W, 3)."""
        alphas: Alphas = self._child.ask("run", {}, {"images": images})[1]["alpha"]
        return alphas

    def trace(self, image: Images) -> Tensors:
        """Return the inner tensors of one image, uint8, (H, W, 3); see `Runner`."""
        return self._child.ask("trace", {}, {"image": image})[1]

    def codes(self, image: Images) -> Mapping[str, Codes]:
        """Return the codes of one image, uint8, (H, W, 3); see `Runner`."""
        return self._child.ask("codes", {}, {"image": image})[1]

    def ask(self, arguments: Mapping[str, object], arrays: Arrays | None = None) -> Answer:
        """Call the object's own ``ask(arguments, arrays)``: JSON-ready values and arrays, both ways."""
        return self._child.ask("ask", arguments, arrays or {})

    def close(self) -> None:
        """End the process."""
        self._child.close()


class Child:
    """The process, seen from here; a context manager.

    Args:
        function: ``module:function`` that it serves.
        timeout: Seconds that one answer may take.
        threads: What OpenMP and BLAS may use in it.
        about: The file that it works on, for errors.
    """

    def __init__(self, function: str, *, timeout: float = TIMEOUT, threads: int = 1, about: str = "") -> None:
        """Start the process."""
        self._what = f"{about}: the process of {function}" if about else f"the process of {function}"
        self._timeout, self._expired = timeout, False
        # a file, not a pipe: nobody has to read it for the child to go on
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115  (closed with the child)
        environment = {**os.environ, "PYTHONHASHSEED": "0", **dict.fromkeys(_THREADS, str(threads))}
        # -P: what lies in the current folder must not stand in for a package
        command = [sys.executable, "-P", "-m", "edgemat.export._isolated_child", function]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._stderr, env=environment
        )

    @property
    def pid(self) -> int:
        """Its number."""
        return self._process.pid

    def ask(self, verb: str, arguments: Mapping[str, object], arrays: Arrays) -> Answer:
        """Send a request and return the answer.

        Raises:
            EdgematError: The child raised it.
            IsolatedError: It raised something else, died, or did not answer in time.
            TypeError: The arguments are no JSON, or an array holds objects.
        """
        request = frames.pack({"do": verb, "arguments": dict(arguments)}, arrays)
        assert self._process.stdin is not None  # both are pipes
        assert self._process.stdout is not None
        if self._process.stdin.closed:
            raise IsolatedError(f"{self._what} has ended; open it again")
        timer = threading.Timer(self._timeout, self._expire)
        timer.daemon = True
        timer.start()
        try:
            self._process.stdin.write(request)
            self._process.stdin.flush()
            header, found = frames.unpack(self._process.stdout)
        except (BrokenPipeError, EOFError) as error:
            raise self._died() from error
        except BaseException:  # an interrupt: what would come now is the answer to no question
            self._process.kill()
            raise
        finally:
            timer.cancel()
        if "error" in header:
            raise self._raised(header["error"], header["message"])
        return header["result"], found

    def _expire(self) -> None:
        self._expired = True
        self._process.kill()

    def _died(self) -> IsolatedError:
        """Return what to say of a child that gave no answer."""
        try:
            code = self._process.wait(10.0)
        except subprocess.TimeoutExpired:  # it closed its pipe, and lives on
            self._process.kill()
            code = self._process.wait()
        kind: type[IsolatedError] = CrashedError
        if self._expired:
            reason, kind = f"gave no answer within {self._timeout:g} s and was stopped", HungError
        elif code < 0:
            reason = f"crashed with {_signal(-code)}"
        else:
            reason = f"ended without an answer (exit code {code if code < 1 << 16 else hex(code)})"
        self.close()
        return kind(f"{self._what} {reason}{self._said()}")

    def _raised(self, kind: str, message: str) -> EdgematError:
        """Return the child's exception as one of ours."""
        known = getattr(errors, kind, None) or _OWN.get(kind)
        if isinstance(known, type) and issubclass(known, EdgematError):
            return known(message)
        return IsolatedError(f"{self._what} raised {kind}: {message}{self._said()}")

    def _said(self) -> str:
        """Return the end of what it wrote to stderr."""
        if self._stderr.closed:
            return self._last
        self._stderr.seek(max(0, self._stderr.seek(0, os.SEEK_END) - _TAIL))
        text = self._stderr.read().decode(errors="replace").strip()
        return f"; its last words:\n{text}" if text else ""

    def close(self) -> None:
        """End the process: it ends itself when its input does, or is killed after some seconds."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None and not pipe.closed:
                try:
                    pipe.close()
                except BrokenPipeError:
                    continue
        try:
            self._process.wait(5.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if not self._stderr.closed:
            self._last = self._said()
            self._stderr.close()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it; at once where an error left it at work."""
        if kind is not None:
            self._process.kill()
        self.close()

    def __del__(self) -> None:
        """Close what was forgotten."""
        if hasattr(self, "_process") and self._process.poll() is None:
            self._process.kill()
            self.close()


def _signal(number: int) -> str:
    """Return a signal's name, with what it mostly means."""
    try:
        name = signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
    return f"{name} (out of memory, or ended from outside)" if name == "SIGKILL" else name
