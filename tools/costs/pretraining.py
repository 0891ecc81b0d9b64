"""What pretraining costs: ``python tools/costs/pretraining.py`` (on the mini set).

Whole training steps on mini by an objective close to CooPre's, as in pretrain-coopre_v2xpnp.py
(masking, trunk, losses, backward, optimiser), with the points of 70 % of the cells taken out before
encoding, and the same steps with everything encoded: same weights, batches, masks and targets. Once
with the dense encoder of pretrain_mini_v2xpnp.py, once with the sparse one of
pretrain_mini_v2xpnp_sparse.py. The ways take turns, in another order each time; a ratio is of two
steps on the same batch, and the medians of these ratios count. Beside each step its Chamfer loss is
timed by itself: gathering the points of the hidden cells, the distance, and the way back.

Memory is what masking and the head allocate on the way and back at the full-size config's range and
channels, of 4 agents x 5 frames of 60,000 points. The last line is one JSON object.
"""

import argparse
import copy
import json
import statistics
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / 'projects/TurboTrain')]

import torch
from mmdet3d.structures import Det3DDataSample
from mmengine.config import Config, ConfigDict
from mmengine.registry import MODELS, init_default_scope
from mmengine.runner import Runner

from tools.costs.memory import peak_megabytes
from tools.costs.module_costs import agents_in_one_place
from turbotrain.pretraining import BEVCellMasking, MaskedPretrainer
from turbotrain.pretraining.chamfer import chamfer_distance
from turbotrain.pretraining.masked_batch import MaskedBatch
from turbotrain.pretraining.masking import CloudLayout, MaskedClouds
from turbotrain.recipes.circumstances import circumstances

CONFIGS = ROOT / 'configs/turbotrain'
PUBLISHED = 'pretrain-coopre_v2xpnp.py'
TRUNKS = dict(dense='pretrain_mini_v2xpnp.py', sparse='pretrain_mini_v2xpnp_sparse.py')


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Time pretraining with and without hiding')
    parser.add_argument('--data-root', type=Path, default=ROOT / 'data/mini_v2xpnp')
    parser.add_argument('--repeats', type=int, default=15, help='steps of each way')
    parser.add_argument('--seed', type=int, default=0)
    return parser.parse_args()


def pretraining_config(path: Path) -> Config:
    """A config that hides as CooPre does, in each cloud, and leaves out what it hides."""
    cfg, published = Config.fromfile(path), Config.fromfile(CONFIGS / PUBLISHED)
    cfg.model.hiding, cfg.model.masking = 'visible_only', published.model.masking
    cfg.model.reconstruction_head.ground_margin = None
    return cfg


def map_shape(limits: torch.Tensor) -> tuple[int, int]:
    """H, W of the maps that both configs reconstruct from: cells of 0.8 m."""
    width, height = ((limits[3:5] - limits[:2]) / 0.8).round().int().tolist()
    return height, width


class EncodeEverything(BEVCellMasking):
    """Asks for the same cells, but takes nothing out."""

    def forward(self, clouds: list[torch.Tensor], layout: CloudLayout) -> MaskedClouds:
        """Hide on paper."""
        return super().forward(clouds, layout)._replace(visible=clouds)


class Way:
    """One trunk, with hidden points taken out or not."""

    def __init__(self, config: ConfigDict, visible_only: bool, seed: int) -> None:
        torch.manual_seed(seed)
        self.model: MaskedPretrainer = MODELS.build(copy.deepcopy(config)).train()
        if not visible_only:
            settings = {key: value for key, value in config.masking.items() if key != 'type'}
            self.model.masking = EncodeEverything(self.model.limits.tolist(), **settings)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=1e-3)

    def step(self, batch: dict, seed: int) -> float:
        """Train on a batch; seconds."""
        batch = copy.deepcopy(batch)
        torch.manual_seed(seed)  # the same masks for all ways
        start = time.perf_counter()
        data = self.model.data_preprocessor(batch, True)
        total = sum(self.model(**data, mode='loss').values())
        self.optimizer.zero_grad()
        total.backward()
        self.optimizer.step()
        return time.perf_counter() - start

    def chamfer(self, batch: dict, seed: int) -> float:
        """The Chamfer loss of that step by itself; seconds."""
        torch.manual_seed(seed)
        data = self.model.data_preprocessor(copy.deepcopy(batch), True)
        head = self.model.reconstruction_head['merged']
        masked = MaskedBatch(
            data['inputs'], data['data_samples'], self.model.masking, self.model.limits
        )
        shape = map_shape(self.model.limits)
        target = masked.merged_target(shape)
        start = time.perf_counter()
        cells, _, points, counts = head._cells(target, shape)
        predicted = torch.zeros(len(cells), head.num_points, 3, requires_grad=True)
        chamfer_distance(predicted, points, counts.clamp(max=head.max_targets)).backward()
        return time.perf_counter() - start


