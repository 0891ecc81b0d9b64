"""A sender and an ego against the whole detector: ``python tools/benchmark/online.py CONFIG CKPT``.

Plays the scenarios of the config's test set through senders, a channel and the ego, all in one
process and on the recording's own clock, and compares with what ``robustness.py`` does to the data
for the same delay or silence. Then with messages of lower precision. Senders know the ego's pose
when they encode. Prints a table; the last line is one JSON object.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / 'projects/TurboTrain')]

import numpy as np
from mmdet3d.registry import DATASETS, METRICS
from mmdet3d.structures import Det3DDataSample
from mmengine.config import Config
from mmengine.registry import init_default_scope

from tools.benchmark.pages import markdown_table, number
from tools.benchmark.robustness import METRICS_SHOWN, disturb, test
from turbotrain.commands import add_common_arguments, load_config, only_dataset, run_tool
from turbotrain.datasets import V2XPnPDataset
from turbotrain.online import Channel, Ego, OnlineModel, Recording, Sender, open_recording
from turbotrain.recipes.circumstances import circumstances

# Title -> sweep and value of robustness.py; delay, loss and precision, and the ego's max_delay.
# Without old messages an agent whose message is lost is silent, as in the sweep.
SETTINGS = {
    'nothing': (('delay', 0), dict()),
    'delay of 100 ms': (('delay', 100), dict(delay=0.1)),
    'delay of 300 ms': (('delay', 300), dict(delay=0.3)),
    'delay of 500 ms': (('delay', 500), dict(delay=0.5)),
    '25 % lost, no old messages': (('dropout', 25), dict(loss=0.25, max_delay=0.0)),
    '50 % lost, no old messages': (('dropout', 50), dict(loss=0.5, max_delay=0.0)),
    '50 % lost': (None, dict(loss=0.5)),
    'float16': (None, dict(precision='float16')),
    'int8': (None, dict(precision='int8')),
}


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_common_arguments(parser, checkpoint=True)
    parser.add_argument('--every', type=int, default=1, help='only every n-th moment: a trial')
    parser.add_argument('--settings', nargs='+', choices=[*SETTINGS], default=[*SETTINGS])
    parser.add_argument('--seed', type=int, default=0, help='of losses')
    return parser.parse_args()


class OnlineTest:
    """Tests the two halves on the moments of a data set.

    Args:
        cfg: whose data set and metric count.
        checkpoint: of its model.
        seed: of losses.
    """

    def __init__(self, cfg: Config, checkpoint: str, seed: int) -> None:
        self.cfg, self.seed = cfg, seed
        self.model = OnlineModel(cfg, checkpoint)
        self.dataset: V2XPnPDataset = DATASETS.build(cfg.test_dataloader.dataset)
        self.samples = [self.dataset[i]['data_samples'] for i in range(len(self.dataset))]
        self.messages: dict[tuple[str, str], list[tuple[float, bytes]]] = {}

    def run(
        self,
        delay: float = 0.0,
        loss: float = 0.0,
        max_delay: float = 0.5,
        precision: str = 'float32',
    ) -> dict[str, float]:
        """The metrics of one setting, and ``bytes`` of a message."""
        metric = METRICS.build(self.cfg.test_evaluator)
        metric.dataset_meta = self.dataset.metainfo
        channel = Channel((delay, delay), loss, self.seed)
        sizes = []
        for name in dict.fromkeys(sample.scenario for sample in self.samples):
            own = [sample for sample in self.samples if sample.scenario == name]
            for sample, found, heard in self._play(name, own, channel, max_delay, precision):
                sizes += heard
                sample = sample.clone()
                sample.pred_instances_3d = found.pred_instances_3d
                sample.set_metainfo(dict(message_bytes=heard))
                metric.process(None, [sample.to_dict()])
        return metric.compute_metrics(metric.results) | dict(
            bytes=float(np.mean(sizes)) if sizes else 0.0
        )

    def _play(
        self,
        name: str,
        samples: list[Det3DDataSample],
        channel: Channel,
        max_delay: float,
        precision: str,
    ) -> Iterator[tuple[Det3DDataSample, Det3DDataSample, list[int]]]:
        """Of each moment of a scenario the truth, what was found, and the messages' bytes."""
        recording, infos = open_recording(self.model, name), self.dataset.infos
        first = infos.frame[infos.scenarios[infos.scenario] == name].min()
        wanted = {(s.frame - first) / infos.dialect.frame_rate: s for s in samples}
        agent = recording.agents[0]
        ego = Ego(self.model, agent.kind, agent.id, max_delay, map_path=recording.map_path)
        waiting = self._sent(name, recording, precision)[::-1]
        for now, i in recording.again_and_again(0, recording.period):
            if now > max(wanted):
                break
            ego.see(recording.cloud(0, i), agent.poses[i], now)
            while waiting and waiting[-1][0] <= now:
                time, data = waiting.pop()
                channel.send(data, time)
            for data in channel.arrived(now):
                ego.receive(data)
            if now in wanted:
                found, heard = ego.sample()
                there = found.agents.valid[1:, -1]
                sizes = [one.size for one, ok in zip(heard[1:], there, strict=True) if ok]
                yield wanted[now], found, sizes
        channel.arrived(np.inf)  # the next scenario hears nothing of this one

    def _sent(self, name: str, recording: Recording, precision: str) -> list[tuple[float, bytes]]:
        """Every message of a scenario and its time, by time."""
        key = name, precision
        if key not in self.messages:
            found, own = [], recording.agents[0]
            for n, agent in enumerate(recording.agents[1:], start=1):
                sender = Sender(self.model, agent.kind, agent.id, precision)
                for i, time in enumerate(agent.times):
                    cloud = recording.cloud(n, i)
                    if cloud is not None:
                        ego_pose = own.poses[max(0, np.searchsorted(own.times, time, 'right') - 1)]
                        message = sender.encode(cloud, agent.poses[i], time, ego_pose)
                        found.append((time, message))
            self.messages[key] = sorted(found, key=lambda one: one[0])
        return self.messages[key]


