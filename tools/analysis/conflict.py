"""Which layers do tasks fight over? ``python tools/analysis/conflict.py CONFIG CHECKPOINT``.

Prints and draws, for each layer that tasks share, the lowest cosine between two tasks' gradients
over some training batches. The weights stay as they are.
"""

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from mmengine.registry import MODELS, init_default_scope
from mmengine.runner import Runner, load_checkpoint

from projects.TurboTrain.turbotrain.balancing import layer_conflict
from projects.TurboTrain.turbotrain.engine.errors import UserError
from projects.TurboTrain.turbotrain.engine.launch import (
    add_common_arguments,
    load_config,
    run_tool,
)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Show in which layers tasks are in conflict')
    add_common_arguments(parser, checkpoint=True)
    parser.add_argument('--batches', type=int, default=8, help='training batches to look at')
    parser.add_argument('--out', type=Path, default=Path('layer_conflict.png'), help='picture')
    return parser.parse_args()


def draw(layers: dict[str, dict[str, float]], out: Path) -> None:
    figure = Figure(figsize=(8, 1.5 + 0.18 * len(layers)), layout='constrained')
    axes = figure.subplots()
    cosine = [values['cosine'] for values in layers.values()]
    colours = ['tab:red' if value < 0 else 'tab:blue' for value in cosine]
    axes.barh(range(len(layers)), cosine, color=colours)
    axes.set_yticks(range(len(layers)), list(layers), fontsize=6)
    axes.invert_yaxis()
    axes.axvline(0, color='black', linewidth=0.7)
    axes.set(xlim=(-1, 1), xlabel='lowest cosine between two tasks, mean over batches')
    out.parent.mkdir(parents=True, exist_ok=True)
    FigureCanvasAgg(figure).print_png(str(out))


def main() -> None:
    args = parse_args()
    checkpoint, out = str(Path(args.checkpoint).resolve()), args.out.resolve()
    cfg = load_config(args)
    if 'tasks' not in cfg.optim_wrapper:
        raise UserError(
            'the config names no tasks: its optim_wrapper is not a conflict suppressing one'
        )
    init_default_scope(cfg.default_scope)
    torch.manual_seed(cfg.get('randomness', {}).get('seed') or 0)
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    model = MODELS.build(cfg.model).to(device).train()
    load_checkpoint(model, checkpoint, map_location='cpu', strict=True)
    loader = Runner.build_dataloader(cfg.train_dataloader, seed=0)
    layers = layer_conflict(
        model,
        (batch for batch, _ in zip(loader, range(args.batches), strict=False)),
        cfg.optim_wrapper.tasks,
    )
    if not layers:
        raise UserError('in no layer do two tasks have a gradient')
    width = max(map(len, layers))
    print(f'{"layer":<{width}} {"cosine":>7} {"conflicts":>9} {"gradient":>9}')
    for layer, values in layers.items():
        print(
            f'{layer:<{width}} {values["cosine"]:7.2f} {values["conflicts"]:9.0%} '
            f'{values["share"]:9.1%}'
        )
    draw(layers, out)
    print(f'{out}: {len(layers)} layers over {args.batches} batches')
    print(json.dumps(layers))


if __name__ == '__main__':
    run_tool(main)
