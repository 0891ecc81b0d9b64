"""Detect in a folder without labels: ``python tools/infer.py CONFIG CHECKPOINT FOLDER``.

FOLDER is one scenario, or a folder of scenarios, in the layout of the config's dataset
(data/README.md): clouds, and YAML files of which the poses alone are read. Every moment of the
config's ego is looked at. What is found goes to ``predictions.jsonl`` in the folder ``--out``, in
the format of the package's ``evaluation/predictions.py``, and to pictures in ``vis``; with
``--video`` to one video of each scenario instead.
"""

import argparse
import sys
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'projects/TurboTrain'))

import numpy as np

from turbotrain.commands import (
    add_common_arguments,
    load_config,
    run_tool,
)
from turbotrain.online import CooperativeInferencer
from turbotrain.visualization import BEVAnimation, scene_of, write_video

SIZE = (960, 540)  # of a video, in pixels


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Detect and forecast in a folder without labels')
    add_common_arguments(parser, checkpoint=True)
    parser.add_argument('folder', type=Path, help='of one scenario, or of scenarios')
    parser.add_argument(
        '--out', type=Path, default=Path('inferred'), help='folder to write (default: inferred)'
    )
    parser.add_argument('--score', type=float, default=0.3, help='leave out detections below this')
    parser.add_argument('--batch-size', type=int, default=1, help='moments at a time')
    parser.add_argument('--video', action='store_true', help='videos instead of pictures')
    parser.add_argument('--fps', type=float, default=10, help='frames a second of a video')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    folder, out = args.folder.resolve(), args.out.resolve()
    checkpoint = str(Path(args.checkpoint).resolve())
    cfg = load_config(args, ['model', 'test_dataloader'])
    inferencer = CooperativeInferencer(cfg, checkpoint)
    settings = dict(batch_size=args.batch_size, pred_score_thr=args.score)
    if args.video:
        write_videos(inferencer, folder, out, args.fps, **settings)
    else:
        inferencer(folder, out_dir=out, **settings)
    print(f'{out}: predictions.jsonl and {"videos" if args.video else "pictures"} in vis')


def write_videos(
    inferencer: CooperativeInferencer, folder: Path, out: Path, fps: float, **settings: float
) -> None:
    """Write a video of each scenario while its moments are looked at, then the predictions."""
    writer = inferencer.writer(out / 'predictions.jsonl')
    found = inferencer.samples(folder, **settings)

    def frames(moments: Iterator) -> Iterator[np.ndarray]:
        animation = BEVAnimation(inferencer.view, SIZE)
        for sample, clouds in moments:
            writer.process(None, [sample.to_dict()])
            yield animation.frame(scene_of(sample, clouds, score_threshold=0.0))

    for scenario, moments in groupby(found, key=lambda moment: moment[0].scenario):
        write_video(out / 'vis' / f'{scenario}.mp4', frames(moments), fps)
    writer.compute_metrics(writer.results)


if __name__ == '__main__':
    run_tool(main)
