"""Which layers do tasks fight over? ``python tools/analysis/conflict.py CONFIG CHECKPOINT``.

Prints and draws, for each layer that tasks share, the lowest cosine between two tasks' gradients,
in how many of some training batches they are in conflict, and how much of the whole gradient is the
layer's. The weights stay as they are. The last line is one JSON object: layer -> numbers.
"""

import argparse
import json
import sys
from itertools import islice
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / 'projects/TurboTrain'))

import torch
from matplotlib.figure import Figure
from mmengine.registry import MODELS, init_default_scope
from mmengine.runner import Runner

from turbotrain.balancing import layer_conflict
from turbotrain.commands import (
    add_common_arguments,
    load_config,
    run_tool,
)
from turbotrain.engine import load_weights
from turbotrain.errors import UserError
from turbotrain.visualization import save_figure

AGREEMENT, CONFLICT = '#0072B2', '#D55E00'  # told apart by the colour-blind


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Show in which layers tasks are in conflict')
    add_common_arguments(parser, checkpoint=True)
    parser.add_argument('--batches', type=int, default=8, help='training batches to look at')
    parser.add_argument('--out', type=Path, default=Path('layer_conflict.png'), help='picture')
    return parser.parse_args()


def draw(layers: dict[str, dict], title: str, out: Path) -> None:
    figure = Figure(figsize=(10, 1.6 + 0.19 * len(layers)), layout='constrained')
    columns = figure.subplots(1, 3, sharey=True, gridspec_kw=dict(width_ratios=(3, 1, 1)))
    values = {key: [v[key] for v in layers.values()] for key in ('cosine', 'conflicts', 'share')}
    errors = [v['error'] or 0.0 for v in layers.values()]
    rows = range(len(layers))
    colors = [CONFLICT if value < 0 else AGREEMENT for value in values['cosine']]
    cosine, conflicts, share = columns
    cosine.barh(rows, values['cosine'], color=colors, xerr=errors, ecolor='dimgrey')
    reach = 1.1 * max(abs(c) + e for c, e in zip(values['cosine'], errors, strict=True))
    cosine.set(xlim=(-reach, reach), xlabel='mean; whiskers: standard error')
    cosine.axvline(0, color='black', linewidth=0.7)
    note = dict(transform=cosine.transAxes, fontsize='small')
    cosine.text(0.01, 0.01, 'conflict', color=CONFLICT, **note)
    cosine.text(0.99, 0.01, 'agreement', color=AGREEMENT, ha='right', **note)
    conflicts.barh(rows, [100 * value for value in values['conflicts']], color='darkgrey')
    conflicts.set(xlim=(0, 100), xlabel='% of the batches')
    share.barh(rows, [100 * value for value in values['share']], color='darkgrey')
    share.set(xlabel='% of the squared norm')
    titles = ('cosine', 'in conflict', 'share of gradient')
    for axes, name in zip(columns, titles, strict=True):
        axes.set_title(name, fontsize='medium')
    figure.suptitle(title, fontsize='large')
    cosine.set_yticks(rows, list(layers), fontsize=7)
    cosine.set_ylim(len(layers) + 0.7, -0.7)  # from the input down to the heads
    save_figure(figure, out)


def main() -> None:
    args = parse_args()
    checkpoint, out = str(Path(args.checkpoint).resolve()), args.out.resolve()
    cfg = load_config(args, ['model', 'train_dataloader', 'optim_wrapper'])
    if 'tasks' not in cfg.optim_wrapper:
        raise UserError(
            'the config names no tasks: its optim_wrapper is not a conflict suppressing one'
        )
    init_default_scope(cfg.default_scope)
    torch.manual_seed(cfg.get('randomness', {}).get('seed') or 0)
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    model = MODELS.build(cfg.model).to(device).train()
    load_weights(model, checkpoint)
    loader = Runner.build_dataloader(cfg.train_dataloader, seed=0)
    number = min(args.batches, len(loader))
    layers = layer_conflict(model, islice(loader, number), cfg.optim_wrapper.tasks)
    if not layers:
        raise UserError('in no layer do two tasks have a gradient')
    width = max(map(len, layers))
    print(f'{"layer":<{width}} {"cosine":>7} {"error":>6} {"conflicts":>9} {"gradient":>9}')
    for layer, values in layers.items():
        error = '' if values['error'] is None else f'{values["error"]:.2f}'
        print(
            f'{layer:<{width}} {values["cosine"]:7.2f} {error:>6} {values["conflicts"]:9.0%} '
            f'{values["share"]:9.1%}'
        )
    tasks = list(cfg.optim_wrapper.tasks)
    pair = ' and '.join(tasks) if len(tasks) == 2 else f'the two of {len(tasks)} tasks apart most'
    draw(layers, f'cosine of the gradients of {pair}, {number} batches', out)
    print(f'{out}: {len(layers)} layers over {number} batches')
    print(json.dumps(layers))


if __name__ == '__main__':
    run_tool(main)
