"""Find what is broken in a dataset: ``python tools/check_dataset.py data/v2xpnp``.

The exit code is 1 if training would fail on what was found or learn what is wrong, else 0.
"""

import argparse
import json
import sys
from collections import defaultdict
from dataclasses import asdict
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / 'projects/TurboTrain')]

from tqdm import tqdm

from tools.create_data import add_reading_arguments, splits_of
from turbotrain.commands import run_tool
from turbotrain.datasets import IgnoreList, load_ignore_list, save_ignore_list
from turbotrain.datasets.checking.checks import (
    MOSTLY_BAD,
    CheckOptions,
    Finding,
    check_dataset,
    ignore_list_of,
)
from turbotrain.datasets.checking.recognition import recognise_dataset, recognise_layout
from turbotrain.datasets.class_maps import CLASS_MAPS
from turbotrain.datasets.readers import DIALECTS, DataFileError
from turbotrain.whole_file import write_whole


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Look for broken files and odd labels')
    parser.add_argument('data_root', help='folder of the dataset')
    parser.add_argument(
        '--dataset',
        choices=sorted(DIALECTS),
        help='whose conventions the files follow; what they look like by default',
    )
    parser.add_argument('--splits', nargs='+', help='splits; all that are there by default')
    parser.add_argument('--class-map', choices=sorted(CLASS_MAPS), default='v2xreal3')
    parser.add_argument('--no-clouds', action='store_true', help='leave point clouds unread')
    add_reading_arguments(parser)
    parser.add_argument('--json', type=Path, help='write all findings to this file')
    parser.add_argument(
        '--fix-list',
        help='write what create_data.py --ignore-list should leave out, --ignore-list included',
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    names = frozenset(name for raws in CLASS_MAPS[args.class_map].values() for name in raws)
    root = args.data_root.rstrip('/') or '/'
    try:
        ignore = load_ignore_list(args.ignore_list) if args.ignore_list else IgnoreList()
        dataset, why = args.dataset, ''
        if not dataset:
            dataset, why = recognise_layout(root, args.backend_args)
        known = dataset or 'v2xpnp'
        splits = splits_of(root, args.backend_args, args.splits, known, args.labels)
        if not dataset:
            dataset, why = recognise_dataset(root, splits, args.backend_args)
        if why:
            print(f'read as {dataset}: {why}; --dataset names another')
        options = CheckOptions(
            dataset,
            names,
            clouds=not args.no_clouds,
            ignore=ignore,
            backend_args=args.backend_args,
            labels=args.labels,
        )
        findings = check_dataset(
            root, splits, options, args.workers, partial(tqdm, desc='check', unit='scenario')
        )
    except DataFileError as error:
        sys.exit(f'error: {error}')
    print_table(findings)
    if args.json:
        write_whole(args.json, json.dumps(list(map(asdict, findings)), indent=2) + '\n')
        print(f'all findings: {args.json}')
    if args.fix_list and any(finding.kind == MOSTLY_BAD for finding in findings):
        print(f'no ignore list {args.fix_list}: it would leave out most of the dataset')
    elif args.fix_list:
        save_ignore_list(args.fix_list, ignore.union(ignore_list_of(findings)))
        print(
            f'ignore list: {args.fix_list}; python tools/create_data.py {dataset} '
            f'--root-path {root} --ignore-list {args.fix_list}'
        )
    if any(finding.severity == 'error' for finding in findings):
        sys.exit(1)


def print_table(findings: list[Finding]) -> None:
    groups = defaultdict(list)
    for finding in findings:
        groups[finding.severity, finding.kind].append(finding)
    if not groups:
        print('nothing found')
        return
    print(f'{"severity":<9} {"kind":<21} {"count":>5}  first')
    for (severity, kind), group in sorted(groups.items()):
        print(f'{severity:<9} {kind:<21} {len(group):>5}  {group[0].path}: {group[0].text}')


if __name__ == '__main__':
    run_tool(main)
