"""See it at work without training: ``python tools/look.py``.

Simulates six seconds at an intersection, detects and forecasts in them with the weights that the
repository has, and writes a video.
"""

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / 'projects/TurboTrain')]

from tools.infer import write_videos
from turbotrain.commands import run_tool
from turbotrain.online import CooperativeInferencer
from turbotrain.simulation import SensorOptions, SetOptions, simulate_dataset

WEIGHTS = ROOT / 'weights/turbotrain_mini_v2xpnp.pth'
SCENE = SetOptions(
    seed=3,
    intersections=(0, 0, 1),
    corridors=(0, 0, 0),
    sensors=SensorOptions(duration=6.0, frame_stride=1),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        '--out', type=Path, default=ROOT / 'work_dirs/look', help='folder (default: work_dirs/look)'
    )
    out = parser.parse_args().out.resolve()
    os.chdir(ROOT)  # paths in configs are relative to it
    card = json.loads(WEIGHTS.with_suffix('.json').read_text())
    inferencer = CooperativeInferencer(ROOT / card['config'], WEIGHTS)
    with tempfile.TemporaryDirectory() as folder:
        simulate_dataset(Path(folder) / 'set', SCENE)
        write_videos(inferencer, Path(folder) / 'set/test', out, fps=10, pred_score_thr=0.3)
    (video,) = (out / 'vis').glob('*.mp4')
    print(f'{video}: what the agents see, detect and forecast together')


if __name__ == '__main__':
    run_tool(main)
