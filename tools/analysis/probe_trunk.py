"""What a frozen trunk tells: ``python tools/analysis/probe_trunk.py CONFIG CHECKPOINT [...]``.

A quick judge of pretrained weights, which trains nothing. CONFIG is the detector's, of fine-tuning;
``untrained`` in place of a checkpoint is the trunk as it starts. A linear layer on the 3x3 cells of
the fused map is fitted by least squares to labels of the training split, and measured on the
validation split, of both as the validation loader leaves it: average precision of telling which
cells lie in an object, by class; mean error over such cells of headings, and of the velocities of
what moves. The effective rank is the exponential of the entropy of the eigenvalues of the map's
covariance. Batch norms use the statistics of each sample, as an untrained trunk has no others. The
last line is one JSON object.
"""

import argparse
import copy
import json
import math
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / 'projects/TurboTrain')]

import numpy as np
import torch
from mmdet3d.registry import DATASETS, MODELS
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from torch import Tensor, nn
from torch.nn import functional

from turbotrain.commands import add_common_arguments, load_config, run_tool
from turbotrain.engine import read_checkpoint
from turbotrain.engine.bare import with_versions
from turbotrain.errors import UserError
from turbotrain.evaluation.precision_recall import average_precision
from turbotrain.models import CooperativeDetector
from turbotrain.models.box_motion import to_axes
from turbotrain.models.warping import cell_centres
from turbotrain.recipes.stages import use_data_root

UNTRAINED = 'untrained'
MOVES = 1.0  # m/s
RIDGE = 1e-4  # of the mean square of a feature


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='What a frozen trunk tells')
    add_common_arguments(parser)
    parser.add_argument('checkpoints', nargs='+', help='of pretraining, or any other')
    parser.add_argument('--data-root', type=Path, help="default: the config's")
    parser.add_argument('--samples', type=int, default=240, help='of each split, evenly spread')
    return parser.parse_args()


def load_trunk(model: nn.Module, path: Path) -> None:
    """Fill all of a detector but its heads.

    Raises:
        UserError: the checkpoint lacks some of it.
    """
    checkpoint = read_checkpoint(str(path))
    given = checkpoint.get('state_dict', checkpoint)
    trunk = {k: v for k, v in model.state_dict().items() if '_head.' not in k}
    unfit = [k for k, v in trunk.items() if k not in given or given[k].shape != v.shape]
    if unfit:
        raise UserError(f'{path}: {unfit[0]} of the trunk is missing or has another shape')
    model.load_state_dict(with_versions({k: given[k] for k in trunk}, given), strict=False)


class LeastSquares:
    """A linear layer from rows of features to values, fitted to any number of batches."""

    def __init__(self) -> None:
        self.squares: Tensor | float = 0.0
        self.products: Tensor | float = 0.0

    def add(self, features: Tensor, values: Tensor) -> None:
        """Rows (R, F), whose last column is 1, and (R, V)."""
        self.squares = self.squares + (features.T @ features).double()
        self.products = self.products + (features.T @ values).double()

    def solve(self) -> Tensor:
        """(F, V)."""
        squares = torch.as_tensor(self.squares)
        ridge = RIDGE * squares.diagonal().mean().clamp(min=1)  # of no rows, too
        return torch.linalg.solve(
            squares + ridge * torch.eye(len(squares)).to(squares), self.products
        ).float()

    def covariance(self) -> Tensor:
        """(F - 1, F - 1) of the rows without their last column."""
        squares = torch.as_tensor(self.squares)
        mean = squares[-1, :-1] / squares[-1, -1]
        return squares[:-1, :-1] / squares[-1, -1] - mean.outer(mean)


def effective_rank(covariance: Tensor) -> float:
    """The exponential of the entropy of its eigenvalues."""
    share = torch.linalg.eigvalsh(covariance).clamp(min=0)
    share = share / share.sum()
    return float((-torch.special.xlogy(share, share).sum()).exp())


def batches(cfg: Config, ann_file: str, count: int) -> Iterator[dict]:
    """Some samples of a split, as in testing."""
    loader = copy.deepcopy(cfg.val_dataloader)
    loader.batch_size, loader.dataset.ann_file = 1, ann_file
    total = len(DATASETS.build({**loader.dataset, 'pipeline': []}))
    loader.dataset.indices = np.unique(np.linspace(0, total - 1, count).astype(int)).tolist()
    return iter(Runner.build_dataloader(loader, seed=0))


def rows_of(bev: Tensor) -> Tensor:
    """The 3x3 cells round each cell of a map (1, C, H, W), and 1: (H * W, 9 C + 1)."""
    around = functional.unfold(bev, 3, padding=1)[0].T
    return functional.pad(around, (0, 1), value=1.0)


def cells_of(boxes: Tensor, limits: list[float], height: int, width: int) -> tuple[Tensor, Tensor]:
    """Which cells lie in which box (M, 7): (R,) cells and (R,) boxes; its own cell is a box's."""
    borders = boxes.new_tensor(limits)
    size = (borders[3:5] - borders[:2]) / borders.new_tensor([width, height])
    offset = cell_centres(borders, height, width) - boxes[:, None, :2]
    axes = torch.stack([boxes[:, 6].cos(), boxes[:, 6].sin()], dim=1)
    inside = (to_axes(axes[:, None], offset).abs() <= boxes[:, None, 3:5] / 2).all(dim=-1)
    inside |= (offset.abs() <= size / 2).all(dim=-1)
    box, cell = inside.nonzero().unbind(dim=1)
    return cell, box


