"""Draw samples: ``python tools/visualize.py CONFIG CHECKPOINT --out a.png``.

A test sample with what a detector makes of it, as a picture (.png, .svg, .pdf); or its whole
scenario, seen by the same ego, as a video (.mp4, .gif). With ``--join`` the video shows one moment
in which the agents join the ego one by one. Rings mark objects that were missed, crosses detections
of nothing.

With ``--cameras``, the same sample or scenario in the pictures of all agents' cameras; with
``--points`` each agent's cloud, too. Without a checkpoint there are labels alone, enough to see
whether a calibration is right.

With ``--reconstruction``, a sample as a pretraining config loads it with what is hidden and what
the pretrainer makes of that. The data set is then that of training;
``--cfg-options train_dataloader.dataset.ann_file=...`` names another.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'projects/TurboTrain'))

from turbotrain.commands import add_common_arguments, load_config, run_tool

# isort: split
import numpy as np
import torch
from mmdet3d.models import Base3DDetector
from mmdet3d.registry import DATASETS, MODELS
from mmdet3d.structures import Det3DDataSample
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import init_default_scope
from tqdm import tqdm

from turbotrain.datasets import V2XPnPDataset
from turbotrain.datasets.readers import EXTRINSICS
from turbotrain.engine import load_weights
from turbotrain.pretraining import MaskedPretrainer
from turbotrain.visualization import (
    VIDEO_SUFFIXES,
    BEVAnimation,
    BEVScene,
    CameraScene,
    camera_scene,
    draw_bev,
    draw_cameras,
    first_agents,
    picture_of,
    reconstruct_and_draw,
    save_figure,
    scene_of,
    write_video,
)

SIZE, CAMERAS_SIZE = (960, 540), (1600, 900)  # of a video, in pixels


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Draw a sample with what the model makes of it')
    add_common_arguments(parser)
    parser.add_argument('checkpoint', nargs='?', help='checkpoint file; labels alone without one')
    parser.add_argument('--index', type=int, default=0, help='which sample of the data set')
    parser.add_argument('--cameras', action='store_true', help="in the agents' pictures")
    parser.add_argument('--points', action='store_true', help='clouds, too, with --cameras')
    parser.add_argument(
        '--extrinsic',
        choices=EXTRINSICS,
        help="what the annotations' matrices of cameras are, with --cameras (default: what "
        'data/README.md says of the data set)',
    )
    parser.add_argument(
        '--reconstruction', action='store_true', help='input, masked input, reconstruction, truth'
    )
    parser.add_argument('--seed', type=int, default=0, help='of the masks, with --reconstruction')
    parser.add_argument('--score', type=float, default=0.3, help='leave out detections below this')
    parser.add_argument(
        '--out', type=Path, default=Path('sample.png'), help='picture or video to write'
    )
    parser.add_argument('--fps', type=float, default=10, help='frames a second of a video')
    parser.add_argument(
        '--join', action='store_true', help='video of one sample, the agents joining one by one'
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    checkpoint, out = args.checkpoint and str(Path(args.checkpoint).resolve()), args.out.resolve()
    if args.cameras and (args.reconstruction or args.join):
        sys.exit('--cameras goes neither with --reconstruction nor with --join')
    if not args.cameras and (args.points or args.extrinsic):
        sys.exit('--points and --extrinsic go with --cameras')
    cfg = load_config(args, ['model', 'point_cloud_range'])
    init_default_scope(cfg.default_scope)
    model = None
    if checkpoint:
        device = 'cuda' if torch.cuda.is_available() else 'cpu'
        model = MODELS.build(cfg.model).to(device).eval()
        load_weights(model, checkpoint)
    loader = cfg.train_dataloader if args.reconstruction else cfg.get('test_dataloader')
    if loader is None or args.reconstruction != isinstance(model, MaskedPretrainer):
        sys.exit('--reconstruction goes with a pretraining config and its checkpoint, and only so')
    dataset = DATASETS.build(loader.dataset)
    if not 0 <= args.index < len(dataset):
        sys.exit(f'--index: the data set has samples 0 to {len(dataset) - 1}, got {args.index}')
    video = out.suffix in VIDEO_SUFFIXES
    if args.join and not video or video and args.reconstruction:
        sys.exit(
            f'--out: a video, which --join makes and --reconstruction does not, ends with one '
            f'of {VIDEO_SUFFIXES}, got {out.name!r}'
        )
    if (args.cameras or video and not args.join) and not isinstance(dataset, V2XPnPDataset):
        sys.exit(
            f'--out: a video of a scenario, and --cameras, need a V2XPnPDataset, the config tests '
            f'a {type(dataset).__name__}; name a config of one data set'
        )
    data = dataset[args.index]
    out.parent.mkdir(parents=True, exist_ok=True)
    if args.reconstruction:
        name = name_of(data['data_samples'])
        save_figure(reconstruct_and_draw(model, data, args.seed, name), out)
    elif video:
        steps = joining(data, args.fps) if args.join else scenario(dataset, args.index)
        look, draw = film(model, dataset, cfg, args)
        write_video(out, frames(steps, look, draw), args.fps)
    elif args.cameras:
        save_figure(draw_cameras(camera_look(model, dataset, args, data), points=args.points), out)
    else:
        save_figure(draw_bev(look_from_above(model, args, data), view_of(cfg)), out)
    print(f'{out}: {name_of(data["data_samples"])}, sample {args.index} of {len(dataset)}')


# A sample that is yet to be loaded, and for how many frames it is shown.
Step = tuple[Callable[[], dict], int]


def scenario(dataset: V2XPnPDataset, index: int) -> list[Step]:
    """The samples of a sample's scenario with the same ego, in time."""
    keys = []
    for i in range(len(dataset)):
        info = dataset.get_data_info(i)
        keys.append((info['scenario'], info['agents'].ids[0], info['frame']))
    chosen = [i for i, key in enumerate(keys) if key[:2] == keys[index][:2]]
    return [(partial(dataset.__getitem__, i), 1) for i in sorted(chosen, key=lambda i: keys[i][2])]


