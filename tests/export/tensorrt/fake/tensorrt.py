"""As much of TensorRT as an engine needs, computed by ONNX Runtime: it proves the control flow and nothing else."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import onnxruntime
import torch

__version__ = os.environ.get("FAKE_TENSORRT", "10.9.0")
NetworkDefinitionCreationFlag = type("NetworkDefinitionCreationFlag", (), {"STRONGLY_TYPED": 1})


class Logger:
    ERROR = 1

    def __init__(self, level: int) -> None:
        assert level == self.ERROR


class Builder:
    def __init__(self, logger: Logger) -> None:
        self.logger = logger

    def create_network(self, flags: int) -> dict[str, bytes]:
        assert flags == 1 << 1
        return {}

    def create_builder_config(self) -> object:
        return object()

    def build_serialized_network(self, network: dict[str, bytes], config: object) -> bytes | None:
        return None if os.environ.get("FAKE_TENSORRT_FAULT") == "build" else network["model"]


class OnnxParser:
    num_errors = 1

    def __init__(self, network: dict[str, bytes], logger: Logger) -> None:
        self.network = network

    def parse(self, content: bytes) -> bool:
        self.network["model"] = content
        return os.environ.get("FAKE_TENSORRT_FAULT") != "parse"

    def get_error(self, index: int) -> Any:
        return type("Error", (), {"desc": lambda self: "Invalid Node - downs.0"})()


class Runtime:
    def __init__(self, logger: Logger) -> None:
        pass

    def deserialize_cuda_engine(self, plan: bytes) -> Engine:
        return Engine(plan)


class Engine:
    def __init__(self, plan: bytes) -> None:
        self.session = onnxruntime.InferenceSession(plan, providers=["CPUExecutionProvider"])
        self.addresses: dict[str, int] = {}

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        values = (*self.session.get_inputs(), *self.session.get_outputs())
        return next(tuple(value.shape) for value in values if value.name == name)

    def create_execution_context(self) -> Engine:
        return self

    def set_tensor_address(self, name: str, address: int) -> None:
        self.addresses[name] = address

    def execute_async_v3(self, stream: int) -> None:
        image, alpha = (torch.MEMORY[self.addresses[name]] for name in ("image", "alpha"))
        alpha.array[...] = np.asarray(self.session.run(["alpha"], {"image": image.array})[0])