def looks(model: nn.Module, cfg: Config, ann_file: str, count: int) -> Iterator[tuple[Tensor, ...]]:
    """What there is to learn from and to measure, of each sample.

    Yields:
        (H * W, F) features; (H * W, classes) bool, which cells lie in an object; (R,) those cells;
        (R, 2) headings; (R, 3) velocities, and whether they are known.
    """
    for batch in batches(cfg, ann_file, count):
        data = model.data_preprocessor(batch, training=False)
        with torch.no_grad():
            (bev,) = model.extract_feat(data['inputs'], data['data_samples'])
        truth = data['data_samples'][0].gt_instances_3d
        boxes = truth.bboxes_3d.tensor.to(bev.device)
        cell, box = cells_of(boxes, model.point_cloud_range, *bev.shape[2:])
        yaw = boxes[box, 6]
        heading = torch.stack([yaw.cos(), yaw.sin()], dim=1)
        speed = torch.cat([truth.velocity, truth.velocity_valid[:, None]], dim=1).float()[box]
        features = rows_of(bev.float())
        occupied = features.new_zeros(
            len(features), len(cfg.val_evaluator.class_names), dtype=torch.bool
        )
        occupied[cell, truth.labels_3d[box]] = True
        yield features, occupied, cell, heading, speed


def probe(model: nn.Module, cfg: Config, count: int) -> dict[str, float]:
    """Fit and measure; see the module."""
    model.eval()
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.train()
    object_, heading_, velocity_ = LeastSquares(), LeastSquares(), LeastSquares()
    for features, occupied, cell, heading, speed in looks(
        model, cfg, cfg.train_dataloader.dataset.ann_file, count
    ):
        object_.add(features, occupied.float())
        heading_.add(features[cell], heading)
        known = speed[:, 2] > 0
        velocity_.add(features[cell[known]], speed[known, :2])
    found = dict(rank=effective_rank(object_.covariance()[4::9, 4::9]))  # of the middle cells
    return found | measure(
        looks(model, cfg, cfg.val_dataloader.dataset.ann_file, count),
        [layer.solve() for layer in (object_, heading_, velocity_)],
        cfg.val_evaluator.class_names,
    )


def measure(
    samples: Iterable[tuple[Tensor, ...]], layers: list[Tensor], names: list[str]
) -> dict[str, float]:
    """AP (%) by class and their mean; mean errors of headings (degrees) and velocities (m/s).

    What cannot be told, of a class that does not occur say, is left out.
    """
    scores, truths, turns, errors = [], [], [], []
    for features, occupied, cell, heading, speed in samples:
        scores.append((features @ layers[0]).cpu())
        truths.append(occupied.cpu())
        found = features[cell] @ layers[1]
        turn = (found * heading).sum(dim=1) / found.norm(dim=1).clamp(min=1e-6)
        turns.append(turn.clamp(-1, 1).acos().rad2deg().cpu())
        moves = (speed[:, 2] > 0) & (speed[:, :2].norm(dim=1) >= MOVES)
        errors.append((features[cell[moves]] @ layers[2] - speed[moves, :2]).norm(dim=1).cpu())
    score, truth = torch.cat(scores), torch.cat(truths)
    result = {}
    for i, name in enumerate(names):
        order = score[:, i].argsort(descending=True, stable=True)
        hits = truth[order, i].numpy()
        result[f'AP/{name}'] = 100 * average_precision(hits, int(hits.sum()))
    result['mAP'] = float(np.nanmean(list(result.values())))
    result |= dict(heading=float(torch.cat(turns).mean()), velocity=float(torch.cat(errors).mean()))
    return {key: value for key, value in result.items() if math.isfinite(value)}


def main() -> None:
    args = parse_args()
    paths = [None if name == UNTRAINED else Path(name).resolve() for name in args.checkpoints]
    data_root = args.data_root and args.data_root.resolve()
    cfg = load_config(args, ['model', 'train_dataloader', 'val_dataloader', 'val_evaluator'])
    use_data_root(cfg, data_root)
    init_default_scope(cfg.default_scope)
    for path in filter(None, paths):
        if not path.is_file():
            raise UserError(f'there is no checkpoint {path}')
    if args.samples < 1:
        raise UserError(f'--samples {args.samples}: expected at least 1')
    results = {}
    for name, path in zip(args.checkpoints, paths, strict=True):
        torch.manual_seed(cfg.randomness.seed or 0)
        model = MODELS.build(cfg.model)
        if not isinstance(model, CooperativeDetector):
            raise UserError(f'{args.config}: expected the config of a CooperativeDetector')
        if path is None:
            model.init_weights()
        else:
            load_trunk(model, path)
        if torch.cuda.is_available():
            model.to('cuda')
        results[name] = {k: round(v, 2) for k, v in probe(model, cfg, args.samples).items()}
        if len(results) == 1:
            print(f'{"":<40}' + ''.join(f'{key:>15}' for key in results[name]))
        print(
            f'{name[-40:]:<40}' + ''.join(f'{v:>15.1f}' for v in results[name].values()), flush=True
        )
    print(json.dumps(results))


if __name__ == '__main__':
    run_tool(main)
