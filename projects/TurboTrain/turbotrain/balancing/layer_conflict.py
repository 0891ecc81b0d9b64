"""In which layers do tasks fight?"""

import math
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean, stdev

import torch
from mmengine.model import BaseModel

from .autograd_graph import reached_parameters
from .gram import cosines
from .losses import task_losses

__all__ = ['layer_conflict']


def layer_conflict(
    model: BaseModel, batches: Iterable[dict], tasks: Mapping[str, Sequence[str]]
) -> dict[str, dict[str, float | None]]:
    """Compare the tasks' gradients layer by layer, without training.

    Weights stay; batch norm's running statistics follow the mode that the model is in.

    Args:
        model: in training mode.
        batches: as the training loader gives them.
        tasks: task name -> patterns of its losses, as of ``ConflictSuppressingOptimWrapper``.

    Returns:
        Layer (module that owns parameters) -> ``cosine``, the mean over batches of the lowest
        cosine between two tasks; ``error``, its standard error (None with one batch);
        ``conflicts``, the share of batches in which it is below 0; ``share``, the layer's share of
        the squared gradient norm of all shared layers. In the order of the model; only layers in
        which at least two tasks have a gradient.
    """
    named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    index = {p: i for i, (_, p) in enumerate(named)}
    lowest: dict[str, list[float]] = {}
    energy: dict[str, float] = {}
    for batch in batches:
        data = model.data_preprocessor(batch, True)
        losses = list(task_losses(model._run_forward(data, mode='loss'), tasks).values())
        losses = [loss for loss in losses if loss.requires_grad]
        grams: dict[str, torch.Tensor] = {}
        gradients: list[dict[int, torch.Tensor]] = []
        for k, loss in enumerate(losses):
            used = sorted(reached_parameters(loss, index).numbers)
            found = torch.autograd.grad(
                loss,
                [named[i][1] for i in used],
                retain_graph=k + 1 < len(losses),
                allow_unused=True,
            )
            gradients.append({i: g for i, g in zip(used, found, strict=True) if g is not None})
        for i, (name, parameter) in enumerate(named):
            if sum(i in own for own in gradients) < 2:
                continue
            zero = torch.zeros_like(parameter)
            rows = torch.stack([own.get(i, zero).flatten() for own in gradients]).double()
            layer = _layer(name)
            grams[layer] = grams.get(layer, 0) + (rows @ rows.T).cpu()
        for layer, gram in grams.items():
            energy[layer] = energy.get(layer, 0.0) + float(gram.diagonal().sum())
            live = gram.diagonal() > 0
            if live.sum() > 1:
                cosine = cosines(gram[live][:, live])
                lowest.setdefault(layer, []).append(float(cosine.min()))
    total = sum(energy.values()) or 1.0
    order = dict.fromkeys(_layer(name) for name, _ in named)
    return {
        layer: dict(
            cosine=fmean(lowest[layer]),
            error=_standard_error(lowest[layer]),
            conflicts=fmean(value < 0 for value in lowest[layer]),
            share=energy[layer] / total,
        )
        for layer in order
        if layer in lowest
    }


def _standard_error(values: Sequence[float]) -> float | None:
    return stdev(values) / math.sqrt(len(values)) if len(values) > 1 else None


def _layer(parameter: str) -> str:
    return parameter.rpartition('.')[0] or '(model)'
