"""An engine: honest where none can be built; the way to one and through it, with a fake TensorRT."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from edgemat.errors import InputError
from edgemat.export._target import Trunk, Unavailable
from edgemat.export.tensorrt import TARGET, _engine
from edgemat.export.tensorrt._runner import GraphRunner, load

Images = npt.NDArray[np.uint8]
FAKE = Path(__file__).with_name("fake")


@pytest.fixture(scope="module")
def whole(sym_trunk: Trunk, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("whole") / "student.tensorrt.onnx"
    TARGET.convert(sym_trunk, "int8", path)
    return path


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every child find a TensorRT and a GPU, and ours find that there is one."""
    monkeypatch.setenv("PYTHONPATH", str(FAKE))
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: found("json") if name == "tensorrt" else found(name, *a)
    )


@pytest.mark.skipif(importlib.util.find_spec("tensorrt") is not None, reason="TensorRT is here")
def test_without_tensorrt_the_graph_runs_and_nothing_is_claimed(whole: Path) -> None:
    missing = _engine.unavailable()
    assert isinstance(missing, Unavailable)
    assert "tensorrt" in missing.reason
    assert not _engine.timed(whole)
    with load(whole) as runner:
        assert isinstance(runner, GraphRunner)


@pytest.mark.usefixtures("fake")
def test_an_engine_is_built_run_and_timed(whole: Path, images: Images) -> None:
    assert _engine.unavailable() is None
    with load(whole) as runner, GraphRunner(whole) as graph:
        assert isinstance(runner, _engine.EngineRunner)
        assert np.abs(runner.run(images) - graph.run(images)).mean() < 0.01  # ONNX Runtime fuses it here
        np.testing.assert_array_equal(runner.codes(images[0])["alpha"], graph.codes(images[0])["alpha"])
        assert set(runner.trace(images[0])) == set(graph.trace(images[0]))
    figures = _engine.timed(whole, runs=3)
    assert isinstance(figures, _engine.Timing)
    assert figures.device == "a fake"
    assert figures.build_seconds > 0
    assert figures.median_ms > 0


@pytest.mark.usefixtures("fake")
@pytest.mark.parametrize(("fault", "what"), [("parse", "Invalid Node - downs.0"), ("build", "builds no engine")])
def test_a_refusal_is_an_input_error(whole: Path, fault: str, what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_TENSORRT_FAULT", fault)
    with pytest.raises(InputError, match=what):
        load(whole)


@pytest.mark.usefixtures("fake")
def test_no_gpu_or_an_old_tensorrt_is_unavailable(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_TENSORRT_FAULT", "gpu")
    assert isinstance(_engine.timed(whole), Unavailable)
    monkeypatch.setenv("FAKE_TENSORRT", "8.6.1")
    missing = _engine.unavailable()
    assert missing is not None
    assert "8.6.1, expected 10 or later" in missing.reason
