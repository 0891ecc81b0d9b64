"""Make info files: ``python tools/create_data.py v2xpnp --root-path data/v2xpnp``."""

import argparse
import os
import sys
import time
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tqdm import tqdm

from projects.TurboTrain.turbotrain.datasets import build_infos, save_infos
from projects.TurboTrain.turbotrain.datasets.readers import DataFileError

# Folder of a split as it may be called on disk -> name of the split in the info file.
SPLITS = dict(train='train', val='val', validate='val', test='test')


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Parse all annotations once, into info files')
    parser.add_argument('dataset', choices=['v2xpnp'], help='layout of the dataset')
    parser.add_argument('--root-path', required=True, type=Path, help='folder of train/, val/, ...')
    parser.add_argument('--out-dir', type=Path, help='where to write; the root path by default')
    parser.add_argument('--workers', type=int, default=os.cpu_count(), help='processes')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    out_dir = args.out_dir or args.root_path
    found = [folder for folder in SPLITS if (args.root_path / folder).is_dir()]
    if not found:
        sys.exit(f'{args.root_path}: expected at least one of the folders {", ".join(SPLITS)}')
    out_dir.mkdir(parents=True, exist_ok=True)
    for folder in found:
        start = time.perf_counter()
        try:
            infos = build_infos(
                str(args.root_path), folder, args.workers, partial(tqdm, desc=folder)
            )
        except DataFileError as error:
            sys.exit(f'error: {error}')
        path = out_dir / f'{args.dataset}_infos_{SPLITS[folder]}.npz'
        save_infos(str(path), infos)
        missing = int((infos.cloud == '').sum())
        print(
            f'{path}: {len(infos.scenarios)} scenarios, {len(infos.agent)} annotations '
            f'({missing} without a cloud), {len(infos.object_id)} labels, '
            f'{time.perf_counter() - start:.1f} s'
        )


if __name__ == '__main__':
    main()
