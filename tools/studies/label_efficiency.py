"""How few labels do: ``python tools/studies/label_efficiency.py`` (on the midi set).

Fine-tunes on the labels of one scenario and of 5, 10, 20, 50 and 100 % of all training scenarios,
from pretrained weights and from scratch, with several seeds, tests each and draws what they reach
over the share of labels. A seed decides the weights, the order of samples and which scenarios are
labelled; smaller shares are part of larger ones (see ``shares.py``).

Both arms train for the same iterations, :data:`LENGTHS`; ``--lengthen 2`` tells whether twice as
many bring more. Pretraining sees the clouds of all training scenarios and no label, once for each
seed; or ``--pretrained`` names the weights that all start from, as MV-JAR's do. ``--method`` does
the same with another fusion neck.

A day on two cores; started again, the command goes on where it was. Shares and methods that
``--out`` has from another time stay in it, so that they can be run one by one. ``--epoch-iters 1
--out FILE`` shows that all works. The last line is one JSON object.
"""

import argparse
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / 'projects/TurboTrain')]

import numpy as np
from matplotlib.figure import Figure
from mmengine.config import Config
from mmengine.registry import init_default_scope

from tools.benchmark.results import load, mean_and_spread, spread, typed
from tools.benchmark.zoo import method_configs
from tools.studies.generalisation import METHODS, take_fusion_neck
from tools.studies.shares import SHARES, label_share
from turbotrain.commands import KeyValues, read_config, run_tool
from turbotrain.errors import UserError
from turbotrain.recipes.circumstances import circumstances
from turbotrain.recipes.runs import Run, run_all
from turbotrain.recipes.settings import add_comparison_arguments, precision_of, settings_of
from turbotrain.recipes.stages import RECIPES, Change
from turbotrain.visualization import save_figure
from turbotrain.whole_file import write_whole

ARMS = dict(scratch='from scratch', pretrained='pretrained')
LENGTHS = dict(zip(SHARES, (30, 30, 45, 60, 90, 120), strict=True))
"""Epochs of fine-tuning by share of the labels; the recipe says how many iterations one has."""
PRETRAINING = 180
METRICS = {'AP@0.5/vehicle': 'AP@0.5 of vehicles (%)', 'mAP@0.5': 'mAP@0.5 (%)', 'EPA': 'EPA (%)'}


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Fine-tune on shares of the labels')
    add_comparison_arguments(parser)
    parser.set_defaults(data_root=ROOT / 'data/midi_v2xpnp')
    parser.add_argument('--recipe', type=Path, default=RECIPES / 'turbotrain.py')
    parser.add_argument('--arms', nargs='+', choices=ARMS, default=list(ARMS))
    parser.add_argument('--shares', nargs='+', choices=LENGTHS, default=list(LENGTHS))
    parser.add_argument(
        '--lengthen', type=float, default=1.0, help='fine-tune for so many times the iterations'
    )
    parser.add_argument('--pretrained', type=Path, help='checkpoint to use instead of pretraining')
    parser.add_argument('--method', choices=METHODS, help='of the benchmark, for its fusion neck')
    parser.add_argument(
        '--cfg-options', nargs='+', action=KeyValues, help='changes to the fine-tuning, key=value'
    )
    parser.add_argument('--out', type=Path, default=ROOT / 'docs/label_efficiency.json')
    return parser.parse_args()


def change_of(share: str, seed: int, options: dict | None, method: Config | None = None) -> Change:
    """What makes the recipe one of the runs that are compared; ``method`` is the neck's."""

    def change(stage: str, cfg: Config) -> None:
        if method is not None:
            take_fusion_neck(method, stage, cfg)
        if stage != 'finetuning':
            return
        label_share(cfg, share, seed)
        cfg.merge_from_dict(options or {})

    return change


def summarise(found: dict[tuple[str, str], list[dict]]) -> dict:
    """What pretraining brings, from the metrics by arm and share, a row a seed.

    Returns:
        ``metrics``: metric -> arm -> share -> mean, std and values over the seeds; ``gain`` and
        ``gain_error``: share -> metric -> mean over the seeds of pretrained less scratch, and its
        standard error (None of a single seed).
    """
    metrics: dict = {metric: {arm: {} for arm, _ in found} for metric in METRICS}
    for (arm, share), rows in found.items():
        for metric in METRICS:
            values = [round(row[metric], 2) for row in rows]
            mean, std = spread(values)
            metrics[metric][arm][share] = dict(mean=mean, std=std, values=values)
    gain: dict = {}
    error: dict = {}
    for share in LENGTHS:
        for metric, arms in metrics.items():
            if not all(share in arms.get(arm, {}) for arm in ARMS):
                continue
            pairs = zip(*(arms[arm][share]['values'] for arm in ARMS), strict=True)
            mean, std = spread(pretrained - scratch for scratch, pretrained in pairs)
            count = len(arms['scratch'][share]['values'])
            gain.setdefault(share, {})[metric] = mean
            error.setdefault(share, {})[metric] = std and round(std / math.sqrt(count), 2)
    return dict(metrics=metrics, gain=gain, gain_error=error)


def settings_of_runs(args: argparse.Namespace) -> dict:
    """What both arms of a share have in common, and how it differs from the protocol."""
    stage = read_config(args.recipe).stages.finetuning
    given = dict(
        seeds=args.seeds,
        anew=list(stage.get('anew', ())),
        recipe='/'.join(args.recipe.parts[-2:]),  # mini's have the names of the full size
        data_root=args.data_root.name,
        lengthen=args.lengthen,
        epoch_iters=args.epoch_iters,
        amp=precision_of(args),
        cfg_options=args.cfg_options,
    )
    return json.loads(json.dumps(given))