def joining(data: dict, fps: float) -> list[Step]:
    """One sample with one agent, two, ..., each for a second and a half."""
    counts = range(1, len(data['data_samples'].agents) + 1)
    return [(partial(first_agents, data, n), round(1.5 * fps)) for n in counts]


def film(
    model: Base3DDetector | None, dataset: V2XPnPDataset, cfg: Config, args: argparse.Namespace
) -> tuple[Callable[[dict], Any], Callable[[Any], np.ndarray]]:
    """How a loaded sample becomes a scene, and how a scene becomes a picture of a video."""
    if not args.cameras:
        return partial(look_from_above, model, args), BEVAnimation(view_of(cfg), SIZE).frame

    def draw(scene: CameraScene) -> np.ndarray:
        return picture_of(draw_cameras(scene, CAMERAS_SIZE, args.points))

    return partial(camera_look, model, dataset, args), draw


def frames(
    steps: list[Step], look: Callable[[dict], Any], draw: Callable[[Any], np.ndarray]
) -> Iterator[np.ndarray]:
    """Pictures of samples; each is loaded, looked at and drawn once."""
    seconds = []
    for load, shown in tqdm(steps, unit='sample'):
        scene = look(load())
        start = time.perf_counter()
        picture = draw(scene)
        seconds.append(time.perf_counter() - start)
        yield from [picture] * shown
    count = sum(shown for _, shown in steps)
    print(f'{count} frames; drawing one took {1e3 * statistics.median(seconds):.0f} ms')


def predicted(
    model: Base3DDetector | None, data: dict
) -> tuple[Det3DDataSample, list[torch.Tensor]]:
    """A sample with what the model makes of it, if there is one, and its clouds."""
    sample = data['data_samples']
    clouds = list(data['inputs']['points'].split(sample.num_points))
    if model is not None:
        with torch.no_grad():
            sample = model.test_step(pseudo_collate([data]))[0]
    return sample, clouds


def look_from_above(model: Base3DDetector | None, args: argparse.Namespace, data: dict) -> BEVScene:
    return scene_of(*predicted(model, data), args.score)


def camera_look(
    model: Base3DDetector | None, dataset: V2XPnPDataset, args: argparse.Namespace, data: dict
) -> CameraScene:
    return camera_scene(
        *predicted(model, data),
        dataset.metainfo['classes'],
        dataset.infos.dialect,
        args.score,
        args.extrinsic,
        dataset.backend_args,
    )


def view_of(cfg: Config) -> tuple[float, float, float, float]:
    x_min, y_min, _, x_max, y_max, _ = cfg.point_cloud_range
    return x_min, y_min, x_max, y_max


def name_of(sample: Det3DDataSample) -> str:
    if 'scenario' in sample:
        return f'{sample.scenario}, frame {sample.frame}'
    return Path(sample.get('lidar_path', '')).name


if __name__ == '__main__':
    run_tool(main)
