"""Play a scenario live: ``python tools/live.py --seconds 20 --loss 0.2 --delay 0.3``.

Each agent runs in a process of its own and sends its messages to the ego by ZeroMQ, over a channel
that loses and delays them. The table shows what the ego has of each of them; Ctrl-C ends the run. A
sender that is killed is missing from then on, and the ego goes on without it. When the scenario is
over it begins again. The last line is one JSON object.
"""

import argparse
import json
import signal
import statistics
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'projects/TurboTrain'))

import numpy as np
import torch

from turbotrain.commands import ROOT, add_common_arguments, load_config, run_tool
from turbotrain.errors import UserError
from turbotrain.online import Channel, OnlineModel, open_recording
from turbotrain.online.latency import new_frame_costs
from turbotrain.online.live import Live, Shown, scene_of_ego
from turbotrain.online.message import PRECISIONS
from turbotrain.pretraining.stock import range_of
from turbotrain.visualization import VIDEO_SUFFIXES, BEVAnimation, write_video
from turbotrain.workers import terminable

USUAL = (
    ROOT / 'configs/turbotrain/mini/finetune_mini_v2xpnp.py',
    ROOT / 'weights/turbotrain_mini_v2xpnp.pth',
)
SIZE = (960, 540)  # of a video, in pixels


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_common_arguments(parser, checkpoint=True, usual=USUAL)
    parser.add_argument(
        '--scenario',
        default='',
        help="folder of one, or its name in the config's test set (default: the first one)",
    )
    parser.add_argument(
        '--seconds', type=float, default=np.inf, help='how long (default: for ever)'
    )
    parser.add_argument('--rate', type=float, help='clouds in a second (default: as recorded)')
    parser.add_argument(
        '--delay', type=float, nargs='+', default=[0.0],
        help="of messages, in the recording's seconds; two numbers: from, to",
    )  # fmt: skip
    parser.add_argument('--loss', type=float, default=0.0, help='share of messages that are lost')
    parser.add_argument('--max-delay', type=float, default=0.5, help='older messages do not count')
    parser.add_argument('--precision', choices=[*PRECISIONS], help="of messages (default: model's)")
    parser.add_argument('--score', type=float, default=0.3, help='leave out detections below this')
    parser.add_argument('--video', type=Path, help='.mp4 or .gif to write')
    parser.add_argument(
        '--kill-every', type=float, metavar='SECONDS', help='kill a sender and start it again'
    )
    parser.add_argument('--seed', type=int, default=0, help='of losses and delays')
    args = parser.parse_args()
    if len(args.delay) > 2 or not args.seconds > 0 or (args.kill_every or 1) <= 0:
        parser.error('expected --delay of one or two numbers, --seconds and --kill-every above 0')
    if args.rate is not None and not 0 < args.rate < np.inf:
        parser.error('expected --rate above 0')
    return args


def main() -> None:
    args = parse_args()
    video = args.video and args.video.resolve()
    if video and video.suffix not in VIDEO_SUFFIXES:
        raise UserError(f'--video {args.video}: expected one of {VIDEO_SUFFIXES}')
    checkpoint = Path(args.checkpoint).resolve()
    scenario = Path(args.scenario).resolve()
    scenario = str(scenario) if args.scenario and scenario.is_dir() else args.scenario
    cfg = load_config(args, ['model', 'test_dataloader'])
    torch.set_num_threads(1)
    model = OnlineModel(cfg, checkpoint)
    recording = open_recording(model, scenario)
    live = Live(
        model, cfg, checkpoint, recording,
        rate=args.rate,
        channel=Channel((args.delay[0], args.delay[-1]), args.loss, args.seed),
        max_delay=args.max_delay,
        score=args.score,
        kill_every=args.kill_every,
        sending=dict(precision=args.precision),
    )  # fmt: skip
    # The moment that is on is finished, and so is the video.
    before = signal.signal(signal.SIGINT, lambda *_: setattr(live, 'ended', True))
    record = Record(live, animated=range_of(cfg.model) if video else None)
    try:
        with terminable(), live, closing(live.run(args.seconds)) as moments:
            frames = record.frames(moments)
            if video:
                write_video(video, frames, 1 / recording.period)
            for _ in frames:
                pass
    finally:
        signal.signal(signal.SIGINT, before)
    print(record.table())
    costs = {} if live.ended else new_frame_costs(model, recording, precision=args.precision)
    print(json.dumps(record.summary(costs)))