def time_trunk(config: ConfigDict, batches: list[dict], args: argparse.Namespace) -> dict:
    """Medians: seconds of both kinds of steps, their ratio, and the share of the Chamfer loss."""
    ways = dict(visible=Way(config, True, args.seed), full=Way(config, False, args.seed))
    found: dict[str, list[float]] = {name: [] for name in ('visible', 'full', 'ratio', 'chamfer')}
    for i in range(args.repeats + 1):
        batch, seconds = batches[i % len(batches)], {}
        for name in sorted(ways, reverse=bool(i % 2)):
            seconds[name] = ways[name].step(batch, seed=i)
        chamfer = ways['visible'].chamfer(batch, seed=i)
        if i:  # the first warms up
            found['visible'].append(seconds['visible'])
            found['full'].append(seconds['full'])
            found['ratio'].append(seconds['visible'] / seconds['full'])
            found['chamfer'].append(chamfer / seconds['visible'])
    return {name: statistics.median(values) for name, values in found.items()}


def open_batches(args: argparse.Namespace, cfg: Config) -> list[dict]:
    cfg.train_dataloader.dataset.data_root = str(args.data_root)
    cfg.train_dataloader.update(num_workers=0, persistent_workers=False)
    loader = Runner.build_dataloader(cfg.train_dataloader, seed=args.seed)
    return [batch for batch, _ in zip(loader, range(5), strict=False)]


def full_size_memory(seed: int) -> dict[str, float]:
    """MB that masking and the head allocate at their peak, and all pairs of points would."""
    cfg = Config.fromfile(CONFIGS / PUBLISHED)
    torch.manual_seed(seed)
    model = MODELS.build(cfg.model)
    agents, frames, count = 4, 5, 60_000
    record = agents_in_one_place(agents, frames, points_in_ego=True)
    # As dense round each agent as rays that spread: the distance is uniform, not the area.
    clouds = []
    for _ in range(agents):
        centre = torch.rand(2) * 40 - 20
        for _ in range(frames):
            distance, angle = 60 * torch.rand(count), 6.2832 * torch.rand(count)
            x, y = centre[0] + distance * angle.cos(), centre[1] + distance * angle.sin()
            clouds.append(torch.stack([x, y, torch.rand(count) * 3 - 2, torch.zeros(count)], 1))
    sample = Det3DDataSample(metainfo=dict(agents=record))
    head = model.reconstruction_head['merged']
    shape = map_shape(model.limits)
    bev = torch.randn(1, 256, *shape, requires_grad=True)
    targets = []

    def mask_and_reconstruct() -> None:
        batch = MaskedBatch(dict(points=[clouds]), [sample], model.masking, model.limits)
        targets.append(batch.merged_target(shape))
        sum(head.loss(bev, targets[0]).values()).backward()

    megabytes = peak_megabytes(mask_and_reconstruct)
    cells = len(head._cells(targets[0], shape)[0])
    return dict(
        cells=cells,
        megabytes=round(megabytes, 1),
        of_clouds=round(sum(c.numel() for c in clouds) * 4 / 2**20, 1),
        all_pairs=round(cells * head.num_points * head.max_targets * 3 * 4 / 2**20, 1),
    )


def main() -> None:
    args = parse_args()
    init_default_scope('mmdet3d')
    configs = {name: pretraining_config(CONFIGS / 'mini' / file) for name, file in TRUNKS.items()}
    batches = open_batches(args, configs['dense'])
    found = {name: time_trunk(cfg.model, batches, args) for name, cfg in configs.items()}
    memory = full_size_memory(args.seed)
    print(f'\n{"encoder":<8} {"visible ms":>11} {"all ms":>8} {"ratio":>6} {"Chamfer":>8}')
    for name, row in found.items():
        milliseconds = f'{1e3 * row["visible"]:>11.1f} {1e3 * row["full"]:>8.1f}'
        print(f'{name:<8} {milliseconds} {row["ratio"]:>6.2f} {row["chamfer"]:>8.1%}')
    print(
        f'full size, {memory["cells"]} hidden cells: {memory["megabytes"]} MB for masking and head '
        f'(the clouds are {memory["of_clouds"]} MB; all pairs of points would be '
        f'{memory["all_pairs"]} MB, several times)'
    )
    print(
        json.dumps(
            dict(
                visible_over_full_sparse=round(found['sparse']['ratio'], 3),
                visible_over_full_dense=round(found['dense']['ratio'], 3),
                chamfer_share=round(max(row['chamfer'] for row in found.values()), 4),
                chamfer_share_by_encoder={k: round(v['chamfer'], 4) for k, v in found.items()},
                milliseconds={
                    k: {w: round(1e3 * v[w], 1) for w in ('visible', 'full')}
                    for k, v in found.items()
                },
                full_size_memory=memory,
                seed=args.seed,
                **circumstances(),
            )
        )
    )


if __name__ == '__main__':
    main()
