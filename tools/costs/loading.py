"""How fast samples are made: ``python tools/costs/loading.py`` (on the mini set).

One sample (4 agents x 5 frames, all transforms but pasting, packed) against the floor, which is
``np.fromfile`` of the same clouds and one matrix product each, and against a loader that parses the
sample's annotations with PyYAML's pure-Python loader, once each. And: what a worker adds to the
memory it shares with its parent, for data sets of 1,000 to 100,000 samples.
The last line is one JSON object.
"""

import argparse
import json
import multiprocessing
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / 'projects/TurboTrain'))

import numpy as np
import torch
import yaml
from mmengine.registry import init_default_scope

from turbotrain.datasets import Infos, V2XPnPDataset, save_infos
from turbotrain.recipes.circumstances import circumstances

RANGE = [-51.2, -25.6, -5.0, 51.2, 25.6, 3.0]
PIPELINE = [
    dict(type='CooperativeDelay', delay=(0.0, 0.2)),
    # Asked, but lose nothing: the floor reads all clouds.
    dict(type='CooperativeAgentDropout', probability=0.0),
    dict(type='CooperativePacketLoss', probability=0.0),
    dict(type='LoadCooperativePoints'),
    dict(type='LoadVectorMap'),
    dict(type='CooperativePoseNoise', position=0.2, heading=0.2),
    dict(type='ProjectPointsToEgo'),
    dict(type='CooperativeGlobalAugmentation'),
    dict(type='CooperativeRangeFilter', point_cloud_range=RANGE),
    dict(type='PackCooperativeInputs'),
]


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Time the making of samples')
    parser.add_argument('--data-root', type=Path, default=ROOT / 'data/mini_v2xpnp')
    parser.add_argument('--samples', type=int, default=40, help='samples to time')
    parser.add_argument('--repeats', type=int, default=7, help='times each; the median counts')
    parser.add_argument('--memory-only', action='store_true', help='leave out the times')
    return parser.parse_args()


def measure_times(args: argparse.Namespace) -> dict[str, float]:
    """Milliseconds per sample of each way, taken in turns so that all meet the same machine."""
    dataset = V2XPnPDataset(
        'v2xpnp_infos_train.npz',
        str(args.data_root),
        ego='every',
        pipeline=PIPELINE,
        test_mode=True,
    )
    order = random.Random(0).sample(range(len(dataset)), len(dataset))
    full = (i for i in order if dataset.get_data_info(i)['agents'].valid.sum() == 20)
    chosen = [i for i, _ in zip(full, range(args.samples), strict=False)]
    if not chosen:
        sys.exit(f'{args.data_root}: no sample has 4 agents with 5 frames each')
    infos = {i: dataset.get_data_info(i) for i in chosen}
    ways = dict(sample=dataset.prepare_data, floor=lambda i: read_and_move(infos[i]))
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(args.repeats):
        for name, way in ways.items():
            for i in chosen:
                start = time.perf_counter()
                way(i)
                seconds[name].append(time.perf_counter() - start)
    ms = {name: 1e3 * statistics.median(values) for name, values in seconds.items()}
    parsing = []
    for i in chosen[:3]:  # seconds each
        start = time.perf_counter()
        for path in infos[i]['cloud_paths']:
            yaml.load(Path(path).with_suffix('.yaml').read_text(), Loader=yaml.SafeLoader)
        parsing.append(time.perf_counter() - start)
    ms['yaml'] = ms['floor'] + 1e3 * statistics.median(parsing)
    points = sum(len(cloud) for cloud in read_and_move(infos[chosen[0]]))
    print(f'{len(chosen)} samples of 4 agents x 5 frames, {points} points in the first\n')
    for name, what in (
        ('floor', 'np.fromfile and a matrix product'),
        ('sample', 'V2XPnPDataset, all transforms'),
        ('yaml', 'parsing the annotations, and the floor'),
    ):
        print(f'{what:<40} {ms[name]:9.2f} ms {ms[name] / ms["floor"]:8.1f} x floor')
    return ms


