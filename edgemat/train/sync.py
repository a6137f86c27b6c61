"""Batch normalisation over all processes, so that several that share a batch train as one that has all of it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn import functional

_OVER = (0, 2, 3)
"""All axes of (N, C, H, W) but the channels."""


def synchronize(net: nn.Module, device: torch.device) -> nn.Module:
    """Make a network's batch normalisations take their statistics over all processes.

    They keep their names, parameters and buffers, so that a checkpoint is the same with one process and with many.
    On a CPU, which torch's own synchronised normalisation refuses, `SyncedBatchNorm2d` takes their place; elsewhere
    torch's does.

    Args:
        net: Changed in place, its children; it is no batch normalisation itself.
        device: Where it is trained.

    Returns:
        The same network.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
        >>> type(synchronize(net, torch.device("cpu"))[1]).__name__
        'SyncedBatchNorm2d'
    """
    if device.type != "cpu":
        converted: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(net)  # type: ignore[no-untyped-call]
        return converted
    for parent in list(net.modules()):
        for name, child in parent.named_children():
            if type(child) is nn.BatchNorm2d:
                parent.register_module(name, SyncedBatchNorm2d.like(child))
    return net


class SyncedBatchNorm2d(nn.BatchNorm2d):
    """Batch normalisation whose mean and variance are those of all processes' inputs together.

    Each process's loss is expected to be a mean over its part of the batch, and the processes' gradients to be averaged
    afterwards, as `torch.nn.parallel.DistributedDataParallel` does: then parameters get the whole batch's gradient.
    """

    @classmethod
    def like(cls, norm: nn.BatchNorm2d) -> SyncedBatchNorm2d:
        """Return one that shares the parameters, buffers and settings of ``norm``, which has all of them."""
        synced = cls(norm.num_features, norm.eps, norm.momentum)
        synced.weight, synced.bias = norm.weight, norm.bias
        synced.running_mean, synced.running_var = norm.running_mean, norm.running_var
        synced.num_batches_tracked = norm.num_batches_tracked
        return synced.train(norm.training)

    def forward(self, input: Tensor) -> Tensor:
        """Return the normalised input, (N, C, H, W); while training, update the running statistics."""
        if not self.training:
            return super().forward(input)
        with torch.no_grad():
            # The parameters' type is float32 where the input is bfloat16.
            count, mean, var = _statistics(input.to(self.weight.dtype))
            self._track(mean, var * (count / (count - 1)))
            mean, var = mean.to(self.weight.dtype), var.to(self.weight.dtype)
        result: Tensor = _Normalize.apply(  # type: ignore[no-untyped-call]
            input, self.weight, self.bias, mean, var, count, self.eps
        )
        return result

    def _track(self, mean: Tensor, unbiased: Tensor) -> None:
        """Move the running statistics as `nn.BatchNorm2d` does."""
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        share = 1.0 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), share)
        self.running_var.lerp_(unbiased.to(self.running_var.dtype), share)


def _statistics(x: Tensor) -> tuple[float, Tensor, Tensor]:
    """Return how many values a channel has over all processes, their mean and their biased variance, float64.

    Variances are joined by way of the means' distances (Chan, Golub and LeVeque, 1979): a difference of mean squares
    would lose a variance that is small beside the mean.
    """
    var, mean = torch.var_mean(x, _OVER, correction=0)
    own = torch.cat([mean, var, mean.new_tensor([x.numel() / x.shape[1]])]).double()
    parts = [torch.empty_like(own) for _ in range(distributed.get_world_size())]
    distributed.all_gather(parts, own)
    joined = torch.stack(parts)
    means, variances = joined[:, :-1].chunk(2, 1)
    share = joined[:, -1:] / joined[:, -1:].sum()
    mean = (share * means).sum(0)
    var = (share * (variances + (means - mean).square())).sum(0)
    return float(joined[:, -1].sum()), mean, var


class _Normalize(torch.autograd.Function):
    """Normalise by given statistics; backward knows that these came from the inputs of all processes."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, var: Tensor, count: float, eps: float
    ) -> Tensor:
        ctx.save_for_backward(x, weight, mean, torch.rsqrt(var + eps))
        ctx.count = count
        return functional.batch_norm(x, mean, var, weight, bias, eps=eps)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients.

        Those of weight and bias are this process's own, to be averaged with the others' like all parameters'; that of
        the input needs the sums over all (Ioffe and Szegedy, "Batch normalization", 2015, section 3).
        """
        x, weight, mean, scale = ctx.saved_tensors
        mean, scale, gain = (t.view(1, -1, 1, 1) for t in (mean, scale, weight))
        grad, standard = grads[0].to(mean.dtype), (x.to(mean.dtype) - mean) * scale
        own = torch.stack([grad.sum(_OVER), (grad * standard).sum(_OVER)])
        sums = own.to(torch.float64, copy=True)
        distributed.all_reduce(sums)
        means = (sums / ctx.count).to(mean.dtype).view(2, 1, -1, 1, 1)
        input_grad = gain * scale * (grad - means[0] - standard * means[1])
        return input_grad.to(x.dtype), own[1], own[0], None, None, None, None
