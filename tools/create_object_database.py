"""Collect objects to paste: ``python tools/create_object_database.py CONFIG``."""

import argparse
import sys
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'projects/TurboTrain'))

from mmdet3d.registry import DATASETS, TRANSFORMS
from mmengine.registry import init_default_scope
from tqdm import tqdm

from turbotrain.commands import (
    add_common_arguments,
    load_config,
    only_dataset,
    run_tool,
)
from turbotrain.datasets.object_database import (
    build_object_database,
    save_objects,
)


def main() -> None:
    parser = argparse.ArgumentParser(description='Collect the objects of a training split')
    add_common_arguments(parser)
    parser.add_argument('--out', type=Path, help='DATA_ROOT/objects.npz by default')
    args = parser.parse_args()
    out = args.out.resolve() if args.out else None
    cfg = load_config(args, ['train_dataloader'])
    init_default_scope(cfg.default_scope)
    settings = only_dataset(cfg.train_dataloader)
    dataset = DATASETS.build({**settings, 'pipeline': []})
    # As in training, but that intensities stay: the transform that pastes knows what is wanted.
    own = [step for step in settings.pipeline if step['type'] == 'LoadCooperativePoints']
    load = dict(own[0] if own else dict(type='LoadCooperativePoints'), zero_intensity=False)
    out = out or Path(dataset.data_root) / 'objects.npz'
    objects = build_object_database(
        dataset, load=TRANSFORMS.build(load), progress=partial(tqdm, desc='objects')
    )
    save_objects(str(out), objects)
    for label, name in enumerate(objects.class_names):
        print(f'{name:<12} {(objects.label == label).sum():>6} objects')
    print(out)


if __name__ == '__main__':
    run_tool(main)
