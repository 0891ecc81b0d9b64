"""Write samples or predictions as KITTI or nuScenes has them, for mmdet3d's own tools.

Example:
    python tools/export.py kitti --infos data/v2xpnp/v2xpnp_infos_train.npz --out data/kitti

A sample becomes one cloud of all agents in the ego's frame, or of the ego alone, with the labels of
all agents. What the command line does not say is as in the config of the data set in
``configs/_base_/datasets``. An interrupted export goes on where it stopped when it is repeated.
"""

import argparse
import hashlib
import sys
from collections.abc import Collection
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / 'projects/TurboTrain'))

from mmdet3d.registry import DATASETS, TRANSFORMS
from mmengine.registry import init_default_scope
from tqdm import tqdm

from turbotrain.commands import run_tool
from turbotrain.datasets import CLASS_MAPS, MODES
from turbotrain.engine.dataset_config import dataset_config
from turbotrain.errors import UserError
from turbotrain.export import (
    KITTI_NAMES,
    NUSCENES_NAMES,
    Moments,
    begin_export,
    predicted_moments,
    split_of,
    write_kitti,
    write_kitti_predictions,
    write_nuscenes,
    write_nuscenes_predictions,
)

NAMES = dict(kitti=KITTI_NAMES, nuscenes=NUSCENES_NAMES)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('format', choices=[*NAMES], help='whose files to write')
    parser.add_argument(
        '--infos', type=Path, nargs='+', required=True, help='info files, one of each split'
    )
    parser.add_argument('--out', type=Path, required=True, help='folder to write')
    parser.add_argument(
        '--predictions',
        type=Path,
        help='write these, as tools/test.py --predictions writes them, instead of the samples',
    )
    parser.add_argument('--mode', choices=[*MODES], help='who is the ego, and whom it hears')
    parser.add_argument(
        '--ego', choices=['first', 'every'], default='first', help='agents that are the ego in turn'
    )
    parser.add_argument('--alone', action='store_true', help="clouds of the ego's LiDAR alone")
    parser.add_argument('--class-map', choices=[*CLASS_MAPS])
    parser.add_argument(
        '--names',
        nargs='+',
        default=[],
        metavar='CLASS=NAME',
        help="what the format calls a class, where the names don't say it",
    )
    return parser.parse_args()


def names_of(args: argparse.Namespace, classes: Collection[str]) -> dict[str, str]:
    """Class of the class map -> class of the format; ``classes`` are those of the data set."""
    names = dict(NAMES[args.format])
    for word in args.names:
        own, _, other = word.partition('=')
        if own not in classes:
            raise UserError(
                f'--names: expected CLASS=NAME with a CLASS of {sorted(classes)}, got {word!r}'
            )
        if other not in names.values():
            raise UserError(
                f'--names: expected CLASS=NAME with a NAME of {sorted({*names.values()})}, got '
                f'{word!r}'
            )
        names[own] = other
    return names


def open_split(infos: Path, args: argparse.Namespace) -> Moments:
    """The samples of an info file."""
    own = dataset_config(infos).test_dataloader.dataset
    load = next(step for step in own.pipeline if step.type == 'LoadCooperativePoints')
    own.update(
        pipeline=[], ego=args.ego, drop_corridors=False, num_history=0, num_future=0,
        serialize_data=False,  # which pays where workers share it
        **{key: getattr(args, key) for key in ('mode', 'class_map') if getattr(args, key)},
    )  # fmt: skip
    load = TRANSFORMS.build({**load, 'zero_intensity': False})
    dataset = DATASETS.build(own)
    names = names_of(args, dataset.metainfo['classes'])
    return Moments(split_of(infos), dataset, load, names, args.alone)


def settings_of(args: argparse.Namespace, splits: list[Moments]) -> dict[str, object]:
    """All that the content of the files depends on."""
    files = [*args.infos, *([args.predictions] if args.predictions else [])]
    return dict(
        format=args.format,
        files={path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files},
        mode=splits[0].dataset.mode,
        ego=args.ego,
        alone=args.alone,
        class_map=args.class_map,
        classes=dict(zip(splits[0].classes, splits[0].names, strict=True)),
    )


def main() -> None:
    args = parse_args()
    init_default_scope('mmdet3d')
    if args.predictions and len(args.infos) > 1:
        raise UserError('--predictions: expected the one info file of their split in --infos')
    names = [split_of(infos) for infos in args.infos]
    if len({*names}) < len(names):
        raise UserError(f'--infos: expected one file of each split, got {", ".join(names)}')
    splits = [open_split(infos, args) for infos in args.infos]
    # The whole file, before a folder is made for it.
    predicted = predicted_moments(args.predictions, splits[0]) if args.predictions else None
    begin_export(args.out, settings_of(args, splits))
    count = sum(map(len, splits))
    progress = partial(tqdm, desc=args.format, unit='sample')
    if predicted is not None:
        predicted = progress(predicted, total=count)
        if args.format == 'kitti':
            write_kitti_predictions(args.out, splits[0], predicted)
        else:
            write_nuscenes_predictions(args.out / 'results_nusc.json', predicted)
    else:
        write = dict(kitti=write_kitti, nuscenes=write_nuscenes)[args.format]
        write(args.out, splits, progress)
    print(f'{args.out}: {count} samples of {", ".join(names)}')


if __name__ == '__main__':
    run_tool(main)
