"""The process that runs NNCF: ``python -m edgemat.quantize.engines._nncf_process FOLDER``, with files in and out."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

from edgemat.quantize.observe import to_float


def main(folder: Path) -> None:
    """Quantize ``float.onnx`` on ``images.npy`` as ``options.json`` says, into ``quantized.onnx``."""
    import nncf
    import onnx
    from nncf.quantization.advanced_parameters import (
        AdvancedQuantizationParameters,
        OverflowFix,
        QuantizationParameters,
    )
    from nncf.quantization.range_estimator import RangeEstimatorParameters, RangeEstimatorParametersSet

    options = json.loads((folder / "options.json").read_text(encoding="utf-8"))
    model = onnx.load(folder / "float.onnx")
    images = np.load(folder / "images.npy", allow_pickle=False)
    ranges = {
        "minmax": RangeEstimatorParametersSet.MINMAX,
        "percentile": RangeEstimatorParametersSet.MEAN_QUANTILE,
        "histogram": RangeEstimatorParametersSet.HISTOGRAM,
    }
    advanced = AdvancedQuantizationParameters(
        overflow_fix=OverflowFix.DISABLE,  # it halves weights for x86 without VNNI; phones accumulate in 32 bits
        disable_bias_correction=options["method"] == "uncorrected",
        activations_quantization_params=QuantizationParameters(per_channel=False),
        activations_range_estimator_params=ranges.get(options["method"], RangeEstimatorParameters()),
    )
    presets = nncf.QuantizationPreset
    quantized = nncf.quantize(
        model,
        nncf.Dataset(list(images), lambda image: {model.graph.input[0].name: to_float(image)}),
        preset=presets.PERFORMANCE if options["symmetric"] else presets.MIXED,
        subset_size=len(images),
        fast_bias_correction=options["method"] != "accurate",
        ignored_scope=nncf.IgnoredScope(names=options["kept"]) if options["kept"] else None,
        advanced_parameters=advanced,
    )
    onnx.save(quantized, folder / "quantized.onnx")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
