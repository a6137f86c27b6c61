"""The process that `edgemat.export._isolated` starts, and the frames that the two exchange.

A frame is a mark, a length, a JSON header, and NumPy arrays in ``.npy`` form, without pickle. Requests come over stdin
and answers go over what was stdout; what a back end prints goes to stderr.
"""

from __future__ import annotations

import importlib
import io
import json
import os
import struct
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from edgemat.errors import EdgematError

if TYPE_CHECKING:
    import numpy.typing as npt

    Arrays = Mapping[str, npt.NDArray[Any]]
    Answer = tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]

_MAGIC = b"edm1"
_HEADER_LIMIT = 1 << 28


def echo(arguments: dict[str, Any], arrays: dict[str, npt.NDArray[Any]]) -> Answer:
    """Return what is given: the function that shows a working child."""
    return arguments, arrays


def pack(header: Mapping[str, object], arrays: Arrays) -> bytes:
    """Return a frame: a mark, the header's length, the header as JSON, then each array as ``.npy``."""
    import numpy as np

    parts = []
    for name, array in arrays.items():
        if np.asarray(array).dtype.hasobject:
            raise TypeError(f"array {name} holds objects, expected numbers")
        content = io.BytesIO()
        np.lib.format.write_array(content, np.asarray(array), allow_pickle=False)
        parts.append((name, content.getvalue()))
    listed = [{"name": name, "bytes": len(content)} for name, content in parts]
    text = json.dumps({**header, "arrays": listed}, allow_nan=False).encode()
    return b"".join([_MAGIC, struct.pack("<I", len(text)), text, *(content for _, content in parts)])


def unpack(stream: IO[bytes]) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
    """Read one frame.

    Raises:
        EOFError: The stream ends before the frame does, or holds none.
    """
    import numpy as np

    mark, length = struct.unpack("<4sI", _exactly(stream, 8))
    if mark != _MAGIC or length > _HEADER_LIMIT:
        raise EOFError(f"found {mark!r}, expected a frame")
    header = json.loads(_exactly(stream, length))
    arrays = {
        entry["name"]: np.lib.format.read_array(io.BytesIO(_exactly(stream, entry["bytes"])), allow_pickle=False)
        for entry in header.pop("arrays")
    }
    return header, arrays


def _exactly(stream: IO[bytes], count: int) -> bytes:
    content = stream.read(count)
    if len(content) != count:
        raise EOFError(f"{len(content)} of {count} bytes")
    return content


def _serve(function: str, requests: IO[bytes], answers: IO[bytes]) -> None:
    """Answer requests until there are no more; the child's whole life."""
    held: dict[str, Any] = {}
    while True:
        try:
            header, arrays = unpack(requests)
        except EOFError:
            return
        try:
            answer = pack(*_done(function, header, arrays, held))
        except Exception as error:
            if not isinstance(error, EdgematError):
                import traceback

                traceback.print_exc()
            answer = pack({"error": type(error).__name__, "message": str(error)}, {})
        answers.write(answer)
        answers.flush()


def _done(
    function: str, header: Mapping[str, Any], arrays: dict[str, npt.NDArray[Any]], held: dict[str, Any]
) -> tuple[dict[str, Any], Arrays]:
    """Do what a request asks; return the answer's header and arrays."""
    verb, arguments = header["do"], header["arguments"]
    if verb == "call":
        result, found = _find(function)(arguments, arrays)
        return {"result": result}, found
    if verb == "open":
        held["runner"] = _find(function)(Path(arguments.pop("path")), **arguments)
        return {"result": {"rounding": getattr(held["runner"], "rounding", "ideal")}}, {}
    runner = held["runner"]
    if verb == "ask":
        result, found = runner.ask(arguments, arrays)
        return {"result": result}, found
    if verb == "run":
        return {"result": {}}, {"alpha": runner.run(arrays["images"])}
    method = getattr(runner, verb, None)
    return {"result": {}}, {} if method is None else method(arrays["image"])


def _find(function: str) -> Callable[..., Any]:
    module, _, name = function.partition(":")
    found: Callable[..., Any] = getattr(importlib.import_module(module), name)
    return found


def _end_with(parent: int) -> None:
    """End this process when its parent has ended, however busy it is: nobody is left to stop it."""
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(1)


def _main() -> None:
    """Serve the function that the command line names, over what were stdin and stdout."""
    threading.Thread(target=_end_with, args=[os.getppid()], daemon=True).start()
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)  # back ends print; only frames may pass
    try:
        _serve(sys.argv[1], requests, answers)
    except BrokenPipeError:
        pass  # nobody listens any more
    except KeyboardInterrupt:
        os._exit(130)
    sys.stderr.flush()
    os._exit(0)  # some back ends crash while they are torn down


if __name__ == "__main__":
    _main()
