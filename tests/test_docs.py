"""What the pages show works: Python blocks run, and commands have the options they are given."""

import argparse
import importlib.util
import re
import shlex
import shutil
import sys
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
from mmdet3d.registry import MODELS
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.optim import build_optim_wrapper
from mmengine.registry import HOOKS, DefaultScope, init_default_scope
from torch import nn

from tests.layouts import write_pcd
from turbotrain.datasets.readers import dialects

ROOT = Path(__file__).parents[1]
PAGES = [
    *(
        ROOT / name
        for name in (
            'README.md',
            'CONTRIBUTING.md',
            'data/README.md',
            'weights/README.md',
        )
    ),
    *sorted((ROOT / 'docs').glob('*.md')),
]


def blocks(language: str) -> list[tuple[str, str]]:
    """The pages' code in a language, each with its page's name."""
    pattern = re.compile(rf'^```{language}\n(.*?)^```', re.DOTALL | re.MULTILINE)
    return [
        (str(page.relative_to(ROOT)), code)
        for page in PAGES
        for code in pattern.findall(page.read_text())
    ]


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.name)
def test_lines_of_text_have_100_characters_at_most(page):
    """But for rows of tables, code, and what cannot be broken: a picture, a link, a command."""
    text = re.sub(r'^```.*?^```', '', page.read_text(), flags=re.DOTALL | re.MULTILINE)
    whole = r'(?:- |\d\. )?\(?(!?\[[^]]*\]\([^)]*\)|`[^`]*`)\S*'
    long = [line for line in text.split('\n') if len(line) > 100 and not line.startswith('|')]
    assert [line for line in long if not re.fullmatch(whole, line)] == []


def cases(found: list[tuple[str, str]]) -> list:
    return [pytest.param(code, id=f'{page}-{i}') for i, (page, code) in enumerate(found)]


def give_what_is_named(code: str) -> None:
    """Clouds such as a block's reader has."""
    for name in re.findall(r"'(\w+\.pcd)'", code):
        points = np.random.default_rng(0).uniform([-40, -20, -2, 0], [40, 20, 1, 1], (900, 4))
        write_pcd(Path(name), points, 'binary')


@pytest.mark.parametrize('code', cases(blocks('python')))
def test_python_runs(code, tmp_path, monkeypatch):
    # As in a process of its own: no runner has chosen a scope.
    monkeypatch.setattr(DefaultScope, '_instance_dict', OrderedDict())
    monkeypatch.setattr(dialects, 'DIALECTS', {**dialects.DIALECTS})
    monkeypatch.chdir(tmp_path)
    # Blocks name configs from the project's root, and may write some.
    shutil.copytree(ROOT / 'configs', 'configs')
    Path('weights').symlink_to(ROOT / 'weights')
    give_what_is_named(code)
    if 'custom_imports' not in code and '_base_ = ' not in code:
        exec(compile(code, 'page', 'exec'), {})
        return
    path = tmp_path / 'configs/turbotrain/page.py'
    path.write_text(code)
    cfg = Config.fromfile(path)
    init_default_scope(cfg.get('default_scope', 'mmengine'))
    if 'model' in cfg:
        assert isinstance(MODELS.build(cfg.model), nn.Module)
    if cfg.get('optim_wrapper'):
        assert build_optim_wrapper(nn.Linear(2, 2), cfg.optim_wrapper).param_groups
    assert all(isinstance(HOOKS.build(hook), Hook) for hook in cfg.get('custom_hooks', []))


def commands() -> list[tuple[str, str]]:
    """Lines of the pages' shell blocks, and commands within sentences."""
    found = [
        (page, line)
        for page, code in blocks('bash')
        for line in code.replace('\\\n', ' ').splitlines()
    ]
    for page in PAGES:
        prose = re.sub(r'^```.*?^```', '', page.read_text(), flags=re.DOTALL | re.MULTILINE)
        spans = re.findall(r'`([^`]+)`', prose)
        found += [(str(page.relative_to(ROOT)), ' '.join(span.split())) for span in spans]
    return [(page, line) for page, line in found if re.search(r'(python|bash) tools/\S', line)]


class ParsedError(Exception):
    """A command has understood its arguments."""


def parse_and_stop(parser, *args, **kwargs):
    original(parser, *args, **kwargs)
    raise ParsedError


original = argparse.ArgumentParser.parse_args


def test_commands_have_the_options_that_are_shown(monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(argparse.ArgumentParser, 'parse_args', parse_and_stop)
    shown = commands()
    assert len(shown) > 40
    mains, wrong = {}, []
    for page, line in shown:
        words = shlex.split(re.sub(r'\[.*?\]', '', line), comments=True)
        start = next(i for i, word in enumerate(words) if word.startswith('tools/'))
        tool, *rest = words[start:]
        path = ROOT / tool
        if not path.is_file():
            wrong.append(f'{page}: {line}: there is no {tool}')
        elif path.suffix == '.py':
            if tool not in mains:
                spec = importlib.util.spec_from_file_location(path.stem, path)
                module = importlib.util.module_from_spec(spec)
                monkeypatch.setitem(sys.modules, path.stem, module)
                spec.loader.exec_module(module)
                mains[tool] = module.main
            monkeypatch.setattr(sys, 'argv', [tool, *rest])
            try:
                mains[tool]()
            except ParsedError:
                continue
            except SystemExit as error:
                wrong.append(f'{page}: {line}: exit {error.code}')
    assert not wrong


def test_targets_of_make_are_there():
    makefile = (ROOT / 'Makefile').read_text()
    code = '\n'.join(code for _, code in blocks('bash'))
    targets = set(re.findall(r'^make ([a-z]+)', code, re.MULTILINE))
    assert targets and all(re.search(rf'^{target}:', makefile, re.MULTILINE) for target in targets)
