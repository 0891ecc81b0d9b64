"""Make info files: ``python tools/create_data.py v2xpnp --root-path data/v2xpnp``."""

import argparse
import os
import shutil
import sys
import time
from collections import defaultdict
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'projects/TurboTrain'))

from mmengine.config import Config
from tqdm import tqdm

from turbotrain.commands import KeyValues, run_tool
from turbotrain.datasets import (
    IgnoreList,
    build_infos,
    load_ignore_list,
    save_infos,
)
from turbotrain.datasets.checking.checks import (
    OTHER_DATASET,
    CheckOptions,
    check_sample,
)
from turbotrain.datasets.readers import (
    DIALECTS,
    LABELS,
    DairSource,
    DataFileError,
    list_folder,
    open_source,
)

# Folder of a split as it may be called on disk -> name of the split in the info file.
SPLITS = dict(
    train='train',
    val='val',
    validate='val',
    test='test',
    v2v_test='v2v_test',
    test_culver_city='test_culver_city',
)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Parse all annotations once, into info files. An interrupted run goes on where '
        'it stopped when it is started again.'
    )
    parser.add_argument('dataset', choices=sorted(DIALECTS), help='whose conventions files follow')
    parser.add_argument('--root-path', required=True, help='folder of the dataset')
    parser.add_argument('--out-dir', type=Path, help='where to write; the root path by default')
    parser.add_argument('--splits', nargs='+', help='splits; all that are there by default')
    add_reading_arguments(parser)
    return parser.parse_args()


def add_reading_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the tools that read a whole dataset."""
    parser.add_argument('--workers', type=at_least_one, default=os.cpu_count(), help='processes')
    parser.add_argument(
        '--ignore-list', help='what to leave out, as check_dataset.py --fix-list writes it'
    )
    parser.add_argument(
        '--labels',
        choices=LABELS,
        default=LABELS[0],
        help="of dair_v2x_c: the authors' labels, or those that CoAlign completed "
        '(default %(default)s)',
    )
    parser.add_argument(
        '--backend-args',
        nargs='+',
        action=KeyValues,
        help="storage of the dataset for mmengine's fileio, e.g. backend=petrel",
    )


def at_least_one(text: str) -> int:
    """An argument's number."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f'expected a number from 1 up, got {text}')
    return int(text)


def main() -> None:
    args = parse_args()
    if args.backend_args:  # of which values may be dictionaries
        nested = Config()
        nested.merge_from_dict(args.backend_args)
        args.backend_args = nested.to_dict()
    out_dir = args.out_dir or Path(args.root_path)
    try:
        found = splits_of(args.root_path, args.backend_args, args.splits, args.dataset, args.labels)
        ignore = load_ignore_list(args.ignore_list) if args.ignore_list else IgnoreList()
        for folder in found:
            look_at(args, folder, ignore)
        out_dir.mkdir(parents=True, exist_ok=True)
        for folder in found:
            make_infos(args, folder, out_dir, ignore)
    except DataFileError as error:
        sys.exit(f'error: {error}')


def splits_of(
    root_path: str,
    backend_args: dict | None = None,
    chosen: list[str] | None = None,
    dataset: str = 'v2xpnp',
    labels: str = LABELS[0],
) -> list[str]:
    """Names of the splits that are chosen, by default all that are there.

    Raises:
        DataFileError: there is none, two are the same split, or one is no folder of the root path.
        SettingError: the dataset has not these labels.
    """
    source = open_source(root_path, dataset, labels, backend_args)
    if isinstance(source, DairSource):
        return chosen or source.labelled_splits()
    if chosen is None:
        there = list_folder(root_path, backend_args).folders
        found = [folder for folder in SPLITS if folder in there]
    else:
        found = [folder.rstrip('/') for folder in chosen]  # as a shell completes it
    by_split = defaultdict(list)
    for folder in found:
        if folder in ('', '.', '..') or '/' in folder:
            raise DataFileError(root_path, f'--splits: expected names of folders, got {folder!r}')
        by_split[SPLITS.get(folder, folder)].append(folder)
    for folders in by_split.values():
        if len(folders) > 1:
            raise DataFileError(
                root_path, f'{" and ".join(folders)} are the same split; say which by --splits'
            )
    if not found:
        raise DataFileError(root_path, f'expected at least one of the folders {", ".join(SPLITS)}')
    return found


def look_at(args: argparse.Namespace, folder: str, ignore: IgnoreList) -> None:
    """Stop at files of another dataset, and warn of labels that do not lie where points are."""
    options = CheckOptions(
        args.dataset, ignore=ignore, backend_args=args.backend_args, labels=args.labels
    )
    for finding in check_sample(args.root_path, folder, options):
        if finding.kind == OTHER_DATASET:
            raise DataFileError(os.path.join(args.root_path, finding.path), finding.text)
        print(f'warning: {finding.path}: {finding.kind}: {finding.text}', file=sys.stderr)


def make_infos(args: argparse.Namespace, folder: str, out_dir: Path, ignore: IgnoreList) -> None:
    start = time.perf_counter()
    path = out_dir / f'{args.dataset}_infos_{SPLITS.get(folder, folder)}.npz'
    parts_dir = Path(f'{path}.parts')
    infos = build_infos(
        args.root_path,
        folder,
        args.dataset,
        args.workers,
        partial(tqdm, desc=folder),
        ignore,
        str(parts_dir),
        args.backend_args,
        args.labels,
    )
    save_infos(str(path), infos)
    shutil.rmtree(parts_dir)
    missing = int((infos.cloud == '').sum())
    print(
        f'{path}: {len(infos.scenarios)} scenarios, {len(infos.agent)} annotations '
        f'({missing} without a cloud), {len(infos.object_id)} labels, '
        f'{time.perf_counter() - start:.1f} s'
    )


if __name__ == '__main__':
    run_tool(main)
