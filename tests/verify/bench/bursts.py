"""Background load for the tests: processes that compute in bursts of random length, as a busy machine does.

Run by hand: python tests/verify/bench/bursts.py 2   # two cores, until Ctrl-C
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator

import numpy as np


def burst(seed: int) -> None:
    """Compute and rest in turn, 2 to 300 ms each, for ever: sums through the cache, and copies through the memory."""
    random = np.random.default_rng(seed)
    matrix = random.random((256, 256), np.float32)
    block = np.zeros(1 << 22, np.float32)
    while True:
        end = time.perf_counter() + float(np.exp(random.uniform(np.log(0.002), np.log(0.3))))
        while time.perf_counter() < end:
            if random.random() < 0.5:
                matrix @ matrix
            else:
                block += 1
        time.sleep(float(np.exp(random.uniform(np.log(0.002), np.log(0.3)))))


@contextlib.contextmanager
def load(cores: int) -> Iterator[None]:
    """Keep so many cores busy while the block runs."""
    environment = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    workers = [
        subprocess.Popen([sys.executable, __file__, "--seed", str(number)], env=environment) for number in range(cores)
    ]
    try:
        yield
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()


if __name__ == "__main__":
    if "--seed" in sys.argv:
        burst(int(sys.argv[-1]))
    with load(int(sys.argv[1])), contextlib.suppress(KeyboardInterrupt):
        time.sleep(1e9)
