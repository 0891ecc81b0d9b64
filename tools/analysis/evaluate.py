"""Score predictions of any model: ``tools/analysis/evaluate.py --predictions P --infos I``.

P is a file as ``tools/test.py --predictions P`` writes it and as the package's
``evaluation/predictions.py`` describes it; I an info file of the data set. Ground truth is that of
the predictions' egos and times, in one mode of collaboration; what the infos hold beyond them is
not asked for. Metrics are those of ``tools/test.py``. What the command line does not say is as in
the config of the data set in ``configs/_base_/datasets``.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / 'projects/TurboTrain'))

from mmengine.config import Config
from mmengine.registry import init_default_scope

from turbotrain.commands import run_tool
from turbotrain.datasets import CLASS_MAPS, MODES
from turbotrain.engine.dataset_config import dataset_config
from turbotrain.errors import UserError
from turbotrain.evaluation import (
    PROTOCOLS,
    json_metrics,
    read_predictions,
)
from turbotrain.report.scoring import open_metric, open_truth
from turbotrain.whole_file import write_whole


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Score saved predictions. The defaults are those of the data set that the '
        'infos are of, in configs/_base_/datasets.'
    )
    parser.add_argument('--predictions', type=Path, required=True)
    parser.add_argument('--infos', type=Path, required=True)
    parser.add_argument('--mode', choices=[*MODES], help='whose labels count')
    parser.add_argument('--class-map', choices=[*CLASS_MAPS])
    parser.add_argument('--comm-range', type=float, help='m')
    parser.add_argument('--max-agents', type=int)
    parser.add_argument(
        '--eval-range',
        type=float,
        nargs=4,
        metavar=('X_MIN', 'Y_MIN', 'X_MAX', 'Y_MAX'),
        help='m, ego frame',
    )
    parser.add_argument(
        '--z-range',
        type=float,
        nargs=2,
        metavar=('Z_MIN', 'Z_MAX'),
        help='m, ego frame; with --min-corners, which boxes count: the same as in the config',
    )
    parser.add_argument('--min-corners', type=int, help='of the eight of a box within the z range')
    parser.add_argument(
        '--protocol',
        nargs='+',
        choices=[*PROTOCOLS],
        default=['vip3d'],
        help='whose definitions of ADE, FDE, MR and EPA',
    )
    parser.add_argument(
        '--score-threshold', type=float, help="of forecast detections; default: the protocol's"
    )
    parser.add_argument('--out', type=Path, help='JSON file for all metrics')
    return parser.parse_args()


def configure(args: argparse.Namespace) -> Config:
    """The config of the infos' data set, with what the command line changes."""
    cfg = dataset_config(args.infos)
    cfg.test_dataloader.dataset.pipeline = []  # the metric alone says which boxes count
    cfg.test_dataloader.dataset.update(given(args, 'mode', 'class_map', 'comm_range', 'max_agents'))
    cfg.test_evaluator.update(given(args, 'eval_range', 'z_range', 'min_corners'))
    return cfg


def given(args: argparse.Namespace, *names: str) -> dict[str, Any]:
    """Those of some arguments that the command line names."""
    return {name: getattr(args, name) for name in names if getattr(args, name) is not None}


def evaluate(args: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Metrics by protocol."""
    cfg = configure(args)
    truth = open_truth(args.predictions, cfg)
    names = truth.dataset.metainfo['classes']
    metrics = {
        protocol: open_metric(
            cfg,
            truth.dataset.metainfo,
            protocol=protocol,
            forecasting_score_threshold=args.score_threshold,
        )
        for protocol in args.protocol
    }
    count = 0
    for sample in read_predictions(args.predictions, names):
        sample['gt_instances_3d'] = truth.of(sample)
        for metric in metrics.values():
            metric.process(None, [sample])
        count += 1
    if not count:
        raise UserError(f'{args.predictions} holds no predictions')
    print(f'{count} predictions; {len(truth.index)} egos and times in {args.infos}\n')
    return {
        protocol: metric.compute_metrics(metric.results) for protocol, metric in metrics.items()
    }


def main() -> None:
    args = parse_args()
    init_default_scope('mmdet3d')
    found = evaluate(args)
    width = max(len(name) for name in next(iter(found.values())))
    print(f'{"":<{width}}' + ''.join(f'{protocol:>10}' for protocol in found))
    for name in next(iter(found.values())):
        print(f'{name:<{width}}' + ''.join(f'{own[name]:10.2f}' for own in found.values()))
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        told = {protocol: json_metrics(own) for protocol, own in found.items()}
        write_whole(args.out, json.dumps(told, indent=2) + '\n')


if __name__ == '__main__':
    run_tool(main)
