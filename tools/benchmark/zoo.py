"""Writes what follows from the benchmark's configs: ``python tools/benchmark/zoo.py``.

* the Models of ``model-index.yml``, below its Collections, which are written by hand;
* the tables in ``docs/zoo.md``, from ``model-index.yml`` and from what
  ``tools/benchmark/models.py`` left in ``docs/benchmark.json``;
* ``docs/benchmark.md``, from the latter.

What is up to date already stays as it is.
"""

import argparse
import json
import sys
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / 'projects/TurboTrain')]

import yaml
from mmengine.config import Config
from mmengine.registry import DefaultScope

from tools.benchmark.pages import (
    benchmark_page,
    markdown_table,
    message,
    number,
    replace_table,
)
from turbotrain.whole_file import write_whole

INDEX, RESULTS = Path('model-index.yml'), Path('docs/benchmark.json')
README, PAGE = Path('docs/zoo.md'), Path('docs/benchmark.md')
WRITER = ': written by tools/benchmark/zoo.py'
REPORTED = 'Reported in V2XPnP'


def method_configs(mini: bool = False, root: Path = ROOT) -> dict[str, Path]:
    """Name of the method -> its config, in alphabetical order."""
    folder, ending = ('mini', '_mini_v2xpnp.py') if mini else ('', '_v2xpnp.py')
    paths = sorted((root / 'configs/benchmark' / folder).glob(f'*{ending}'))
    return {path.name.removesuffix(ending): path for path in paths}


def count_parameters(cfg: Config) -> int:
    """How many values training changes."""
    # Only here, as it takes many seconds.
    from mmdet3d.registry import MODELS

    import turbotrain.plugin  # noqa: F401 - registers everything

    with DefaultScope.overwrite_default_scope('mmdet3d'):
        model = MODELS.build(cfg.model)
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def load_index(root: Path = ROOT) -> dict:
    """``model-index.yml``."""
    return yaml.safe_load((root / INDEX).read_text())


def load_results(path: Path = ROOT / RESULTS) -> dict:
    """What ``models.py`` measured: ``modes`` and ``profile``, both empty before the first run."""
    empty = dict(modes={}, profile={})
    return empty | (json.loads(path.read_text()) if path.exists() else {})


def collection_of(method: str, index: dict) -> dict:
    """The collection in ``model-index.yml`` that a method belongs to."""
    for collection in index['Collections']:
        if method in collection['Metadata']['Methods']:
            return collection
    raise ValueError(
        f'{INDEX}: no collection has {method!r} among its Metadata.Methods; name it in one, or '
        'write a collection for it, by hand'
    )


def in_index_order(methods: Iterable[str], index: dict) -> list[str]:
    """Methods in the order of their collections in ``model-index.yml``."""

    def place(method: str) -> tuple[int, int]:
        collection = collection_of(method, index)
        rank = collection['Metadata']['Methods'].index(method)
        return index['Collections'].index(collection), rank

    return sorted(methods, key=place)


def index_text(root: Path = ROOT) -> str:
    """``model-index.yml`` with its Models made anew."""
    index, results, models = load_index(root), load_results(root / RESULTS), []
    for mini in (False, True):
        paths = method_configs(mini, root)
        for method in in_index_order(paths, index):
            entry = {
                'Name': paths[method].stem,
                'In Collection': collection_of(method, index)['Name'],
                'Config': str(paths[method].relative_to(root)),
                'Metadata': {
                    'Training Data': 'simulated mini V2XPnP-Seq' if mini else 'V2XPnP-Seq',
                    'Parameters': count_parameters(Config.fromfile(paths[method])),
                },
            }
            measured = {
                mode: run['methods'][method]
                for mode, run in (results['modes'].items() if mini else ())
                if method in run['methods']
            }
            entries = [one for mode in measured for one in results_entries(measured[mode], mode)]
            if entries:
                entry['Results'] = entries
            models.append(entry)
    by_hand = (root / INDEX).read_text().partition('\nModels:\n')[0].rstrip('\n')
    return f'{by_hand}\n\nModels:\n{yaml.safe_dump(models, sort_keys=False, width=100)}'


