"""All methods on the mini set: ``python tools/benchmark/models.py [METHOD ...]``.

Trains the configs of ``configs/benchmark/mini`` one after the other for the same number of
iterations, with the same seed and from scratch, tests each, and writes ``docs/benchmark.md`` and
``docs/benchmark.json``, and the zoo's tables. Typed again it goes on where it was interrupted:
a method is a recipe of one stage, or of two where its config names a checkpoint of another method
(a teacher, in ``work_dirs/{config}/``), and recipes resume.

With ``--profile`` it measures the modules of the named methods' detectors instead (V2XPnP's when
none is named) on made-up points. The last line is one JSON object.
"""

import argparse
import json
import re
import shlex
import sys
from pathlib import Path

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
from turbotrain.commands import read_config, run_tool
from turbotrain.datasets import MODES
from turbotrain.recipes.budget import train_for
from turbotrain.recipes.circumstances import circumstances
from turbotrain.recipes.processes import Jobs
from turbotrain.recipes.runs import figures, run_stages
from turbotrain.recipes.settings import from_root, go_to_root
from turbotrain.recipes.stages import Stage, fingerprint, use_data_root, with_texts
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
    go_to_root(args)
    return args


def plans_of(args: argparse.Namespace) -> dict[tuple[str, int], list[Stage]]:
    """Each method's training, behind those of the teachers that its config names."""
    paths = method_configs(mini=True)
    folder = args.work_dir / args.mode / f'seed_{args.seed}'
    plans: dict[str, list[Stage]] = {}

    def plan(method: str) -> list[Stage]:
        if method in plans:
            return plans[method]
        teachers: list[Stage] = []

        def of_this_run(text: str) -> str:
            """The checkpoint that this run's teacher leaves, in place of the config's."""
            found = CHECKPOINT.fullmatch(text)
            if not found:
                return text
            teachers.extend(plan(found[1]))
            return str(teachers[-1].checkpoint)

        cfg = Config(with_texts(read_config(paths[method], args.mode).to_dict(), of_this_run))
        train_for(cfg, args.iters, args.seed)
        use_data_root(cfg, args.data_root)
        stage = Stage(method, 1, cfg, folder / f'{method}-{fingerprint(cfg)}')
        plans[method] = [*teachers, stage]
        return plans[method]

    return {(method, args.seed): plan(method) for method in paths}


def collect(stage: Stage) -> dict[str, float]:
    """Figures that the training and the test of a method have left."""
    found = figures(stage)
    # Its time is a whole step's, waiting for the data included.
    log = max(stage.measurement.glob('[0-9]*_[0-9]*/[0-9]*_[0-9]*.json'), key=lambda p: p.name)
    test = json.loads(log.read_text().splitlines()[-1])
    return {k: v for k, v in found['metrics'].items() if 'frame_order' not in k} | dict(
        seconds_per_iteration=round(found['seconds_per_iteration'], 4),
        seconds_per_sample=round(test['time'] - test['data_time'], 4),
        parameters=count_parameters(stage.config),
    )


def about(args: argparse.Namespace, methods: list[str]) -> dict:
    """What belongs to the measurement; the command is the one that repeats it."""
    settings = {
        '--data-root': (args.data_root and from_root(args.data_root), None),
        '--mode': (args.mode, 'vc'),
        '--iters': (args.iters, ITERS),
        '--seed': (args.seed, 0),
        '--jobs': (args.jobs, 1),
    }
    words = ['python', 'tools/benchmark/models.py', *methods]
    words += ['--profile'] if args.profile else []
    for name, (value, default) in settings.items():
        words += [name, str(value)] if value != default else []
    return circumstances(shlex.join(words))


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
    plans = plans_of(args)
    chosen = {key: plans[key] for key in plans if not args.methods or key[0] in args.methods}
    done = run_stages(chosen, Jobs(args.jobs))
    # Those that an earlier call has finished belong to the table, too.
    ends = {method: stages[-1] for (method, _), stages in plans.items()}
    methods = {
        method: collect(stage)
        for method, stage in ends.items()
        if (stage.measurement / 'metrics.json').exists()
    }
    if methods:
        results = load_results(args.report)
        setting = about(args, [] if len(methods) == len(ends) else list(methods))
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
            method: {name: found.get(name) for name in names}
            | {name: gained.get(method) for name, gained in over.items()}
            for method, found in methods.items()
        },
        failed=[method for method, _ in chosen if (method, args.seed) not in done],
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
    run_tool(main)
