"""The trunk is what every target expects, and a bad one never gets through."""

from __future__ import annotations

import onnx

from edgemat.export._target import Trunk


def test_names_are_the_modules(trunk: Trunk) -> None:
    model = onnx.load(trunk.path)
    names = [node.name for node in model.graph.node]
    assert names == sorted(set(names), key=names.index)
    assert {"downs.0", "laterals.0.resize", "head"} <= set(names)
    assert all(list(node.output) == [node.name] for node in model.graph.node[:-1])
