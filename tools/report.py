"""Compare runs on one page: ``python tools/report.py WORK_DIR [WORK_DIR ...] --out report.html``.

The page needs no network and no server: everything is in the file. It shows what is in the work
directories: losses, learning rate, conflict, metrics with their differences to the first run,
precision-recall curves and what EPA is made of (from predictions*.jsonl, as ``tools/test.py
--predictions`` writes it), robustness, pictures, and in what configs differ. Configs are code,
which runs when they are read.
"""

import argparse
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'projects/TurboTrain'))

from mmengine.registry import init_default_scope

from turbotrain.commands import ROOT, run_tool
from turbotrain.errors import UserError
from turbotrain.report import Options, read_runs, render_report
from turbotrain.whole_file import write_whole


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('work_dirs', nargs='+', type=Path, metavar='WORK_DIR')
    parser.add_argument('--out', type=Path, default=Path('report.html'), help='page to write')
    parser.add_argument(
        '--infos', type=Path, help="info file of the ground truth, not the configs'"
    )
    parser.add_argument('--stills', type=int, default=10, help='moments to draw; 0: no pictures')
    parser.add_argument('--score', type=float, default=0.3, help='of detections that are drawn')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    out, infos = args.out.resolve(), args.infos and args.infos.resolve()
    if infos and not infos.is_file():
        raise UserError(f'--infos: there is no file {args.infos}')
    runs = read_runs(args.work_dirs)
    os.chdir(ROOT)  # where paths inside configs are relative to
    init_default_scope('mmdet3d')
    page = render_report(runs, Options(infos, args.stills, args.score))
    out.parent.mkdir(parents=True, exist_ok=True)
    write_whole(out, page)
    count = f'{len(runs)} run{"s" * (len(runs) > 1)}'
    print(f'{out}: {count}, {out.stat().st_size / 1e6:.1f} MB')


if __name__ == '__main__':
    run_tool(main)
