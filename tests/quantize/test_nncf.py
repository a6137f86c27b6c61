"""NNCF, in a process of its own: real, and its results on our grid."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import numpy as np
import pytest

from edgemat.errors import InputError
from edgemat.quantize import graph, rules
from edgemat.quantize.engines import _nncf, quantize
from edgemat.quantize.scheme import SCHEMES, Scheme

from . import nets

if importlib.util.find_spec("nncf") is None:  # never imported here: what it loads must not share a process that forks
    pytest.skip("needs nncf", allow_module_level=True)


def check(scheme: Scheme) -> None:
    model, images = nets.net(), nets.images()
    before = {"nncf", "openvino"} & set(sys.modules)  # another test's own
    made = quantize("nncf", model, images, scheme)
    assert rules.complaints(graph.of(model), made.grid) == []
    assert {"nncf", "openvino"} & set(sys.modules) == before
    if scheme.weight_bits == 4:
        assert any("has no weights of 4 bits" in note for note in made.notes)
        assert made.constants == {}
    else:
        assert any("biases corrected by nncf" in note for note in made.notes)
        assert set(made.constants) <= {"first.bias", "second.bias", "head.bias"}
        there = graph.of(made.model).constants
        assert all(np.array_equal(there[name], value) for name, value in made.constants.items())


def test_on_the_grid() -> None:
    check(Scheme())


@pytest.mark.slow
@pytest.mark.parametrize("scheme", SCHEMES[1:], ids=lambda scheme: scheme.name)
def test_on_other_grids(scheme: Scheme) -> None:
    check(scheme)


def test_a_crash_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(command, -11, "", "first\nSegmentation fault")

    monkeypatch.setattr(_nncf.subprocess, "run", crash)
    with pytest.raises(InputError, match=r"net.onnx: nncf failed \(exit code -11: Segmentation fault\)"):
        quantize("nncf", nets.net(), nets.images(), Scheme(), origin="net.onnx")


def test_its_makers_hear_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, str] = {}

    def look(command: list[str], env: dict[str, str], **_: object) -> subprocess.CompletedProcess[str]:
        seen.update(env)
        return subprocess.CompletedProcess(command, 1, "", "")

    monkeypatch.setattr(_nncf.subprocess, "run", look)
    with pytest.raises(InputError):
        quantize("nncf", nets.net(), nets.images(), Scheme())
    assert seen["NNCF_CI"]
