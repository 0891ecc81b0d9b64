"""Two tasks in known conflict: ``python tools/analysis/pareto_toy.py --out docs/pareto_toy.png``.

Two parameters. Both tasks want y = 4; across, one pulls steeply to x = 0.5 and the other to
x = -0.5, so that the Pareto front is the line between (-0.5, 4) and (0.5, 4). Gradients are
clipped, as in detection configs: in the sum, the pull across uses up the step and little is left
for what both tasks want. Suppressing the conflict leaves just that. All settings share starts,
learning rate and number of steps. The last line is one JSON object: how far from the front each
setting ends, the mean over starts.
"""

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from mmengine.model import BaseModel
from torch import Tensor, nn

from projects.TurboTrain.turbotrain.balancing import ConflictSuppressingOptimWrapper

STARTS = ((-1.6, 0.0), (-0.2, -1.0), (1.5, 0.5))
SUM = dict(schedule=dict(type='PeriodicSchedule', suppress=0))
ALWAYS = dict(schedule=dict(type='PeriodicSchedule', free=0))
SETTINGS = {
    'sum': SUM,
    'PCGrad, one step in three': {},
    'PCGrad, every step': ALWAYS,
    'UPGrad, every step': ALWAYS | dict(aggregator=dict(type='UPGrad')),
}


def task_losses(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """The two tasks' losses, elementwise."""
    common = (y - 4).square() / 4
    return (
        40 * ((x - 0.5).square() + 1e-4).sqrt() + common,
        20 * ((x + 0.5).square() + 1e-4).sqrt() + common,
    )


class Valleys(BaseModel):
    """The point that is optimised."""

    def __init__(self, start: tuple[float, float]) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor(start))

    def forward(self, mode: str = 'loss') -> dict[str, Tensor]:
        """Both losses."""
        first, second = task_losses(*self.w)
        return dict(loss_first=first, loss_second=second)


def optimise(start: tuple[float, float], settings: dict, steps: int) -> Tensor:
    """(steps + 1, 2) the path from ``start``."""
    model = Valleys(start)
    optim_wrapper = ConflictSuppressingOptimWrapper(
        optimizer=torch.optim.SGD(model.parameters(), lr=0.05),
        tasks=dict(first=['loss_first'], second=['loss_second']),
        clip_grad=dict(max_norm=1.0),
        **settings,
    )
    path = [model.w.detach().clone()]
    for _ in range(steps):
        model.train_step({}, optim_wrapper)
        path.append(model.w.detach().clone())
    return torch.stack(path)


def distance_to_front(w: Tensor) -> float:
    x, y = w.tolist()
    return ((y - 4) ** 2 + max(abs(x) - 0.5, 0.0) ** 2) ** 0.5


def draw(paths: dict[str, list[Tensor]], out: Path) -> None:
    figure = Figure(figsize=(11, 4.8), layout='constrained')
    plane, plot = figure.subplots(1, 2)
    x, y = torch.meshgrid(torch.linspace(-2, 2, 200), torch.linspace(-1.5, 5, 200), indexing='ij')
    plane.contour(x, y, sum(task_losses(x, y)), levels=25, colors='lightgrey', linewidths=0.7)
    front_x = torch.linspace(-0.5, 0.5, 50)
    plane.plot(front_x, torch.full((50,), 4.0), color='black', linewidth=5, label='Pareto front')
    plot.plot(
        *task_losses(front_x, torch.full((50,), 4.0)), color='black', linewidth=5,
        label='Pareto front',
    )  # fmt: skip
    for number, (name, several) in enumerate(paths.items()):
        for i, path in enumerate(several):
            label = name if i == 0 else None
            style = dict(color=f'C{number}', linewidth=1, alpha=0.8)
            plane.plot(*path.T, **style)
            plane.plot(*path[-1], 'o', color=style['color'])
            plot.plot(*task_losses(*path.T), **style)
            plot.plot(*task_losses(*path[-1]), 'o', color=style['color'], label=label)
    plane.plot(*torch.tensor(STARTS).T, 'k+', markersize=10, label='starts')
    plane.set(xlabel='x', ylabel='y', title='parameters')
    plot.set(xlabel="first task's loss", ylabel="second task's loss", title='losses')
    plot.set(xlim=(-2, 50), ylim=(-2, 32))
    plane.legend(loc='lower left')
    plot.legend()
    out.parent.mkdir(parents=True, exist_ok=True)
    FigureCanvasAgg(figure).print_png(str(out))


def main() -> None:
    parser = argparse.ArgumentParser(description='Draw a toy with a known Pareto front')
    parser.add_argument('--steps', type=int, default=300)
    parser.add_argument('--out', type=Path, default=Path('pareto_toy.png'))
    args = parser.parse_args()
    paths = {
        name: [optimise(start, settings, args.steps) for start in STARTS]
        for name, settings in SETTINGS.items()
    }
    draw(paths, args.out)
    distances = {
        name: round(sum(distance_to_front(path[-1]) for path in several) / len(several), 3)
        for name, several in paths.items()
    }
    for name, distance in distances.items():
        print(f'{name:<28} ends {distance:.3f} from the front')
    print(args.out)
    print(json.dumps(distances))


if __name__ == '__main__':
    main()
