"""Test a checkpoint: ``python tools/test.py CONFIG CHECKPOINT``."""

import argparse
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'projects/TurboTrain'))


from turbotrain.commands import add_common_arguments, launch, load_config, run_tool

# isort: split
from mmengine.fileio import dump

from turbotrain.evaluation import json_metrics
from turbotrain.whole_file import write_whole


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Test a model')
    add_common_arguments(parser, checkpoint=True)
    parser.add_argument(
        '--predictions',
        type=Path,
        help='write what is predicted there, for tools/analysis/evaluate.py',
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    checkpoint = str(Path(args.checkpoint).resolve())
    predictions = args.predictions and str(args.predictions.resolve())
    cfg = load_config(args, ['model', 'test_dataloader', 'test_cfg', 'test_evaluator'])
    # A resumed training says so in the config that it leaves in its folder.
    cfg.load_from, cfg.resume = checkpoint, False
    # A test of weights that were never loaded would look like any other.
    cfg.custom_hooks = [*cfg.custom_hooks, dict(type='TransferReportHook', fresh=())]
    if predictions:
        own = cfg.test_evaluator
        writer = dict(type='PredictionWriter', path=predictions)
        cfg.test_evaluator = [*(own if isinstance(own, list | tuple) else [own]), writer]
    metrics = launch(cfg, 'test')
    if int(os.environ.get('RANK', 0)) == 0:
        write_whole(
            Path(cfg.work_dir) / 'metrics.json',
            dump(json_metrics(metrics), file_format='json', indent=2),
        )


if __name__ == '__main__':
    run_tool(main)
