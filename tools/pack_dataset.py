"""Pack a dataset into an LMDB: ``python tools/pack_dataset.py data/v2xpnp``."""

import argparse
import os
import sys
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'projects/TurboTrain'))

from tqdm import tqdm

from turbotrain.commands import run_tool
from turbotrain.datasets.packing import pack_dataset


def main() -> None:
    parser = argparse.ArgumentParser(
        description='Pack info files, clouds, maps and object databases into one LMDB'
    )
    parser.add_argument('data_root', help='root of the dataset, with its info files')
    parser.add_argument('--out', help='folder of the store; DATA_ROOT.lmdb by default')
    args = parser.parse_args()
    out = args.out or f'{os.path.abspath(args.data_root)}.lmdb'
    count = pack_dataset(args.data_root, out, partial(tqdm, desc='pack', unit='file'))
    backend = f"dict(backend='lmdb', db_path={str(Path(out).resolve())!r})"
    print(f'{out}: {count} files. In a config that inherits yours:')
    print(f"store = dict(data_root='', backend_args={backend})")
    for loader in ('train', 'val', 'test'):
        print(f'{loader}_dataloader = dict(dataset=store)')


if __name__ == '__main__':
    run_tool(main)
