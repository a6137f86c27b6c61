"""What other engines state is taken, completed and settled on the grid; ONNX Runtime's quantizer is one of them."""

from __future__ import annotations

import importlib.util
import logging

import numpy as np
import onnx
import pytest

from edgemat.errors import BackendMissingError, InputError, UnsupportedOpError
from edgemat.quantize import engines, graph, rules
from edgemat.quantize.engines import ENGINES, _ort, quantize
from edgemat.quantize.extract import extract
from edgemat.quantize.scheme import SCHEMES, Scheme

from . import nets


@pytest.mark.parametrize("method", ENGINES["ort"])
@pytest.mark.parametrize("scheme", SCHEMES, ids=lambda scheme: scheme.name)
def test_onnxruntime(method: str, scheme: Scheme, capfd: pytest.CaptureFixture[str]) -> None:
    model, images = nets.net(), nets.images()
    made = quantize("ort", model, images, scheme, method)
    assert rules.complaints(graph.of(model), made.grid) == []
    assert (made.engine, made.method, made.constants) == ("ort", method, {})
    assert made.grid.passport["engine"] == "ort"
    assert any("has no weights of 4 bits" in note for note in made.notes) == (scheme.weight_bits == 4)
    assert capfd.readouterr().out == ""  # its tables would spoil --json
    assert logging.getLogger().level != logging.ERROR


def test_a_stated_scale_is_taken_as_it_is() -> None:
    model, images = nets.net(), nets.images()
    stated = extract(_ort.run(model, images, Scheme(), "minmax", frozenset(), "x"))
    made = quantize("ort", model, images, Scheme(), "minmax")
    for name in ("first.relu", "second", "sum.relu"):
        assert [made.grid.activations[name]] == list(stated.activations[name])
    there = {node.name: node for node in stated.graph.nodes}
    for name in ("first", "second", "head"):
        scales = stated.weights[there[name].inputs[1]].scales
        assert np.array_equal(
            made.grid.weights[f"{name}.weight"], np.broadcast_to(scales, made.grid.weights[f"{name}.weight"].shape)
        )


def test_kept_nodes_stay_float() -> None:
    made = quantize("ort", nets.net(), nets.images(), Scheme(), kept=frozenset({"second"}))
    assert "second.weight" not in made.grid.weights
    assert rules.complaints(graph.of(nets.net()), made.grid) == []


def test_what_an_engine_leaves_out_is_calibrated_and_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    real = _ort.run

    def partly(model: onnx.ModelProto, *rest: object) -> onnx.ModelProto:
        result = real(model, *rest)  # type: ignore[arg-type]
        (first,) = (n for n in result.graph.node if n.op_type == "QuantizeLinear" and n.input[0] == "second")
        last = next(n for n in result.graph.node if first.output[0] in n.input)
        for node in result.graph.node:
            node.input[:] = ["second" if name == last.output[0] else name for name in node.input]
        result.graph.node.remove(first)
        result.graph.node.remove(last)
        return result

    monkeypatch.setattr(_ort, "run", partly)
    made = quantize("ort", nets.net(), nets.images(), Scheme())
    assert "second: no scale by ort; calibrated by the grid's own least squares" in made.notes
    assert rules.complaints(graph.of(nets.net()), made.grid) == []


def test_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    model, images = nets.net(), nets.images()
    with pytest.raises(InputError, match="engine 'magic' is not known; expected one of grid, nncf, ort"):
        quantize("magic", model, images, Scheme())
    with pytest.raises(InputError, match="engine ort has no method 'mse'; expected one of minmax, entropy, percentile"):
        quantize("ort", model, images, Scheme(), "mse")
    with pytest.raises(UnsupportedOpError, match="same"):
        quantize("ort", nets.net(extra="Softplus"), images, Scheme())
    with pytest.raises(InputError, match="no calibration images"):
        quantize("ort", model, images[:0], Scheme())
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BackendMissingError, match=r"nncf not installed; pip install 'edgemat\[nncf\]'"):
        engines.check("nncf", None)


def test_a_failing_quantizer_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    import onnxruntime.quantization as quantization

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("out of luck")

    monkeypatch.setattr(quantization, "quantize_static", fail)
    with pytest.raises(InputError, match=r"net.onnx: ONNX Runtime's quantizer failed \(out of luck\)"):
        quantize("ort", nets.net(), nets.images(), Scheme(), origin="net.onnx")
