"""A coremltools for the tests of the Mac script: the names that the script uses, played by what the golden file says.

`write` makes a package of it in a folder for ``PYTHONPATH``. Signatures are those of coremltools 9.
"""

from __future__ import annotations

from pathlib import Path

_ROOT = """
import enum
__version__ = "9.0"

class ComputeUnit(enum.Enum):
    ALL = 1
    CPU_AND_GPU = 2
    CPU_ONLY = 3
    CPU_AND_NE = 4

from coremltools import models
"""
_MODELS = """
import os
import numpy as np
from coremltools import ComputeUnit

class MLModel:
    def __init__(self, model, is_temp_package=False, mil_program=None, skip_model_load=False,
                 compute_units=ComputeUnit.ALL, weights_dir=None, function_name=None, optimization_hints=None):
        self.path, self.compute_unit = model, compute_units
        self.golden = np.load(os.environ["FAKE_GOLDEN"], allow_pickle=False)
        if os.environ.get("FAKE_REFUSES", "?") in f"{model} {compute_units.name}":
            raise RuntimeError("Error compiling model: Failed to parse the model specification")

    def predict(self, data, state=None):
        pixels = np.asarray(data["image"])
        (number,) = np.flatnonzero((self.golden["images"] == pixels).all(axis=(1, 2, 3)))[:1]
        alpha = self.golden["alpha:" + os.path.basename(self.path)][number].copy()
        if os.environ.get("FAKE_WRONG", "?") in f"{self.path} {self.compute_unit.name}":
            alpha[0, 0] += 0.5
        return {"alpha": alpha[None, None]}

    def get_compiled_model_path(self):
        return self.path + "c"
"""
_PERF = """
import os
from dataclasses import dataclass

@dataclass(frozen=True)
class Measurement:
    samples: list

class MLModelBenchmarker:
    def __init__(self, model, device=None):
        self.model = model
    async def benchmark_load(self, iterations=1):
        return Measurement([12.5] * iterations)
    async def benchmark_predict(self, inputs=None, iterations=1, warmup=False):
        assert set(inputs) == {"image"}, "random inputs cannot make an image"
        name = os.path.basename(self.model.path)
        base = {"fp32": 4.0, "fp16": 2.0}.get(name.split("-")[1].split(".")[0], 1.0)
        return Measurement([base / (2 if self.model.compute_unit.name == "CPU_AND_NE" else 1)] * iterations)
"""
_DEBUG = """
class _Output:
    name = "conv_3"
class _Operation:
    outputs = [_Output()]
class MLModelComparator:
    def __init__(self, reference_model, target_model, function_name=None, optimization_hints=None,
                 num_predict_intermediate_outputs=20, reference_device=None, target_device=None):
        assert reference_model.compute_unit.name == "CPU_ONLY"
    async def find_failing_ops(self, inputs, compare_outputs, output_names=None, skip_op=None):
        import numpy as np
        assert compare_outputs(None, np.ones(4), np.ones(4)) and not compare_outputs(None, np.ones(4), np.zeros(4))
        return [_Operation()]
def compute_snr_and_psnr(x, y):
    import numpy as np
    noise = float(np.mean((x - y) ** 2))
    return 0.0, 10 * np.log10((float(np.max(y**2)) + 1e-5) / (noise + 1e-10))
"""
_PLAN = """
from dataclasses import dataclass
class MLCPUComputeDevice: pass
class MLNeuralEngineComputeDevice: pass
@dataclass(frozen=True)
class Named:
    name: str
@dataclass(frozen=True)
class Operation:
    operator_name: str
    outputs: list
@dataclass(frozen=True)
class Usage:
    preferred_compute_device: object
    supported_compute_devices: list
@dataclass(frozen=True)
class Cost:
    weight: float
class Anything:
    def __init__(self, **values):
        self.__dict__.update(values)
OPERATIONS = [Operation(kind, [Named(name)]) for kind, name in
              (("const", "w"), ("conv", "conv_1"), ("relu6", "relu_1"), ("resize_bilinear", "alpha"))]
class MLComputePlan:
    @classmethod
    def load_from_path(cls, path, compute_units=None):
        assert path.endswith(".mlpackagec")
        plan = cls()
        plan.units = compute_units.name
        block = Anything(operations=OPERATIONS)
        plan.model_structure = Anything(program=Anything(functions={"main": Anything(block=block)}))
        return plan
    def get_compute_device_usage_for_mlprogram_operation(self, operation):
        if operation.operator_name == "const":
            return None
        away = self.units == "CPU_ONLY" or operation.operator_name == "resize_bilinear"
        cpu, ne = MLCPUComputeDevice(), MLNeuralEngineComputeDevice()
        return Usage(cpu if away else ne, [cpu] if away else [cpu, ne])
    def get_estimated_cost_for_mlprogram_operation(self, operation):
        return Cost(0.25) if operation.operator_name == "conv" else None
"""


def write(folder: Path) -> None:
    """Write the package."""
    experimental = folder / "coremltools" / "models" / "ml_program" / "experimental"
    experimental.mkdir(parents=True)
    (folder / "coremltools" / "__init__.py").write_text(_ROOT)
    (experimental.parents[1] / "__init__.py").write_text(_MODELS)
    (experimental.parents[1] / "compute_plan.py").write_text(_PLAN)
    (experimental / "perf_utils.py").write_text(_PERF)
    (experimental / "debugging_utils.py").write_text(_DEBUG)
