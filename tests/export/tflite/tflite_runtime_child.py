"""Run a .tflite file with tflite_runtime. Needs numpy and that package in this interpreter, nothing else.

Usage: tflite_runtime_child.py FILE CODES.npy OUT.npz
CODES are int8, (N, 1, H, W, 3). OUT holds what the file's outputs were for each, stacked, by the tensor's index, and
the versions that ran.
"""

from __future__ import annotations

import sys

import numpy as np
import tflite_runtime
from tflite_runtime.interpreter import Interpreter


def main(file: str, codes: str, out: str) -> None:
    interpreter = Interpreter(file, num_threads=1)
    interpreter.allocate_tensors()
    (source,) = interpreter.get_input_details()
    outputs = [details["index"] for details in interpreter.get_output_details()]
    found: dict[str, list[np.ndarray]] = {str(index): [] for index in outputs}
    for image in np.load(codes):
        interpreter.set_tensor(source["index"], image)
        interpreter.invoke()
        for index in outputs:
            found[str(index)].append(interpreter.get_tensor(index))
    versions = np.array([tflite_runtime.__version__, np.__version__])
    np.savez(out, versions=versions, **{index: np.stack(values) for index, values in found.items()})


main(*sys.argv[1:])
