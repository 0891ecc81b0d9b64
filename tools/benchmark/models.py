"""All methods on the mini set: ``python tools/benchmark/models.py [METHOD ...]``.

Trains the configs of ``configs/benchmark/mini`` one after the other for the same number of
iterations, with the same seed and from scratch, tests each, and writes ``docs/benchmark.md`` and
``docs/benchmark.json``, and the zoo's tables. Typed again it goes on where it was interrupted:
finished methods are not repeated, a training resumes from its newest checkpoint. A method whose
config names a checkpoint of another method (a teacher, in ``work_dirs/{config}/``) gets the one
of this run, which is trained before it.

With ``--profile`` it measures the modules of the named methods' detectors instead (V2XPnP's when
none is named) on made-up points. The last line is one JSON object.
"""

import argparse
import json
import math
import re
import statistics
import sys
import threading
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / 'projects/TurboTrain')]

from mmengine.config import Config

from tools.benchmark.pages import ALONE, benchmark_page, costs_tables, gains, results_table
from tools.benchmark.zoo import (
    RESULTS,
    count_parameters,
    load_results,
    method_configs,
    write_zoo,
)
from turbotrain.commands import read_config
from turbotrain.datasets import MODES
from turbotrain.recipes.budget import train_for
from turbotrain.recipes.circumstances import circumstances
from turbotrain.recipes.processes import CommandError, Jobs, training_log
from turbotrain.whole_file import write_whole

CHECKPOINT = re.compile(r'work_dirs/([\w.-]+?)_mini_v2xpnp(?:-\w+)?/\w+\.pth')
ITERS = 400  # of each training, unless said otherwise


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('methods', nargs='*', metavar='METHOD', help='default: all')
    parser.add_argument('--mode', choices=[*MODES], default='vc')
    parser.add_argument('--iters', type=int, default=ITERS, help='of each training')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--jobs', type=int, default=1, help='trainings at a time')
    parser.add_argument('--work-dir', type=Path, default=ROOT / 'work_dirs/benchmark')
    parser.add_argument('--data-root', type=Path, help="default: the config's")
    parser.add_argument(
        '--report', type=Path, default=ROOT / RESULTS, help='JSON file; the page lies beside it'
    )
    parser.add_argument('--profile', action='store_true', help='measure the modules instead')
    parser.add_argument('--repeats', type=int, default=3, help='of --profile')
    args = parser.parse_args()
    known = method_configs(mini=True)
    unknown = set(args.methods) - set(known)
    if unknown:
        parser.error(f'no mini config for {sorted(unknown)}; known: {[*known]}')
    return args


class Benchmark:
    """One run: a budget, a seed and a mode."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.paths = method_configs(mini=True)
        name = f'{args.mode}_{args.iters}-iterations_seed-{args.seed}'
        self.folder = args.work_dir.resolve() / name
        self.failed: list[str] = []
        # Held while a method is run: a teacher may be wanted by several at a time.
        self.locks = {method: threading.Lock() for method in self.paths}
        self.jobs = Jobs(args.jobs)
        # mmengine reads configs in one thread only.
        self.configs = {method: self.config(method) for method in self.paths}

    def figures(self) -> dict[str, dict]:
        """What the finished methods of this run have reached."""
        files = {method: self.folder / method / 'figures.json' for method in self.paths}
        return {m: json.loads(file.read_text()) for m, file in files.items() if file.exists()}

    def run(self, method: str) -> None:
        """Train and test one method, unless that is done; teachers go first."""
        with self.locks[method]:
            if method not in self.figures() and method not in self.failed:
                self._run(method)

    def _run(self, method: str) -> None:
        cfg, teachers = self.configs[method]
        for teacher in teachers:
            self.run(teacher)
        folder, saved = self.folder / method, self.folder / f'{method}.py'
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(saved, cfg.pretty_text)
        checkpoint, newest = folder / f'iter_{self.args.iters}.pth', folder / 'last_checkpoint'
        if not newest.exists() or newest.read_text() != checkpoint.name:
            self.call(method, 'train', saved, '--resume')
        if method not in self.failed:
            self.call(method, 'test', saved, checkpoint)
        if method not in self.failed:
            figures = collect(folder) | dict(parameters=count_parameters(cfg))
            write_whole(folder / 'figures.json', json.dumps(figures, indent=2) + '\n')

    def check(self, method: str) -> None:
        """Stop if what is there of a method was made from another config than it has now."""
        saved = self.folder / f'{method}.py'
        if saved.exists() and read_config(saved).to_dict() != self.configs[method][0].to_dict():
            sys.exit(
                f'{saved} differs from what {self.paths[method].name} gives now: remove it and '
                f'{saved.with_suffix("")}/, or name another --work-dir'
            )

    def config(self, method: str) -> tuple[Config, list[str]]:
        """The method's config with this run's budget, and the methods whose weights it needs."""
        args, teachers = self.args, []

        def own(value: Any) -> Any:
            if isinstance(value, dict):
                return {key: own(item) for key, item in value.items()}
            if isinstance(value, list | tuple):
                return type(value)(map(own, value))
            found = CHECKPOINT.fullmatch(value) if isinstance(value, str) else None
            if not found:
                return value
            teachers.append(found[1])
            return str(self.folder / found[1] / f'iter_{args.iters}.pth')

        cfg = Config(own(read_config(self.paths[method], args.mode).to_dict()))
        train_for(cfg, args.iters, args.seed)
        if args.data_root:
            for loader in (cfg.train_dataloader, cfg.test_dataloader):
                loader.dataset.data_root = str(args.data_root.resolve())
        return cfg, teachers

    def call(self, method: str, tool: str, *words: object) -> None:
        """Type one of the project's commands; its output goes to a file."""
        start = time.perf_counter()
        try:
            self.jobs.call(tool, self.folder / method, *words)
            how = f'{time.perf_counter() - start:.0f} s'
        except CommandError as error:
            self.failed.append(method)
            how = str(error)
        print(f'{method}: {tool} ... {how}', flush=True)


