"""Apple's own converter from torch writes packages too; the interpreter agrees with torch on what those hold.

So the interpreter's reading of MIL is not merely the mirror image of this project's writer.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from edgemat.export.coreml import TARGET, _coremltools
from edgemat.model.student import Student, StudentConfig

SIZE = 16


class Then(nn.Module):
    """A convolution to eight channels, then a function."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.mix = nn.Conv2d(3, 8, 3, padding=1)
        self.function = function

    def forward(self, image: Tensor) -> Tensor:
        return self.function(self.mix(image))


CASES: dict[str, Callable[[], nn.Module]] = {
    "student": lambda: Student(StudentConfig()).deploy(),
    "mobile": lambda: Student(StudentConfig(arch="mobile")).deploy(),
    "conv": lambda: nn.Conv2d(3, 6, (3, 2), stride=(2, 1), padding=(1, 0), dilation=(1, 2), groups=3),
    "transposed": lambda: nn.ConvTranspose2d(3, 6, (4, 3), stride=2, padding=1, groups=3),
    "bilinear": lambda: Then(lambda x: functional.interpolate(x, scale_factor=2, mode="bilinear")),
    "corners": lambda: Then(lambda x: functional.interpolate(x, scale_factor=3, mode="bilinear", align_corners=True)),
    "nearest": lambda: Then(lambda x: functional.interpolate(x, scale_factor=2, mode="nearest")),
    "shuffle": lambda: Then(lambda x: functional.pixel_shuffle(x, 2)),
    "max-pool": lambda: Then(lambda x: functional.max_pool2d(x, 3, 2, 1)),
    "average-pool": lambda: Then(lambda x: functional.avg_pool2d(x, 3, 2, 1, count_include_pad=False)),
    "average-pool-padded": lambda: Then(lambda x: functional.avg_pool2d(x, 3, 2, 1)),
    "global-pool": lambda: Then(lambda x: functional.adaptive_avg_pool2d(x, 1)),
    "pad": lambda: Then(lambda x: functional.pad(x, (1, 2, 3, 4), value=0.5)),
    "clamp": lambda: Then(lambda x: functional.relu6(x.clamp(-0.2, 0.3) + x.sigmoid() / 3 - 0.1)),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("case", CASES)
def test_interpreter_agrees_with_torch_on_the_other_writers_package(case: str, tmp_path: Path) -> None:
    torch.manual_seed(9)
    net = CASES[case]().eval()
    size = 32 if case in ("student", "mobile") else SIZE
    ct: Any = _coremltools.load()
    with _coremltools.no_progress_bars(), torch.inference_mode():
        image = ct.ImageType(name="image", shape=(1, 3, size, size), scale=1 / 255)
        ct.convert(
            torch.jit.trace(net, torch.zeros(1, 3, size, size)),
            inputs=[image],
            outputs=[ct.TensorType(name="alpha")],
            minimum_deployment_target=ct.target.iOS16,
            compute_precision=ct.precision.FLOAT32,
            skip_model_load=True,
        ).save(str(tmp_path / "other.mlpackage"))
    pixels = np.random.default_rng(5).integers(0, 256, (size, size, 3)).astype(np.uint8)
    with torch.inference_mode():
        expected = net(torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255).numpy()
    with TARGET.load(tmp_path / "other.mlpackage") as runner:
        found = runner.trace(pixels)["alpha"]
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= 1e-5