def kept_in(content: dict, method: str | None) -> dict:
    """What a file holds of this project's own neck, or of a method's."""
    return content.get('methods', {}).get(method, {}) if method else content


def earlier(
    kept: dict, asked: Sequence[tuple[str, str]], split: str, settings: dict
) -> tuple[dict, dict]:
    """What was kept of other arms and shares than those that are asked for.

    Args:
        kept: the content of ``--out``.
        asked: arms and shares.
        split: that they are measured on.
        settings: of :func:`settings_of_runs`.

    Returns:
        Metrics as :func:`summarise` takes them, and costs: share -> arm -> what it took.

    Raises:
        UserError: they were measured on another split, or with other settings: the arms of a share
            with other seeds, any share with another length, precision or the like.
    """
    found: dict[tuple[str, str], list[dict]] = {}
    cost: dict[str, dict] = {}
    if 'metrics' not in kept:
        return found, cost
    if kept['split'] != split:
        raise UserError(
            f'--out has shares of the split {kept["split"]}, not {split}: name another file'
        )
    for share, arms in kept['cost'].items():
        for arm, about in arms.items():
            if (arm, share) in asked:
                continue
            theirs = {key: about.get(key) for key in settings}
            same = dict(theirs, seeds=settings['seeds']) == settings
            if not same or (theirs != settings and any(own == share for _, own in asked)):
                raise UserError(
                    f'--out has {arm}, {share}, with {theirs}, not with {settings}: name another '
                    'file, or run that, too'
                )
            rows = [kept['metrics'][metric][arm][share] for metric in METRICS]
            values = zip(*(row['values'] for row in rows), strict=True)
            found[arm, share] = [dict(zip(METRICS, row, strict=True)) for row in values]
            cost.setdefault(share, {})[arm] = about
    return found, cost


def draw(metrics: dict, out: Path) -> None:
    figure = Figure(figsize=(11, 3.6), layout='constrained')
    for axes, (metric, label) in zip(
        figure.subplots(1, len(METRICS)), METRICS.items(), strict=True
    ):
        for arm, color in zip(ARMS, ('#5B6675', '#E4572E'), strict=True):
            found = metrics[metric].get(arm, {})
            rows = {share: found[share] for share in LENGTHS if share in found}
            places = [list(LENGTHS).index(share) for share in rows]
            mean = np.array([row['mean'] for row in rows.values()])
            std = np.array([row['std'] or 0.0 for row in rows.values()])
            axes.plot(places, mean, 'o-', color=color, label=ARMS[arm])
            axes.fill_between(places, mean - std, mean + std, color=color, alpha=0.2, linewidth=0)
        axes.set(xlabel='labelled scenarios (%)', ylabel=label, xticks=range(len(LENGTHS)))
        axes.set_xticklabels(LENGTHS)
        axes.grid(alpha=0.3)
    axes.legend()
    save_figure(figure, out, dpi=110)


def table(metrics: dict, shares: list[str]) -> str:
    """All of it as text, a block a metric."""
    lines = []
    for metric, arms in metrics.items():
        lines.append(f'\n{metric:<16}' + ''.join(f'{share:>18}' for share in shares))
        for arm, rows in arms.items():
            cells = [
                mean_and_spread(rows[share]['mean'], rows[share]['std']) if share in rows else '–'
                for share in shares
            ]
            lines.append(f'{arm:<16}' + ''.join(f'{cell:>18}' for cell in cells))
    return '\n'.join(lines)


def main() -> None:
    args = parse_args()
    settings = settings_of(args)
    init_default_scope('mmdet3d')
    asked = [(arm, share) for share in args.shares for arm in args.arms]
    common = settings_of_runs(args)
    earlier(kept_in(load(args.out), args.method), asked, args.split, common)  # may refuse
    given, method = args.pretrained, None
    if given and not given.is_file():
        raise UserError(f'--pretrained: there is no checkpoint {given}')
    if args.method:
        path = method_configs(mini=True)[args.method]
        method = Config.fromfile(path, import_custom_modules=False)
    runs = {
        (arm, share, seed): Run(
            f'{arm}, {share}',
            seed,
            args.recipe,
            change_of(share, seed, args.cfg_options, method),
            dict(
                pretraining=PRETRAINING if arm == 'pretrained' and not given else 0,
                finetuning=round(LENGTHS[share] * args.lengthen),
            ),
            given if arm == 'pretrained' else None,
        )
        for share in args.shares
        for seed in args.seeds
        for arm in args.arms
    }
    measured = run_all(runs.values(), settings)
    if len(measured) < len(runs):
        sys.exit('not all runs were measured, see above; the command goes on where it was')
    # Only now: another command may have written meanwhile.
    content = load(args.out)
    found, cost = earlier(kept_in(content, args.method), asked, args.split, common)
    about = common | circumstances(typed())
    for (arm, share, _), run in runs.items():
        stages = measured[run.name, run.seed]
        found.setdefault((arm, share), []).append(stages['finetuning']['metrics'])
        took = {
            name: {key: round(stage[key], 1) for key in ('iterations', 'train_seconds')}
            for name, stage in stages.items()
        }
        if arm == 'pretrained' and given:
            took['pretraining'] = given.name
        cost.setdefault(share, {})[arm] = took | about
    result = dict(summarise(found), split=args.split, cost=cost)
    print(table(result['metrics'], args.shares))
    if args.method:
        content.setdefault('methods', {})[args.method] = result
    else:
        content |= result
    write_whole(args.out, json.dumps(content, indent=1) + '\n')
    if not args.method:
        draw(result['metrics'], args.out.with_suffix('.png'))
    print(f'\n{args.out}')
    print(json.dumps(content))


if __name__ == '__main__':
    run_tool(main)
