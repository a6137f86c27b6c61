"""The stages of training: a frozen configuration in, a checkpoint and weights out, one readable loop."""

from __future__ import annotations

import contextlib
import csv
import math
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from edgemat.errors import EdgematError, InputError
from edgemat.files import write_json
from edgemat.model import weights
from edgemat.model.predict import predict
from edgemat.model.student import Student
from edgemat.train import checkpoint, losses
from edgemat.train.recipe import PlainRecipe

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgemat.data.types import Sample

CHECKPOINT = "checkpoint.safetensors"
WEIGHTS = "student.safetensors"


@dataclass(frozen=True)
class Progress:
    """What a run tells about itself while it runs.

    Attributes:
        step: Steps done.
        steps: Steps in all.
        loss: Mean loss since the last report.
        samples_per_second: Since the last report.
        eta: Seconds to the end at this rate.
        validation: Figures on the validation split at this step, if there were any.
    """

    step: int
    steps: int
    loss: float
    samples_per_second: float
    eta: float
    validation: Mapping[str, float] = field(default_factory=dict)


class _Composites(torch.utils.data.Dataset[tuple[Tensor, Tensor]]):
    """Composites by index as tensors; the compositor makes any index from scratch, so a resumed run needs no state."""

    def __init__(self, sample: Callable[[int], Sample]) -> None:
        self.sample = sample

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        sample = self.sample(index)
        image = torch.from_numpy(np.ascontiguousarray(sample.image.transpose(2, 0, 1)))
        return image, torch.from_numpy(np.round(sample.alpha * 255.0).astype(np.uint8))[None]


def _batches(sample: Callable[[int], Sample], recipe: PlainRecipe, start: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the batches of steps ``start`` and later: images (B, 3, H, W) and alphas (B, 1, H, W), float32, [0, 1]."""
    steps = (range(i * recipe.batch, (i + 1) * recipe.batch) for i in range(start, recipe.steps))
    loader = torch.utils.data.DataLoader(
        _Composites(sample),
        batch_sampler=steps,  # type: ignore[arg-type]  # any iterable of index lists will do
        num_workers=recipe.workers,
        prefetch_factor=4 if recipe.workers else None,
        worker_init_fn=_leave_signals_to_the_loop,
    )
    for image, alpha in loader:
        yield image.float() / 255.0, alpha.float() / 255.0


def _leave_signals_to_the_loop(_: int) -> None:
    """Ignore SIGINT and SIGTERM in a worker: a terminal sends them to all, and the loop ends the run in order."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def _rate(recipe: PlainRecipe, step: int) -> float:
    """Return the learning rate of a step: linear warm-up, then cosine down to a hundredth of the peak."""
    if step < recipe.warmup:
        return recipe.learning_rate * (step + 1) / recipe.warmup
    done = (step - recipe.warmup) / max(1, recipe.steps - recipe.warmup)
    return recipe.learning_rate * (0.01 + 0.99 * 0.5 * (1.0 + math.cos(math.pi * done)))


class _Run:
    """The state of one run: network, average, optimiser and step, with saving and restoring."""

    def __init__(self, recipe: PlainRecipe, init: Path | None) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe = recipe
        self.net = Student(recipe.student)
        if init is not None:
            self.net.load_state_dict(_weights_for(recipe, init))
        self.net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        decay = [p for p in self.net.parameters() if p.ndim == 4]
        rest = [p for p in self.net.parameters() if p.ndim != 4]
        groups = [
            {"params": decay, "weight_decay": recipe.weight_decay},
            {"params": rest, "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=recipe.learning_rate)
        self.ema = {k: v.detach().clone() for k, v in self.net.state_dict().items()}
        self.step = 0

    def update(self, image: Tensor, alpha: Tensor) -> float:
        """Take one optimiser step and return the loss."""
        for group in self.optimizer.param_groups:
            group["lr"] = _rate(self.recipe, self.step)
        image = image.contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16, enabled=self.recipe.bfloat16):
            logits = self.net.logits(image)
        loss = losses.plain(logits.float(), alpha)
        value = float(loss.detach())
        if not math.isfinite(value):
            raise EdgematError(
                f"step {self.step}: the loss is {value}; the last checkpoint is intact. "
                "Lower learning_rate or set bfloat16 = false in the recipe"
            )
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), 1.0)
        self.optimizer.step()
        self.step += 1
        self._average()
        return value

    @torch.no_grad()
    def _average(self) -> None:
        """Move the averaged weights towards the current ones; early on the average follows faster."""
        decay = min(self.recipe.ema, (1.0 + self.step) / (10.0 + self.step))
        for name, value in self.net.state_dict().items():
            if value.dtype.is_floating_point:
                self.ema[name].lerp_(value, 1.0 - decay)
            else:
                self.ema[name].copy_(value)

    def averaged(self) -> Student:
        """Return a network with the averaged weights, ready to predict."""
        net = Student(self.recipe.student)
        net.load_state_dict(self.ema)
        return net.eval()

    def save(self, path: Path) -> None:
        """Write the checkpoint."""
        tensors = {f"model.{k}": v for k, v in self.net.state_dict().items()}
        tensors |= {f"ema.{k}": v for k, v in self.ema.items()}
        for index, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{k}": torch.as_tensor(v) for k, v in state.items()}
        checkpoint.save(checkpoint.Checkpoint(self.step, self.recipe.plain(), tensors), path)

    def restore(self, path: Path) -> None:
        """Go on from a checkpoint.

        Raises:
            InputError: The checkpoint cannot be read or belongs to another recipe.
        """
        saved = checkpoint.load(path)
        mine = self.recipe.plain()
        differs = [k for k in mine if saved.config.get(k) != mine[k] and k not in _MAY_CHANGE]
        if differs:
            pairs = "; ".join(f"{k} was {saved.config.get(k)}, now {mine[k]}" for k in differs)
            raise InputError(f"{path}: made by another recipe ({pairs}); use that recipe, or another --out")
        self.net.load_state_dict(saved.part("model"))
        self.ema = saved.part("ema")
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in saved.part("optimizer").items():
            index, key = name.split(".", 1)
            state.setdefault(int(index), {})[key] = value
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": state, "param_groups": groups})
        self.step = saved.step