def read_and_move(info: dict) -> list[np.ndarray]:
    """The least any loader has to do."""
    matrices = info['agents'].ego_from_agent.reshape(-1, 4, 4).astype(np.float32)
    return [
        np.fromfile(path, dtype='<f4').reshape(-1, 4) @ matrix.T
        for path, matrix in zip(info['cloud_paths'], matrices, strict=True)
    ]


def measure_memory(folder: Path) -> dict[str, float]:
    """MB that are a worker's own after 2,000 samples, by the number of samples of the data set."""
    grown = {}
    for count in (1_000, 10_000, 100_000):
        path = folder / 'infos.npz'
        save_infos(str(path), synthetic_infos(count))
        # Clouds are not read: their size does not depend on the number of samples.
        dataset = V2XPnPDataset('infos.npz', str(folder), ego='every', pipeline=[], test_mode=True)
        context = multiprocessing.get_context('fork')
        with context.Pool(1) as pool:
            pool.apply(own_memory)
            before = pool.apply(own_memory)
        _shared.append(dataset)
        with context.Pool(1) as pool:
            after = pool.apply(read_samples)
        _shared.clear()
        grown[str(len(dataset))] = round((after - before) / 2**20, 2)
    return grown


_shared: list[V2XPnPDataset] = []  # what a forked worker finds


def read_samples() -> int:
    """Read 2,000 samples from all over the data set."""
    dataset = _shared[0]
    for i in random.Random(0).choices(range(len(dataset)), k=2000):
        dataset[i]
    return own_memory()


def own_memory() -> int:
    """Bytes of this process that it shares with no other."""
    words = Path('/proc/self/smaps_rollup').read_text().split()
    return 1024 * sum(
        int(words[words.index(key) + 1]) for key in ('Private_Clean:', 'Private_Dirty:')
    )


def synthetic_infos(count: int, agents: int = 4, frames: int = 250, objects: int = 10) -> Infos:
    """``count`` annotations, each with ``objects`` objects."""
    scenarios = count // (agents * frames)
    poses = np.tile(np.eye(4), (count, 1, 1))
    poses[:, 0, 3] = np.arange(count) % frames
    labels = count * objects
    return Infos(
        dataset=np.array('v2xpnp'),
        scenarios=np.array([f'2023-03-17-16-12-12_{i:05d}_0' for i in range(scenarios)]),
        class_names=np.array(['Car']),
        scenario=np.repeat(np.arange(scenarios, dtype=np.int32), agents * frames),
        agent=np.tile(np.repeat(np.arange(1, agents + 1, dtype=np.int32), frames), scenarios),
        frame=np.tile(np.arange(frames, dtype=np.int32), scenarios * agents),
        world_from_agent=poses,
        cloud=np.full(count, 'train/2023-03-17-16-12-12_3_0/1/000000.bin'),
        object_begin=np.arange(0, labels + 1, objects, dtype=np.int64),
        object_id=np.tile(np.arange(objects), count),
        object_class=np.zeros(labels, dtype=np.int16),
        object_centre=np.zeros((labels, 3)),
        object_angle=np.zeros((labels, 3), dtype=np.float32),
        object_extent=np.ones((labels, 3), dtype=np.float32),
        lag=np.zeros(count, dtype=np.float32),
        labelled=np.ones(count, dtype=bool),
        labels=np.array('original'),
    )


def main() -> None:
    args = parse_args()
    torch.set_num_threads(1)  # as in a worker
    init_default_scope('mmdet3d')
    result = dict(seed=0)
    if not args.memory_only:
        ms = measure_times(args)
        result['sample_over_floor'] = round(ms['sample'] / ms['floor'], 2)
        result['speedup_over_yaml'] = round(ms['yaml'] / ms['sample'], 1)
        result['milliseconds'] = {name: round(value, 2) for name, value in ms.items()}
    with tempfile.TemporaryDirectory() as folder:
        result['worker_megabytes'] = measure_memory(Path(folder))
    print('\nMB of a worker of its own, by the number of samples:', result['worker_megabytes'])
    print(json.dumps(result | dict(numpy=np.__version__, **circumstances())))


if __name__ == '__main__':
    main()