class Record:
    """What has been seen of a run.

    Args:
        live: the run.
        animated: range of the pictures to draw, as of a model; None draws none.
    """

    def __init__(self, live: Live, animated: list[float] | None) -> None:
        self.live, self.shown, self.detections = live, None, 0
        self.milliseconds: list[float] = []
        self.animation = animated and BEVAnimation((*animated[:2], *animated[3:5]), SIZE)
        self.lines = 0

    def frames(self, moments: Iterator[Shown]) -> Iterator[np.ndarray | None]:
        """Keep account of moments, show the table on a terminal, and draw pictures."""
        for shown in moments:
            self.shown = shown
            self.detections += len(shown.found['boxes'])
            self.milliseconds.append(sum(shown.milliseconds.values()))
            if sys.stdout.isatty():
                back = f'\x1b[{self.lines}F\x1b[J' if self.lines else ''
                text = self.table()
                self.lines = text.count('\n') + 1
                print(back + text, flush=True)
            title = f'{self.live.setup.recording.name}   {shown.found["time"]:.1f} s'
            yield self.animation and self.animation.frame(scene_of_ego(self.live.ego, shown, title))
        if sys.stdout.isatty() and self.lines:
            print(f'\x1b[{self.lines}F\x1b[J', end='')

    def table(self) -> str:
        """The newest moment: the ego, then each sender."""
        if self.shown is None:
            return 'nothing was seen'
        shown, live = self.shown, self.live
        parts = ', '.join(f'{name} {value:.0f}' for name, value in shown.milliseconds.items())
        refused = ', '.join(f'{reason} {n}' for reason, n in live.ego.refused.items()) or 'none'
        lines = [
            f'{shown.found["time"]:.1f} s: {len(shown.found["boxes"])} detections, '
            f'{shown.rate:.1f} frames/s, ms: {parts}',
            f'messages: {live.messages["count"]}, lost {live.channel.lost}, refused: {refused}',
            f'{"":18} {"age (ms)":>8} {"kB":>7} {"encoding (ms)":>13} {"taken":>6} '
            f'{"refused":>7} {"starts":>6}',
        ]
        for row in live.rows:
            age = 'gone' if not row.alive else '-' if row.age is None else f'{1e3 * row.age:.0f}'
            lines.append(
                f'{row.name:18} {age:>8} {row.size / 1e3:7.1f} {1e3 * row.encoding:13.0f} '
                f'{row.taken:6} {row.refused:7} {row.starts:6}'
            )
        return '\n'.join(lines)

    def summary(self, costs: dict[str, float]) -> dict:
        """What the last line says.

        Args:
            costs: see :func:`new_frame_costs`; empty if nobody has measured them.
        """
        live, messages = self.live, self.live.messages
        own = [costs[name] for name in ('see', 'receive', 'detect')] if costs else []
        return dict(
            frames=len(self.milliseconds),
            detections=self.detections,
            refused=dict(live.ego.refused),
            crashes=live.crashes,
            bytes_per_message=round(messages['bytes'] / max(messages['count'], 1)),
            ms_per_frame=self.milliseconds and round(statistics.median(self.milliseconds), 1),
            new_frame_over_offline=round(sum(own) / costs['offline'], 3) if costs else None,
            messages=messages['count'],
            lost=live.channel.lost,
            kills=live.kills,
        )


if __name__ == '__main__':
    run_tool(main)
