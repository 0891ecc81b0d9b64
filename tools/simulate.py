"""Simulate a small cooperative data set in the V2XPnP-Seq format, or in DAIR-V2X's.

Example:
    python tools/simulate.py --out data/mini_v2xpnp
    python tools/simulate.py --preset midi --out data/midi_v2xpnp
    python tools/simulate.py --layout v2x_seq --cameras --out data/mini_v2x_seq
"""

import argparse
import os
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'projects/TurboTrain'))

from turbotrain.commands import run_tool
from turbotrain.simulation import (
    DAIR_LAYOUTS,
    PRESETS,
    SensorOptions,
    SetOptions,
    rewrite_as_dair,
    simulate_dataset,
)


def parse_arguments() -> argparse.Namespace:
    sensors = SensorOptions()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--out', type=Path, required=True, help='root of the set')
    parser.add_argument(
        '--preset',
        choices=PRESETS,
        default='mini',
        help='what --seed, --intersections and --corridors are by default (default %(default)s)',
    )
    parser.add_argument(
        '--layout',
        choices=('v2xpnp', *DAIR_LAYOUTS),
        default='v2xpnp',
        help='whose files to write; those of DAIR-V2X have one vehicle and one roadside unit '
        '(default %(default)s)',
    )
    parser.add_argument('--seed', type=int, help="default: the preset's")
    parser.add_argument(
        '--workers',
        type=int,
        default=os.cpu_count() or 1,
        help='processes; they do not change the result (default: all cores)',
    )
    split = ('TRAIN', 'VAL', 'TEST')
    parser.add_argument(
        '--intersections',
        type=int,
        nargs=3,
        metavar=split,
        help="scenarios (default: the preset's)",
    )
    parser.add_argument(
        '--corridors',
        type=int,
        nargs=3,
        metavar=split,
        help="scenarios (default: the preset's)",
    )
    parser.add_argument(
        '--duration',
        type=float,
        default=sensors.duration,
        help='seconds of a scenario (default %(default)s)',
    )
    parser.add_argument(
        '--frame-stride',
        type=int,
        default=sensors.frame_stride,
        help='10 Hz frames between two clouds (default %(default)s)',
    )
    parser.add_argument(
        '--beam-step',
        type=int,
        default=sensors.beam_step,
        help='use every n-th LiDAR beam (default %(default)s)',
    )
    parser.add_argument(
        '--azimuth-step',
        type=int,
        default=sensors.azimuth_step,
        help='use every n-th LiDAR firing of 0.2 degrees (default %(default)s)',
    )
    parser.add_argument(
        '--min-points',
        type=int,
        default=sensors.min_points,
        help='points an object needs to be labelled (default %(default)s)',
    )
    parser.add_argument(
        '--cameras', action='store_true', help='have agents take simple pictures, too'
    )
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    begin = time.perf_counter()
    given = {
        name: tuple(value) if isinstance(value, list) else value
        for name in ('seed', 'intersections', 'corridors')
        if (value := getattr(arguments, name)) is not None
    }
    options = replace(
        PRESETS[arguments.preset],
        **given,
        sensors=SensorOptions(
            arguments.duration,
            arguments.frame_stride,
            arguments.beam_step,
            arguments.azimuth_step,
            arguments.min_points,
            arguments.cameras,
        ),
    )
    if arguments.layout == 'v2xpnp':
        summary = simulate_dataset(arguments.out, options, arguments.workers)
    else:
        summary = simulate_as(arguments.layout, arguments.out, options, arguments.workers)
    size = sum(file.stat().st_size for file in arguments.out.rglob('*') if file.is_file())
    print(
        f'{arguments.out}: {len(summary["scenarios"])} scenarios, {size / 1e6:.0f} MB, '
        f'{time.perf_counter() - begin:.0f} s'
    )
    for kind in ('intersection', 'corridor'):
        if kind in summary:
            print(f'{kind}: ' + ', '.join(f'{k} {v:g}' for k, v in summary[kind].items()))


def simulate_as(layout: str, out: Path, options: SetOptions, workers: int) -> dict[str, object]:
    """Simulate a set, and write it in another layout: whole or not at all.

    Raises:
        FileExistsError: there is something at ``out``.
    """
    if out.exists() and any(out.iterdir()):
        raise FileExistsError(f'{out}: not empty; choose another folder')
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent) as folder:
        summary = simulate_dataset(Path(folder) / 'set', options, workers)
        rewrite_as_dair(Path(folder) / 'set', Path(folder) / layout, layout)
        (Path(folder) / layout).replace(out)
    return summary


if __name__ == '__main__':
    run_tool(main)
