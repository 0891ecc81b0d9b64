"""Two tasks in known conflict: ``python docs/figures/pareto_toy.py --out docs/pareto_toy.png``.

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

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / 'projects/TurboTrain'))

import torch
from matplotlib.figure import Figure
from mmengine.model import BaseModel
from torch import Tensor, nn

from turbotrain.balancing import ConflictSuppressingOptimWrapper
from turbotrain.commands import run_tool
from turbotrain.visualization import save_figure

STARTS = ((-1.6, 0.0), (-0.2, -1.0), (1.5, 0.5))
COLORS = ('#0072B2', '#D55E00', '#009E73')  # of the starts; told apart by the colour-blind
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


def mean_distance(paths: list[Tensor]) -> float:
    return sum(distance_to_front(path[-1]) for path in paths) / len(paths)


def draw(paths: dict[str, list[Tensor]], out: Path) -> None:
    """A column for each setting: its paths among the parameters, and below among the losses."""
    figure = Figure(figsize=(12, 6.6), layout='constrained')
    rows = figure.subplots(2, len(paths), sharex='row', sharey='row', squeeze=False)
    x, y = torch.meshgrid(torch.linspace(-2, 2, 200), torch.linspace(-1.5, 5, 200), indexing='ij')
    front = torch.stack([torch.linspace(-0.5, 0.5, 50), torch.full((50,), 4.0)])
    thick = dict(color='black', linewidth=4, solid_capstyle='butt', zorder=2, label='Pareto front')
    for plane, plot, (name, several) in zip(*rows, paths.items(), strict=True):
        plane.contour(x, y, sum(task_losses(x, y)), levels=25, colors='lightgrey', linewidths=0.6)
        plane.plot(*front, **thick)
        plot.plot(*task_losses(*front), **thick)
        for path, color in zip(several, COLORS, strict=False):
            points = path.T, torch.stack(task_losses(*path.T))
            for axes, (across, up) in zip((plane, plot), points, strict=True):
                axes.plot(across, up, color=color, linewidth=0.8, zorder=3)
                axes.plot(
                    across[0], up[0], 'P', color=color, markersize=8, markeredgecolor='white',
                    zorder=4, label='start',
                )  # fmt: skip
                axes.plot(
                    across[-1], up[-1], 'o', color=color, markersize=8, markeredgecolor='white',
                    zorder=5, label='end',
                )  # fmt: skip
        title = f'{name}\nends {mean_distance(several):.2f} from the front'
        plane.set_title(title, fontsize='medium')
    rows[0, 0].set(xlim=(-2, 2), ylim=(-1.5, 5), ylabel='parameter y')
    rows[1, 0].set(xlim=(-2, 50), ylim=(-2, 40), ylabel="second task's loss")
    for plane, plot in rows.T:
        plane.set(xlabel='parameter x')
        plot.set(xlabel="first task's loss")
    handles, labels = rows[0, 0].get_legend_handles_labels()
    entries = dict(zip(labels, handles, strict=True))  # one of each
    figure.legend(entries.values(), entries, loc='outside lower center', ncols=3, frameon=False)
    save_figure(figure, out)


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
    distances = {name: round(mean_distance(several), 3) for name, several in paths.items()}
    for name, distance in distances.items():
        print(f'{name:<28} ends {distance:.3f} from the front')
    print(args.out)
    print(json.dumps(distances))


if __name__ == '__main__':
    run_tool(main)