def collect(folder: Path) -> dict[str, float | None]:
    """Figures that training and test have left in a work directory."""
    metrics = json.loads((folder / 'metrics.json').read_text())
    figures = {key: value for key, value in metrics.items() if 'frame_order' not in key}
    train = [entry['time'] for entry in training_log(folder).train]
    # The newest log of a test; its time is a whole step's, waiting for the data included.
    log = max(folder.glob('[0-9]*_[0-9]*/[0-9]*_[0-9]*.json'), key=lambda path: path.name)
    test = json.loads(log.read_text().splitlines()[-1])
    figures['seconds_per_iteration'] = round(statistics.median(train), 4)
    figures['seconds_per_sample'] = round(test['time'] - test['data_time'], 4)
    return {k: v if math.isfinite(v) else None for k, v in figures.items()}


def about(args: argparse.Namespace, methods: list[str]) -> dict:
    """What belongs to the measurement; the command is the one that repeats it."""
    settings = dict(
        mode=(args.mode, 'vc'), iters=(args.iters, ITERS), seed=(args.seed, 0), jobs=(args.jobs, 1)
    )
    words = [f'--{name} {value}' for name, (value, default) in settings.items() if value != default]
    words = [*methods, *(['--profile'] if args.profile else []), *words]
    return circumstances(' '.join(['python tools/benchmark/models.py', *words]))


def write_report(path: Path, results: dict) -> None:
    """The JSON and its page; the whole zoo if it is the project's own report."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, json.dumps(results, indent=1) + '\n')
    if path.resolve() == ROOT / RESULTS:
        write_zoo()
    else:
        write_whole(path.with_suffix('.md'), benchmark_page(results))


def train_and_test(args: argparse.Namespace) -> dict:
    """Run the benchmark; a summary by method."""
    benchmark = Benchmark(args)
    chosen = args.methods or list(benchmark.paths)
    for method in benchmark.paths:
        benchmark.check(method)
    benchmark.jobs.map(benchmark.run, chosen)
    methods = benchmark.figures()
    if methods:
        results = load_results(args.report)
        setting = about(args, [] if len(methods) == len(benchmark.paths) else list(methods))
        settings = dict(iterations=args.iters, seed=args.seed, methods=methods)
        results['modes'][args.mode] = setting | settings
        write_report(args.report, results)
        print(f'\n{results_table(methods)}')
    over = {f'over_{alone}': gains(methods, alone) for alone in ALONE}
    names = ('AP@0.5/vehicle', 'EPA', 'message_bytes', 'parameters', 'seconds_per_iteration')
    return dict(
        mode=args.mode,
        # AP@0.5 of vehicles (%), and points of it over the ego alone; EPA (%), bytes, seconds
        methods={
            method: {name: figures.get(name) for name in names}
            | {name: gained.get(method) for name, gained in over.items()}
            for method, figures in methods.items()
        },
        failed=benchmark.failed,
        iterations=args.iters,
        seed=args.seed,
    )


def profile(args: argparse.Namespace) -> dict:
    """Measure the modules; milliseconds with 8 agents over those with one, by module."""
    import turbotrain.plugin  # noqa: F401 - registers everything
    from tools.costs.module_costs import AGENTS, FRAMES, OBJECTS, POINTS, module_costs

    configs, measured = method_configs(mini=True), {}
    for method in args.methods or ['v2xpnp']:
        cfg = read_config(configs[method], args.mode)
        measured[method] = [
            dict(agents=n, frames=t, modules=module_costs(cfg, n, t, args.repeats, args.seed))
            for n in AGENTS
            for t in FRAMES
        ]
    results = load_results(args.report)
    settings = dict(points=POINTS, objects=OBJECTS, seed=args.seed, methods=measured)
    results['profile'] = about(args, args.methods) | settings
    write_report(args.report, results)
    print(costs_tables(results['profile']))
    first, last = (f'{n} agents' for n in (AGENTS[0], AGENTS[-1]))
    return {
        f'{last} over {first}, {FRAMES[-1]} frames': {
            method: {
                name: round(rows[-1]['modules'][name]['ms'] / cost['ms'], 2)
                for name, cost in rows[len(FRAMES) - 1]['modules'].items()
            }
            for method, rows in measured.items()
        }
    }


def main() -> None:
    args = parse_args()
    try:
        summary = profile(args) if args.profile else train_and_test(args)
    except KeyboardInterrupt:
        sys.exit('\ninterrupted; the same command goes on from here')
    print(json.dumps(summary | about(args, args.methods)))
    sys.exit(1 if summary.get('failed') else 0)


if __name__ == '__main__':
    main()
