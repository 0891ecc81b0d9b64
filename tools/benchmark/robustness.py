"""What bad communication costs: ``python tools/benchmark/robustness.py CONFIG CHECKPOINT``.

Tests one checkpoint while the others' poses are wrong, their messages come late, agents fall
silent, or messages are compressed, one at a time and more and more; the ground truth stays what it
is. Pose noise is Gaussian, and the same in all of a sample's frames; messages are compressed
without any training (``PrincipalCompression``). Prints a table and draws curves.

Each result is kept in ``--out``: started again, the command goes on where it was. The last line is
one JSON object.
"""

import argparse
import json
import math
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / 'projects/TurboTrain')]

import torch
from matplotlib.figure import Figure
from mmdet3d.registry import METRICS, MODELS
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import Runner, set_random_seed

from tools.benchmark.pages import markdown_table, number
from turbotrain.commands import (
    add_common_arguments,
    load_config,
    only_dataset,
    run_tool,
)
from turbotrain.engine import load_weights
from turbotrain.errors import UserError
from turbotrain.evaluation import json_metrics
from turbotrain.recipes.circumstances import circumstances
from turbotrain.visualization import save_figure
from turbotrain.whole_file import write_whole

# Title, unit, values.
SWEEPS = {
    'position': ('pose noise, position', 'm', (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6)),
    'heading': ('pose noise, heading', 'deg', (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6)),
    'delay': ('delay', 'ms', (0, 100, 200, 300, 400, 500)),
    'dropout': ('silent agents', '%', (0, 25, 50, 75, 100)),
    'compression': ('compression', 'x', (1, 2, 4, 8, 16, 32, 64, 128)),
}
METRICS_SHOWN = {'AP@0.5/vehicle': 'AP@0.5 of vehicles (%)', 'EPA': 'EPA (%)'}


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_common_arguments(parser, checkpoint=True)
    parser.add_argument('--sweeps', nargs='+', choices=[*SWEEPS], default=[*SWEEPS])
    parser.add_argument('--samples', type=int, help='only so many samples: a trial')
    parser.add_argument('--seed', type=int, default=0, help='of the noise')
    parser.add_argument('--out', type=Path, help='folder; default: work_dirs/robustness/CONFIG')
    return parser.parse_args()


def disturb(cfg: Config, sweep: str, value: float) -> None:
    """Change the test data, or what is sent."""
    if sweep == 'compression':
        if value > 1:
            cfg.model.compression = compression(cfg, int(value))
        return
    pipeline = only_dataset(cfg.test_dataloader).pipeline
    if sweep == 'delay':
        pipeline.insert(0, dict(type='CooperativeDelay', delay=value / 1e3))
    elif sweep == 'dropout':
        pipeline.insert(0, dict(type='CooperativeAgentDropout', probability=value / 100))
    else:
        place = 1 + types_of(pipeline).index('LoadCooperativePoints')
        pipeline.insert(place, dict(type='CooperativePoseNoise', **{sweep: value}))


def types_of(pipeline: list[dict]) -> list[str]:
    """The names of its transforms."""
    return [transform['type'] for transform in pipeline]


