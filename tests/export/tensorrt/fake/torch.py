"""As much of torch as an engine needs: buffers with an address, and a GPU that is said to be there."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

float32 = np.float32
MEMORY: dict[int, Tensor] = {}


class Tensor:
    def __init__(self, array: Any) -> None:
        self.array = array
        MEMORY[id(self)] = self

    def data_ptr(self) -> int:
        return id(self)

    def copy_(self, other: Tensor) -> None:
        self.array[...] = other.array

    def cpu(self) -> Tensor:
        return self

    def numpy(self) -> Any:
        return self.array


def zeros(shape: tuple[int, ...], dtype: Any, device: str) -> Tensor:
    assert device == "cuda"
    return Tensor(np.zeros(shape, dtype))


def from_numpy(array: Any) -> Tensor:
    return Tensor(array)


class cuda:  # noqa: N801  (a module in the real one)
    Stream = type("Stream", (), {"cuda_stream": 7})

    @staticmethod
    def is_available() -> bool:
        return os.environ.get("FAKE_TENSORRT_FAULT") != "gpu"

    @staticmethod
    def synchronize() -> None:
        pass

    @staticmethod
    def get_device_name() -> str:
        return "a fake"
