"""Score predictions of any model: ``tools/analysis/evaluate.py --predictions P --infos I``.

P is a file as ``tools/test.py --predictions P`` writes it and as the package's
``evaluation/predictions.py`` describes it; I an info file of the data set. Ground truth is that of
the predictions' egos and times, in one mode of collaboration; what the infos hold beyond them is
not asked for. Metrics are those of ``tools/test.py``.
"""

import argparse
import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from mmengine.registry import init_default_scope

from projects.TurboTrain.turbotrain.datasets import CLASS_MAPS, TruthIndex, V2XPnPDataset
from projects.TurboTrain.turbotrain.engine.launch import run_tool
from projects.TurboTrain.turbotrain.errors import UserError
from projects.TurboTrain.turbotrain.evaluation import (
    PROTOCOLS,
    CooperativeMetric,
    read_predictions,
)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Score saved predictions')
    parser.add_argument('--predictions', type=Path, required=True)
    parser.add_argument('--infos', type=Path, required=True)
    parser.add_argument('--mode', default='vc', help='vc, ic, v2v or i2i: whose labels count')
    parser.add_argument('--class-map', choices=[*CLASS_MAPS], default='v2xreal3')
    parser.add_argument('--comm-range', type=float, default=50.0, help='m')
    parser.add_argument('--max-agents', type=int, default=4)
    parser.add_argument('--num-future', type=int, default=6, help='steps of a forecast')
    parser.add_argument('--frame-interval', type=int, default=5, help='frames from step to step')
    parser.add_argument(
        '--eval-range',
        type=float,
        nargs=4,
        default=[-70.4, -40.0, 70.4, 40.0],
        metavar=('X_MIN', 'Y_MIN', 'X_MAX', 'Y_MAX'),
        help='m, ego frame',
    )
    parser.add_argument(
        '--z-range',
        type=float,
        nargs=2,
        default=[-15.0, 15.0],  # V2XPnP's and V2X-Real's GT_RANGE
        metavar=('Z_MIN', 'Z_MAX'),
        help='m, ego frame; with --min-corners, which objects count: the same as in the config',
    )
    parser.add_argument(
        '--min-corners', type=int, default=8, help="of an object's box inside the range"
    )
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


def open_truth(args: argparse.Namespace) -> TruthIndex:
    """What was there, by scenario, frame and ego."""
    x_min, y_min, x_max, y_max = args.eval_range
    z_min, z_max = args.z_range
    limits = [x_min, y_min, z_min, x_max, y_max, z_max]
    return TruthIndex(
        V2XPnPDataset(
            args.infos.name,
            str(args.infos.parent),
            class_map=args.class_map,
            mode=args.mode,
            ego='every',
            comm_range=args.comm_range,
            max_agents=args.max_agents,
            num_history=0,
            num_future=args.num_future,
            frame_interval=args.frame_interval,
            test_mode=True,
            pipeline=[
                dict(
                    type='CooperativeRangeFilter',
                    point_cloud_range=limits,
                    min_corners=args.min_corners,
                )
            ],
        )
    )


def evaluate(args: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Metrics by protocol."""
    truth = open_truth(args)
    names = truth.dataset.metainfo['classes']
    metrics = {
        protocol: CooperativeMetric(
            names,
            eval_range=args.eval_range,
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
        args.out.write_text(json.dumps(found, indent=2) + '\n')


if __name__ == '__main__':
    run_tool(main)