def _weights_for(recipe: PlainRecipe, path: Path) -> dict[str, Tensor]:
    """Read the weights to begin with; they must be of the recipe's network."""
    loaded = weights.load(path)
    if loaded.config != recipe.student:
        raise InputError(f"--init {path}: a student of {loaded.config}, the recipe trains {recipe.student}")
    return loaded.net.state_dict()


def _interpolated(trained: Mapping[str, Tensor], first: Mapping[str, Tensor], share: float) -> dict[str, Tensor]:
    """Return the trained tensors with a share of the first ones; whole numbers stay the trained ones."""
    return {
        name: torch.lerp(value, first[name], share) if value.is_floating_point() else value
        for name, value in trained.items()
    }


_MAY_CHANGE = frozenset({"workers", "checkpoint_every", "validate_every", "keep_init"})
"""Fields that do not change how the weights are trained, so that a resumed run may set them anew."""


@contextlib.contextmanager
def _stop_on_signal() -> Iterator[Callable[[], bool]]:
    """Yield a question that turns true at SIGINT or SIGTERM, so that the loop ends between two steps."""
    hit: list[int] = []

    def remember(number: int, _: FrameType | None) -> None:
        hit.append(number)

    before = {s: signal.signal(s, remember) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(hit)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _validate(net: Student, samples: Sequence[Sample]) -> dict[str, float]:
    """Return MAD and IoU on the validation composites, whole frame."""
    from edgemat import metrics

    truth = np.stack([s.alpha for s in samples])
    alpha = predict(net, np.stack([s.image for s in samples]))
    return {"mad": float(np.mean(metrics.mad(alpha, truth))), "iou": float(np.mean(metrics.iou(alpha, truth)))}


def train_plain(
    recipe: PlainRecipe,
    sample: Callable[[int], Sample],
    validation: Sequence[Sample],
    out: Path,
    *,
    card: Mapping[str, str],
    init: Path | None = None,
    on_progress: Callable[[Progress], None] = lambda _: None,
) -> bool:
    """Train a student, going on from ``out``'s checkpoint where there is one.

    SIGINT and SIGTERM end the run between two steps, with a checkpoint; a kill loses the steps since the last one. A
    resumed run gives the same weights as an uninterrupted one.

    Args:
        recipe: What to train and how.
        sample: Makes composite number ``index`` of the training split.
        validation: Composites of the validation split.
        out: Folder for ``checkpoint.safetensors``, ``recipe.json``, ``log.csv`` and, at the end,
            ``student.safetensors``.
        card: Model-card entries that go into the weights' metadata.
        init: Weights to begin with; fresh ones if None. A checkpoint in ``out`` goes before.
        on_progress: Called about every ten seconds and at each validation.

    Returns:
        Whether the run is complete; False when a signal ended it early.

    Raises:
        InputError: The checkpoint in ``out`` belongs to another recipe or is broken, or ``init`` does not fit.
        EdgematError: The loss is not finite.
        OutputError: ``out`` cannot be written.
    """
    if recipe.keep_init and init is None:
        raise InputError(f"keep_init = {recipe.keep_init} keeps a share of the weights of --init; give --init")
    run = _Run(recipe, None if (out / CHECKPOINT).exists() else init)
    if (out / CHECKPOINT).exists():
        run.restore(out / CHECKPOINT)
    write_json(out / "recipe.json", recipe.plain())
    clock, sums = time.monotonic(), [0.0, 0]
    with _stop_on_signal() as stopped:
        for image, alpha in _batches(sample, recipe, run.step):
            sums[0] += run.update(image, alpha)
            sums[1] += 1
            last = run.step == recipe.steps or stopped()
            due = run.step % recipe.validate_every == 0 or run.step == recipe.steps
            if last or run.step % recipe.checkpoint_every == 0:
                run.save(out / CHECKPOINT)
            if due or last or time.monotonic() - clock > 10:
                figures = _validate(run.averaged(), validation) if due else {}
                now = time.monotonic()
                rate = sums[1] * recipe.batch / max(now - clock, 1e-9)
                eta = (recipe.steps - run.step) * recipe.batch / rate
                progress = Progress(run.step, recipe.steps, sums[0] / sums[1], rate, eta, figures)
                _append(out / "log.csv", progress)
                on_progress(progress)
                clock, sums = time.monotonic(), [0.0, 0]
            if stopped():
                break
    if run.step < recipe.steps:
        return False
    net = run.averaged()
    if init is not None and recipe.keep_init:
        net.load_state_dict(_interpolated(net.state_dict(), _weights_for(recipe, init), recipe.keep_init))
    weights.save(net, out / WEIGHTS, card)
    return True


def _append(path: Path, progress: Progress) -> None:
    """Add one line to the run's CSV log; a broken last line of a killed run is left as it is."""
    new = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        if new:
            writer.writerow(["step", "loss", "samples_per_second", "validation_mad", "validation_iou"])
        validation = [progress.validation.get(k, "") for k in ("mad", "iou")]
        writer.writerow([progress.step, f"{progress.loss:.6f}", f"{progress.samples_per_second:.1f}", *validation])
