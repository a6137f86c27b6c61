"""Resize semantics: where an operator samples, how it rounds, whether its size is fixed."""

from __future__ import annotations

from collections.abc import Iterator

from edgemat.verify.lint import sampling
from edgemat.verify.lint.facts import Facts, Resize, plain
from edgemat.verify.lint.finding import ERROR, WARNING, Place
from edgemat.verify.lint.rule import rule

_ONNX = "https://onnx.ai/onnx/operators/onnx__Resize.html"


def _words(resize: Resize) -> str:
    return " ".join(filter(None, (resize.mode, resize.coordinates, resize.nearest)))


def _pairs(facts: Facts) -> Iterator[tuple[Resize, Resize]]:
    """Yield each resize with the trunk's of the same tensor."""
    if facts.trunk is not None:
        known = {plain(resize.tensor): resize for resize in facts.trunk.resizes}
        for resize in facts.resizes:
            if plain(resize.tensor) in known:
                yield resize, known[plain(resize.tensor)]


@rule(
    "EM010",
    "resize-differs",
    ERROR,
    "A resize samples elsewhere than the trunk's.",
    why="The matte shifts by a part of a pixel at every level; means of errors hardly move, edges do.",
    fix="Give the converter the trunk's coordinates; half_pixel is PyTorch's align_corners=False.",
    source=_ONNX,
)
def differs(facts: Facts) -> Iterator[Place]:
    """Yield resizes whose places or mode are not the trunk's."""
    for resize, wanted in _pairs(facts):
        if resize.mode != wanted.mode:
            yield Place(f"{_words(resize)}, the trunk has {_words(wanted)}", resize.op, resize.tensor)
            continue
        far = sampling.apart(resize, wanted)
        if far is None and (resize.coordinates, resize.nearest) != (wanted.coordinates, wanted.nearest):
            found = f"{_words(resize)}, the trunk has {_words(wanted)}; how far apart they sample cannot be told"
            yield Place(found, resize.op, resize.tensor, level=WARNING)
        elif far is not None and far > sampling.TOLERANCE:
            found = f"{_words(resize)} samples up to {far:.3g} source pixels from the trunk's {_words(wanted)}"
            yield Place(found, resize.op, resize.tensor)


@rule(
    "EM011",
    "resize-not-half-pixel",
    WARNING,
    "A bilinear resize aligns corners or cuts coordinates, and no trunk says that it should.",
    why="Networks trained with align_corners=False, PyTorch's default, need half-pixel centres; else edges shift.",
    fix="Compare with the training code; export with half-pixel centres if it has align_corners=False.",
    source=_ONNX,
)
def not_half_pixel(facts: Facts) -> Iterator[Place]:
    """Yield bilinear resizes of a bare file with other coordinates than half-pixel."""
    for resize in facts.resizes if facts.trunk is None else ():
        if resize.mode == "linear" and "half_pixel" not in resize.coordinates:
            yield Place(f"bilinear with {resize.coordinates}", resize.op, resize.tensor)


@rule(
    "EM012",
    "nearest-rounding",
    WARNING,
    "A nearest resize depends on how a runtime rounds a place in the middle between two pixels.",
    why="Runtimes round there differently, and a format that cannot state the rounding gives its own.",
    fix="Enlarge by a whole factor with asymmetric coordinates and floor, which all runtimes share, or use bilinear.",
    source=_ONNX,
)
def rounding(facts: Facts) -> Iterator[Place]:
    """Yield nearest resizes that another rounding would change."""
    for resize in facts.resizes:
        if resize.mode != "nearest":
            continue
        own = sampling.places(resize)
        if own is None:
            yield Place(f"{_words(resize)}: its places cannot be told", resize.op, resize.tensor)
            continue
        others = [sampling.apart(resize, _rounded(resize, how)) for how in ("round_prefer_floor", "round_prefer_ceil")]
        plain_floor = resize.coordinates == "asymmetric" and resize.nearest == "floor" and _whole(resize)
        if not plain_floor and any(other is None or other > 0 for other in others):
            yield Place(f"{_words(resize)}: another rounding takes other pixels", resize.op, resize.tensor)


def _rounded(resize: Resize, how: str) -> Resize:
    import dataclasses

    return dataclasses.replace(resize, nearest=how)


def _whole(resize: Resize) -> bool:
    if resize.before is None or resize.after is None:
        return False
    return all(after % before == 0 for before, after in zip(resize.before, resize.after, strict=True))


@rule(
    "EM013",
    "resize-computed-size",
    WARNING,
    "The size of a resize is computed while the network runs.",
    why="Compilers for NPUs and delegates for GPUs want a constant; else the operator, or the graph, falls to the CPU.",
    fix="Export with fixed sizes (edgemat export --size HxW) and fold constants before converting.",
    source="https://github.com/google-ai-edge/LiteRT/blob/main/tflite/tools/versioning/gpu_compatibility.cc",
)
def computed(facts: Facts) -> Iterator[Place]:
    """Yield resizes whose scales or sizes are no constants."""
    for resize in facts.resizes:
        if resize.computed:
            yield Place(f"{_words(resize)}: neither scales nor sizes are constants", resize.op, resize.tensor)


@rule(
    "EM014",
    "resize-fraction",
    WARNING,
    "A resize enlarges or shrinks by a factor that is not whole.",
    why="Runtimes that derive the factor from the sizes and those that take it as stated sample at different places.",
    fix="Choose an input size of which every level is a whole multiple, such as a multiple of 32.",
)
def fraction(facts: Facts) -> Iterator[Place]:
    """Yield resizes between sizes of which neither is a whole multiple of the other."""
    for resize in facts.resizes:
        if resize.before is None or resize.after is None:
            continue
        sides = list(zip(resize.before, resize.after, strict=True))
        if any(max(pair) % min(pair) for pair in sides):
            words = " x ".join(f"{after / before:.4g}" for before, after in sides)
            yield Place(f"{resize.before} to {resize.after}, factors {words}", resize.op, resize.tensor)


@rule(
    "EM015",
    "resize-mode",
    WARNING,
    "A resize uses a mode or a setting that few runtimes have.",
    why="Cubic interpolation, antialiasing and excluded borders exist in ONNX, but in no known mobile delegate.",
    fix="Use plain bilinear or nearest inside the network.",
    source=_ONNX,
)
def mode(facts: Facts) -> Iterator[Place]:
    """Yield resizes other than plain linear and nearest ones."""
    for resize in facts.resizes:
        odd = [*([] if resize.mode in ("linear", "nearest") else [f"mode {resize.mode}"]), *resize.extras]
        if odd:
            yield Place(f"{', '.join(odd)}; expected plain linear or nearest", resize.op, resize.tensor)
