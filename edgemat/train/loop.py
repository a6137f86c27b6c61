"""The training loop: a stage and a source of examples in, checkpoints and weights out, on one process or several."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from edgemat.errors import EdgematError, InputError
from edgemat.files import atomic_path, remove_leftovers
from edgemat.train import checkpoint, processes
from edgemat.train.batches import Batch, Source, batches
from edgemat.train.monitor import EarlyStopping, Monitor, Progress
from edgemat.train.recipe import Recipe
from edgemat.train.stages import TOTAL, Stage
from edgemat.train.sync import synchronize

if TYPE_CHECKING:
    from accelerate import Accelerator

    from edgemat.data.types import Sample

CHECKPOINT = "checkpoint.safetensors"
REPORT_SECONDS = 10.0

_MAY_CHANGE = frozenset({"workers", "checkpoint_every", "keep_init"})
"""Fields that do not change how the weights are trained, so that a resumed run may set them anew."""


class _Logits(nn.Module):
    """Calls a network's ``logits`` as its forward, which is where several processes' gradients are joined."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, image: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        logits: Callable[[Tensor], Tensor | tuple[Tensor, Tensor]] = self.net.logits  # type: ignore[assignment]
        return logits(image)


class Run:
    """The state of one run: network, average, optimiser, step and the best so far, with saving and restoring."""

    def __init__(self, stage: Stage, init: Path | None, engine: Accelerator) -> None:
        """Begin a run with fresh weights or those of ``init``."""
        torch.manual_seed(stage.recipe.seed)
        self.stage, self.recipe, self.engine = stage, stage.recipe, engine
        self.net = stage.build(init).to(engine.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        if engine.num_processes > 1:
            synchronize(self.net, engine.device)
        decay = [p for p in self.net.parameters() if p.ndim == 4]
        rest = [p for p in self.net.parameters() if p.ndim != 4]
        groups = [
            {"params": decay, "weight_decay": self.recipe.weight_decay},
            {"params": rest, "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=self.recipe.learning_rate)
        self.logits = engine.prepare_model(_Logits(self.net))
        processes.expect_data_parallel(engine, self.logits)
        self.ema = {k: v.detach().clone() for k, v in self.net.state_dict().items()}
        self.best: dict[str, Tensor] = {}
        self.stopping = EarlyStopping(self.recipe.patience)
        self.step = 0

    def update(self, batch: Batch) -> dict[str, float]:
        """Take one optimiser step and return the terms of the loss, over all processes."""
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.recipe, self.step)
        batch = self.stage.prepare(batch.to(self.engine.device))
        with torch.autocast(self.engine.device.type, torch.bfloat16, enabled=self.recipe.bfloat16):
            outputs = self.logits(batch.image)
        outputs = outputs.float() if isinstance(outputs, Tensor) else tuple(o.float() for o in outputs)
        terms = self.stage.losses(outputs, batch, self.step)
        told = self.engine.reduce(torch.stack([t.detach() for t in terms.values()]), "mean").tolist()
        values = dict(zip(terms, told, strict=True))
        if not math.isfinite(values[TOTAL]):
            raise EdgematError(
                f"step {self.step}: the loss is {values[TOTAL]}; the last checkpoint is intact. "
                "Lower learning_rate or set bfloat16 = false in the recipe"
            )
        self.optimizer.zero_grad(set_to_none=True)
        terms[TOTAL].backward()  # type: ignore[no-untyped-call]
        for parameter in self.stage.held(self.net, self.step):
            parameter.grad = None  # the optimiser passes it over
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), 1.0)
        self.optimizer.step()
        self.step += 1
        self._average()
        return values

    @torch.no_grad()
    def _average(self) -> None:
        """Move the averaged weights towards the current ones; early on the average follows faster."""
        decay = min(self.recipe.ema, (1.0 + self.step) / (10.0 + self.step))
        for name, value in self.net.state_dict().items():
            if value.dtype.is_floating_point:
                self.ema[name].lerp_(value, 1.0 - decay)
            else:
                self.ema[name].copy_(value)

    def averaged(self, state: Mapping[str, Tensor] | None = None) -> nn.Module:
        """Return a network on the CPU with the averaged weights, or those given, ready to predict."""
        net = self.stage.build(None)
        net.load_state_dict({k: v.cpu() for k, v in (state or self.ema).items()})
        return net.eval()

    def judge(self, mad: float) -> None:
        """Remember the averaged weights if they are the best so far, where the recipe can end early."""
        before = self.stopping.best_step
        self.stopping = self.stopping.after(self.step, mad)
        if self.recipe.patience and self.stopping.best_step != before:
            self.best = {k: v.detach().clone() for k, v in self.ema.items()}

    def save(self, path: Path) -> None:
        """Write the checkpoint."""
        tensors = {f"model.{k}": v for k, v in self.net.state_dict().items()}
        tensors |= {f"ema.{k}": v for k, v in self.ema.items()} | {f"best.{k}": v for k, v in self.best.items()}
        for index, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{k}": torch.as_tensor(v) for k, v in state.items()}
        stopping = asdict(self.stopping)
        tensors |= {f"stopping.{k}": torch.tensor(float(v), dtype=torch.float64) for k, v in stopping.items()}
        config = {**self.recipe.plain(), "constants": dict(self.stage.constants)}
        checkpoint.save(checkpoint.Checkpoint(self.step, config, tensors), path)

    def _shapes(self, best: Mapping[str, Tensor]) -> dict[str, torch.Size]:
        """Return what a checkpoint must hold; the best weights only where it has any."""
        state = {k: v.shape for k, v in self.net.state_dict().items()}
        parts = ("model", "ema", "best") if best else ("model", "ema")
        shapes = {f"{part}.{k}": shape for part in parts for k, shape in state.items()}
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        for index, p in enumerate(parameters):
            shapes |= {f"optimizer.{index}.{k}": p.shape for k in ("exp_avg", "exp_avg_sq")}
            shapes[f"optimizer.{index}.step"] = torch.Size()
        return shapes | {f"stopping.{k}": torch.Size() for k in ("best", "best_step", "bad")}

    def restore(self, path: Path) -> None:
        """Go on from a checkpoint.

        Raises:
            InputError: The checkpoint cannot be read, lacks something, or belongs to another recipe or teacher.
        """
        saved = checkpoint.load(path)
        mine = self.recipe.plain()
        differs = [k for k in mine if saved.config.get(k) != mine[k] and k not in _MAY_CHANGE]
        if differs:
            pairs = "; ".join(f"{k} was {saved.config.get(k)}, now {mine[k]}" for k in differs)
            raise InputError(f"{path}: made by another recipe ({pairs}); use that recipe, or another --out")
        _expect_constants(saved.config.get("constants"), self.stage.constants, path)
        saved.expect(self._shapes(saved.part("best")), path)
        self.net.load_state_dict(saved.part("model"))
        for name, value in saved.part("ema").items():
            self.ema[name].copy_(value)
        self.best = {k: v.to(self.engine.device) for k, v in saved.part("best").items()}
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in saved.part("optimizer").items():
            index, key = name.split(".", 1)
            state.setdefault(int(index), {})[key] = value
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": state, "param_groups": groups})
        kept = {k: float(v) for k, v in saved.part("stopping").items()}
        self.stopping = EarlyStopping(
            self.recipe.patience, best=kept["best"], best_step=int(kept["best_step"]), bad=int(kept["bad"])
        )
        self.step = saved.step


