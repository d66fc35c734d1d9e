"""Optimisers, chosen by name under `train.optimizer`. A factory gets the parameters; its options are keyword-only."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from seqkit.types import Choice, NonNegative, Positive, Share

if TYPE_CHECKING:
    import torch


def adamw(
    params: Iterable[torch.nn.Parameter],
    /,
    *,
    lr: Positive = 1e-3,
    beta1: Share = 0.9,
    beta2: Share = 0.999,
    eps: Positive = 1e-8,
    weight_decay: NonNegative = 0.01,
) -> torch.optim.Optimizer:
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019, arXiv:1711.05101).

    Args:
        lr: learning rate.
        beta1: decay of the mean of gradients.
        beta2: decay of the mean of squared gradients.
        eps: added to the root of the second mean.
        weight_decay: share of each weight subtracted per step and unit of lr; biases and gains do not decay.
    """
    from seqkit.optim.eager import AdamW

    groups = _decay_groups(params, weight_decay)
    return AdamW(groups, lr=lr, betas=(beta1, beta2), eps=eps, fused=True)


def lazy_adamw(
    params: Iterable[torch.nn.Parameter],
    /,
    *,
    lr: Positive = 1e-3,
    beta1: Share = 0.9,
    beta2: Share = 0.999,
    eps: Positive = 1e-8,
    weight_decay: NonNegative = 0.01,
) -> torch.optim.Optimizer:
    """AdamW that does not change the vectors of symbols that no batch of the step read: for large vocabularies.

    It is another algorithm than adamw, which changes all vectors at each step, by what is left of earlier gradients and
    by weight decay. Here the vector of a symbol, its moments and its decay stand still until the symbol is read again,
    so the cost of a step is that of its own symbols, however many there are. All other weights, and vectors that the
    head also uses as output weights (`tied`), are updated as by adamw. See `seqkit.optim.lazy_adamw`.

    Args:
        lr: learning rate.
        beta1: decay of the mean of gradients.
        beta2: decay of the mean of squared gradients.
        eps: added to the root of the second mean.
        weight_decay: share of each weight subtracted per step and unit of lr; biases and gains do not decay.
    """
    from seqkit.optim.lazy_adamw import LazyAdamW

    groups = _decay_groups(params, weight_decay)
    return LazyAdamW(groups, lr=lr, betas=(beta1, beta2), eps=eps, fused=True)


def adam(
    params: Iterable[torch.nn.Parameter],
    /,
    *,
    lr: Positive = 1e-3,
    beta1: Share = 0.9,
    beta2: Share = 0.999,
    eps: Positive = 1e-8,
) -> torch.optim.Optimizer:
    """Adam (Kingma and Ba 2015, arXiv:1412.6980).

    Args:
        lr: learning rate.
        beta1: decay of the mean of gradients.
        beta2: decay of the mean of squared gradients.
        eps: added to the root of the second mean.
    """
    from seqkit.optim.eager import Adam

    return Adam(list(params), lr=lr, betas=(beta1, beta2), eps=eps, fused=True)


def sgd(
    params: Iterable[torch.nn.Parameter],
    /,
    *,
    lr: Positive = 0.1,
    momentum: Share = 0.0,
    nesterov: bool = False,
    weight_decay: NonNegative = 0.0,
) -> torch.optim.Optimizer:
    """Stochastic gradient descent, with momentum if asked for.

    Args:
        lr: learning rate.
        momentum: share of the last update that is added to the next.
        nesterov: Nesterov's momentum, which looks ahead; needs momentum.
        weight_decay: L2 penalty on weights; biases and gains have none.
    """
    from seqkit.optim.eager import SGD

    groups = _decay_groups(params, weight_decay)
    return SGD(groups, lr=lr, momentum=momentum, nesterov=nesterov, fused=True)


def build_optimizer(choice: Choice, model: torch.nn.Module) -> torch.optim.Optimizer:
    """The optimiser that a recipe chose, over a model's weights; layers are told which kind of gradients it takes."""
    from seqkit.optim.lazy_adamw import LazyAdamW, set_sparse_gradients

    optimizer = OPTIMIZERS[choice.use](model.parameters(), **choice.options)
    set_sparse_gradients(model, isinstance(optimizer, LazyAdamW))
    return optimizer


def _decay_groups(params: Iterable[torch.nn.Parameter], weight_decay: float) -> list[dict[str, object]]:
    """Matrices decay; vectors (biases, gains, initial states) do not: to shrink a forget bias would make it forget."""
    params = list(params)
    matrices = [p for p in params if p.ndim >= 2]
    vectors = [p for p in params if p.ndim < 2]
    groups = [{"params": matrices, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]


OPTIMIZERS: Mapping[str, Callable[..., torch.optim.Optimizer]] = {
    "adamw": adamw,
    "adam": adam,
    "sgd": sgd,
    "lazy_adamw": lazy_adamw,
}