def compression(cfg: Config, ratio: int) -> dict:
    """Fewer bits from 16x on: a quarter is then due to them."""
    # Where these are, no other agent's map is left to be compressed.
    steps = types_of(only_dataset(cfg.test_dataloader).pipeline)
    alone = {'EgoOnly', 'MergeAgentPoints'} & {*steps}
    if alone or cfg.model.get('compression') or not cfg.model.get('fusion_neck'):
        raise UserError(
            "--sweeps compression wants a detector that fuses the agents' maps and has no "
            'compression of its own; name the other sweeps'
        )
    bits = 8 if ratio >= 16 else 32
    return dict(type='PrincipalCompression', ratio=ratio * bits // 32, bits=bits)


def test(cfg: Config, checkpoint: str, seed: int) -> dict[str, float | None]:
    """The metrics of one setting."""
    set_random_seed(seed)
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    model = MODELS.build(cfg.model).to(device).eval()
    load_weights(model, checkpoint)
    loader = Runner.build_dataloader(cfg.test_dataloader, seed=seed)
    metric = METRICS.build(cfg.test_evaluator)
    metric.dataset_meta = loader.dataset.metainfo
    with torch.no_grad():
        for batch in loader:
            metric.process(batch, [sample.to_dict() for sample in model.test_step(batch)])
    found = json_metrics(metric.compute_metrics(metric.results))
    return dict.fromkeys(METRICS_SHOWN) | found  # a detector that does not forecast has no EPA


class Results:
    """Metrics by sweep and value, on the disk as soon as they are there."""

    def __init__(self, folder: Path, about: dict) -> None:
        self.path = folder / 'robustness.json'
        self.about = json.loads(json.dumps(about))  # as it will be read again
        self.sweeps: dict[str, dict[str, dict]] = {}
        self._read()

    def _read(self) -> None:
        if self.path.exists():
            kept = json.loads(self.path.read_text())
            if kept['about'] != self.about:
                raise UserError(
                    f'{self.path} is of {kept["about"]}, not of {self.about}: name an --out'
                )
            self.sweeps = kept['sweeps']

    def add(self, sweep: str, value: float, metrics: dict) -> None:
        """Keep the metrics of one setting."""
        self._read()  # another command may have written meanwhile
        self.sweeps.setdefault(sweep, {})[f'{value:g}'] = metrics
        self.path.parent.mkdir(parents=True, exist_ok=True)
        content = json.dumps(dict(about=self.about, sweeps=self.sweeps), indent=1)
        write_whole(self.path, content + '\n')

    def has(self, sweep: str, value: float) -> bool:
        """Whether they are known already."""
        return f'{value:g}' in self.sweeps.get(sweep, {})


def table(results: Results, sweep: str) -> str:
    title, unit, _ = SWEEPS[sweep]
    rows = [
        (f'{value} {unit}', *(number(metrics[name]) for name in METRICS_SHOWN))
        for value, metrics in results.sweeps[sweep].items()
    ]
    return markdown_table((title, *METRICS_SHOWN.values()), rows)


def values_of(results: Results, sweeps: list[str], name: str) -> list[float]:
    """All values of a metric that are defined."""
    rows = [metrics for sweep in sweeps for metrics in results.sweeps[sweep].values()]
    return [row[name] for row in rows if row[name] is not None]


def draw(results: Results, sweeps: list[str], out: Path) -> None:
    figure = Figure(figsize=(1 + 2.6 * len(sweeps), 5), layout='constrained')
    axes = figure.subplots(len(METRICS_SHOWN), len(sweeps), sharey='row', squeeze=False)
    shown = {name: values_of(results, sweeps, name) for name in METRICS_SHOWN}
    for column, sweep in enumerate(sweeps):
        title, unit, _ = SWEEPS[sweep]
        values = [float(value) for value in results.sweeps[sweep]]
        for row, (name, label) in enumerate(METRICS_SHOWN.items()):
            own = axes[row, column]
            found = [metrics[name] for metrics in results.sweeps[sweep].values()]
            own.plot(values, [math.nan if v is None else v for v in found], 'o-', color='#E4572E')
            own.set_ylim(0, 1.08 * max(shown[name], default=1.0) or 1.0)
            own.grid(alpha=0.3)
            if sweep == 'compression':
                own.set_xscale('log', base=2)
                own.set_xticks(values, [f'{value:g}' for value in values])
            if column == 0:
                own.set_ylabel(label)
        axes[0, column].set_title(title, fontsize=11)
        axes[-1, column].set_xlabel(unit)
    save_figure(figure, out, dpi=110)


def main() -> None:
    args = parse_args()
    checkpoint = Path(args.checkpoint).resolve()
    out = args.out.resolve() if args.out else None
    cfg = load_config(args, ['model', 'test_dataloader', 'test_evaluator'])
    init_default_scope(cfg.default_scope)
    if not checkpoint.is_file():
        raise UserError(f'there is no checkpoint {args.checkpoint!r}')
    dataset = only_dataset(cfg.test_dataloader)
    # Of a mode, as work directories are.
    name = f'{Path(args.config).stem}{cfg.get("of_mode", "")}'
    out = out or ROOT / 'work_dirs/robustness' / name
    if args.samples:
        dataset.indices = args.samples
    dataset.seed = args.seed
    stamp = checkpoint.stat()
    results = Results(
        out,
        dict(
            config=Path(args.config).name,
            mode=dataset.get('mode'),
            checkpoint=f'{checkpoint.name}, {stamp.st_size} bytes, {int(stamp.st_mtime)}',
            samples=args.samples,
            seed=args.seed,
            options=args.cfg_options,
        ),
    )
    if 'compression' in args.sweeps:
        compression(cfg, 2)  # refuses a detector that has nothing to compress before hours of tests
    for sweep in args.sweeps:
        for value in SWEEPS[sweep][2]:
            if not results.has(sweep, value):
                own = Config(cfg.to_dict())
                disturb(own, sweep, value)
                results.add(sweep, value, test(own, str(checkpoint), args.seed))
                shown = {name: results.sweeps[sweep][f'{value:g}'][name] for name in METRICS_SHOWN}
                print(f'{sweep} {value:g} {SWEEPS[sweep][1]}: {shown}', flush=True)
    for sweep in args.sweeps:
        print(f'\n{table(results, sweep)}', end='')
    draw(results, args.sweeps, out / 'robustness.png')
    print(f'\npicture: {out / "robustness.png"}')
    shown = {
        sweep: {
            value: {name: metrics[name] for name in METRICS_SHOWN}
            for value, metrics in results.sweeps[sweep].items()
        }
        for sweep in args.sweeps
    }
    print(json.dumps(dict(sweeps=shown, **results.about, **circumstances())))


if __name__ == '__main__':
    run_tool(main)