def _expect_constants(was: object, now: Mapping[str, float], path: Path) -> None:
    """Refuse to go on with another teacher or float student; last digits differ from machine to machine."""
    if not isinstance(was, Mapping):
        return  # an earlier version did not note them
    for name in {**was, **now}:
        before, after = was.get(name, math.nan), now.get(name, math.nan)
        if not math.isclose(before, after, rel_tol=1e-3):
            raise InputError(
                f"{path}: made with another --teacher or --init ({name} was {before:.6g}, now {after:.6g}); "
                "give that one, or another --out"
            )


def learning_rate(recipe: Recipe, step: int) -> float:
    """Return the learning rate of a step: linear warm-up, then cosine down to a hundredth of the peak.

    Args:
        recipe: Its peak, warm-up and steps count.
        step: From 0.
    """
    if step < recipe.warmup:
        return recipe.learning_rate * (step + 1) / recipe.warmup
    done = (step - recipe.warmup) / max(1, recipe.steps - recipe.warmup)
    return recipe.learning_rate * (0.01 + 0.99 * 0.5 * (1.0 + math.cos(math.pi * done)))


@dataclass
class _Tally:
    """Means of the losses and the rate since the last report."""

    clock: float
    sums: dict[str, float]
    steps: int = 0

    @classmethod
    def begin(cls) -> _Tally:
        return cls(time.monotonic(), {})

    def add(self, values: Mapping[str, float]) -> None:
        self.sums = {k: self.sums.get(k, 0.0) + v for k, v in values.items()}
        self.steps += 1

    @property
    def seconds(self) -> float:
        return max(time.monotonic() - self.clock, 1e-9)

    def progress(self, run: Run, validation: Mapping[str, float]) -> Progress:
        rate = self.steps * run.recipe.batch / self.seconds
        return Progress(
            step=run.step,
            steps=run.recipe.steps,
            losses={k: v / self.steps for k, v in self.sums.items()},
            samples_per_second=rate,
            eta=(run.recipe.steps - run.step) * run.recipe.batch / rate,
            learning_rate=learning_rate(run.recipe, run.step - 1),
            validation=validation,
            best_step=run.stopping.best_step if run.stopping.best < math.inf else None,
        )