def prepare(cfg: Config, every: int) -> None:
    """Look at some moments only, in this process."""
    dataset = only_dataset(cfg.test_dataloader)
    if every > 1:
        dataset.indices = list(range(0, len(DATASETS.build(dataset)), every))
    cfg.test_dataloader.update(num_workers=0, persistent_workers=False)


def main() -> None:
    args = parse_args()
    checkpoint = str(Path(args.checkpoint).resolve())
    cfg = load_config(args, ['model', 'test_dataloader', 'test_evaluator'])
    init_default_scope(cfg.default_scope)
    prepare(cfg, args.every)
    online, rows = OnlineTest(cfg, checkpoint, args.seed), {}
    for title in args.settings:
        sweep, setting = SETTINGS[title]
        found = dict(online=online.run(**setting), offline=None)
        if sweep:
            disturbed = Config(cfg.to_dict())
            disturb(disturbed, *sweep)
            found['offline'] = test(disturbed, checkpoint, args.seed)
        rows[title] = found
        values = [
            None if side is None else side[name]
            for name in METRICS_SHOWN
            for side in (found['online'], found['offline'])
        ]
        print(f'{title}: ' + ', '.join(map(number, values)), flush=True)
    heads = [f'{title}, {side}' for title in METRICS_SHOWN.values() for side in ('live', 'sweep')]
    print(
        markdown_table(
            ('channel', *heads, 'kB of a message'),
            [
                (
                    title,
                    *(
                        number(side[name]) if side else ''
                        for name in METRICS_SHOWN
                        for side in (found['online'], found['offline'])
                    ),
                    number(found['online']['bytes'] / 1e3),
                )
                for title, found in rows.items()
            ],
        )
    )
    shown = {
        title: {
            side: {name: values[name] for name in METRICS_SHOWN}
            for side, values in found.items()
            if values
        }
        for title, found in rows.items()
    }
    print(json.dumps(dict(moments=len(online.samples), rows=shown, **circumstances())))


if __name__ == '__main__':
    run_tool(main)