def results_entries(figures: dict, mode: str) -> list[dict]:
    """Results of one model as ``model-index.yml`` has them."""
    dataset = f'simulated mini V2XPnP-Seq, mode {mode}'
    tasks = {
        '3D Object Detection': [f'AP@{iou}/vehicle' for iou in (0.3, 0.5, 0.7)],
        'Motion Forecasting': ['ADE', 'FDE', 'MR', 'EPA'],
    }
    return [
        dict(Task=task, Dataset=dataset, Metrics={name: round(figures[name], 2) for name in names})
        for task, names in tasks.items()
        if all(figures.get(name) is not None for name in names)
    ]


def methods_table(index: dict, results: dict, root: Path = ROOT) -> str:
    """One row a method: paper, size, message, the paper's numbers and ours."""
    sizes = {model['Config']: model['Metadata']['Parameters'] for model in index['Models']}
    measured = results['modes'].get('vc', {}).get('methods', {})
    configs, rows = method_configs(root=root), []
    for method in in_index_order(configs, index):
        path = configs[method]
        collection, ours = collection_of(method, index), measured.get(method, {})
        paper, facts = collection['Paper'], collection['Metadata']
        reported = facts.get(REPORTED, {}).get(method, {}).get('vc', 5 * [None])
        rows.append((
            f'[{method}](../{path.relative_to(root)})',
            f'{paper["Title"]}, {facts["Venue"]} ([arXiv]({paper["URL"]}))',
            f'{sizes[str(path.relative_to(root))] / 1e6:.2f} M',
            message(ours.get('message_bytes')),
            f'{number(reported[0])} / {number(reported[-1])}',
            f'{number(ours.get("AP@0.5/vehicle"))} / {number(ours.get("EPA"))}',
        ))  # fmt: skip
    head = (
        'method', 'paper', 'parameters, full size', 'message, mini',
        "V2XPnP's paper: AP@0.5 / EPA (%)", 'ours on mini: AP@0.5 of vehicles / EPA (%)',
    )  # fmt: skip
    return markdown_table(head, rows)


def papers_table(index: dict) -> str:
    """What V2XPnP's paper reports, by method and mode."""
    rows = [
        (method, mode, *map(number, values, (1, 2, 2, 1, 1)))
        for collection in index['Collections']
        for method, modes in collection['Metadata'].get(REPORTED, {}).items()
        for mode, values in modes.items()
    ]
    head = ('method', 'mode', 'AP@0.5 (%)', 'ADE (m)', 'FDE (m)', 'MR (%)', 'EPA (%)')
    return markdown_table(head, rows)


def readme_text(root: Path = ROOT) -> str:
    """``docs/zoo.md`` with its tables made anew."""
    index, results = load_index(root), load_results(root / RESULTS)
    text = (root / README).read_text()
    tables = dict(methods=methods_table(index, results, root), papers=papers_table(index))
    for name, table in tables.items():
        text = replace_table(text, name, table, WRITER)
    return text


def page_text(root: Path = ROOT) -> str:
    """``docs/benchmark.md``."""
    return benchmark_page(load_results(root / RESULTS))


def write_zoo(root: Path = ROOT) -> list[Path]:
    """Bring all files up to date; return those that changed."""
    changed = []
    for path, make in ((INDEX, index_text), (README, readme_text), (PAGE, page_text)):
        text, file = make(root), root / path
        if not file.exists() or text != file.read_text():
            write_whole(file, text)
            changed.append(file)
    return changed


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    changed = write_zoo()
    print('\n'.join(str(path.relative_to(ROOT)) for path in changed) or 'all up to date')


if __name__ == '__main__':
    main()