def _validate(run: Run, samples: Sequence[Sample], monitor: Monitor) -> dict[str, float]:
    """Return MAD and IoU on the validation composites, whole frame, and show some of them."""
    from edgemat import metrics

    images, truth = np.stack([s.image for s in samples]), np.stack([s.alpha for s in samples])
    alpha, uncertainty = run.stage.predict(run.averaged(), images)
    monitor.sheet(run.step, images, truth, alpha, uncertainty)
    return {"mad": float(np.mean(metrics.mad(alpha, truth))), "iou": float(np.mean(metrics.iou(alpha, truth)))}


def train(
    stage: Stage,
    source: Source,
    validation: Sequence[Sample],
    out: Path,
    *,
    card: Mapping[str, str],
    init: Path | None = None,
    on_progress: Callable[[Progress], None] = lambda _: None,
) -> bool:
    """Train a stage's network, going on from ``out``'s checkpoint where there is one.

    SIGINT and SIGTERM end the run between two steps, with a checkpoint; a kill loses the steps since the last one. A
    resumed run gives the same weights as an uninterrupted one. Under ``accelerate launch`` the processes share each
    batch; the first of them validates, reports and writes.

    Args:
        stage: What to train.
        source: Where examples come from.
        validation: Composites of the validation split.
        out: Folder for ``checkpoint.safetensors``, ``recipe.toml``, the logs and, at the end, the weights.
        card: Model-card entries that go into the weights' metadata.
        init: Weights to begin with; fresh ones if None. A checkpoint in ``out`` goes before.
        on_progress: Called about every ten seconds and at each validation.

    Returns:
        Whether the run is complete; False when a signal ended it early.

    Raises:
        InputError: The checkpoint in ``out`` belongs to another recipe or is broken, ``init`` does not fit, or the
            batch cannot be shared evenly.
        EdgematError: The loss is not finite.
        OutputError: ``out`` cannot be written.
    """
    recipe, engine = stage.recipe, processes.start()
    run = _begun(stage, out, init, engine)
    monitor = None
    if engine.is_main_process:
        monitor = Monitor(out, run.step, on_progress)
        remove_leftovers(out / CHECKPOINT)
        with atomic_path(out / "recipe.toml") as temporary:
            temporary.write_text(recipe.to_toml(), encoding="utf-8")
    tally = _Tally.begin()
    with processes.blame_the_right_one(engine), processes.stop_on_signal(engine) as stopped:
        ended = run.stopping.should_stop  # a run that ended early is complete when it is started again
        todo = () if ended else batches(source, recipe, run.step, engine.process_index, engine.num_processes)
        for batch in todo:
            tally.add(run.update(batch))
            stop = stopped()
            due = run.step % recipe.validate_every == 0 or run.step == recipe.steps
            figures: dict[str, float] = {}
            if due and monitor is not None:
                figures = _validate(run, validation, monitor)
            if due:
                run.judge(processes.agreed(engine, figures.get("mad", 0.0)))
            last = stop or run.step == recipe.steps or run.stopping.should_stop
            # Reported before saved: rows after the last checkpoint are dropped and made again, missing ones are not.
            if monitor is not None and (due or last or tally.seconds > REPORT_SECONDS):
                monitor.report(tally.progress(run, figures))
                tally = _Tally.begin()
            if monitor is not None and (last or run.step % recipe.checkpoint_every == 0):
                run.save(out / CHECKPOINT)
            if last:
                break
    if monitor is not None:
        monitor.close()
    if run.step < recipe.steps and not run.stopping.should_stop:
        return False
    if monitor is not None:
        stage.save(run.averaged(run.best), out / stage.weights_name, {**card, **_told(stage, run)}, init)
    engine.wait_for_everyone()
    return True


def _begun(stage: Stage, out: Path, init: Path | None, engine: Accelerator) -> Run:
    """Return a new run, or that of the folder's checkpoint; every process must begin at the same step."""
    stage.check(init)
    if stage.recipe.batch % engine.num_processes:
        raise InputError(f"batch = {stage.recipe.batch} cannot be shared evenly by {engine.num_processes} processes")
    saved = out / CHECKPOINT
    run = Run(stage, None if saved.exists() else init, engine)
    if saved.exists():
        run.restore(saved)
    processes.expect_one_beginning(engine, run.step, out)
    return run


def _told(stage: Stage, run: Run) -> dict[str, str]:
    """Return what the card should say of how the run went."""
    told = {k: f"{v:.6g}" for k, v in stage.constants.items()}
    kept = run.stopping.best_step if run.best else run.step
    return {**told, "steps": f"{kept} of {stage.recipe.steps}"}
