"""tools/check_env.py: silent in a good environment, helpful in a broken one."""

import subprocess
import sys
from pathlib import Path

import pytest

from tools import check_env

SCRIPT = Path(check_env.__file__)


def test_this_environment_can_train():
    result = subprocess.run([sys.executable, SCRIPT], capture_output=True, text=True)
    assert result.returncode == 0, result.stdout
    assert 'Training can work here.' in result.stdout
    for name in ('torch', 'mmcv', 'nms_rotated', 'voxelization', 'points_in_boxes', 'spconv'):
        assert f'ok   {name}' in result.stdout


def test_help_checks_nothing():
    command = [sys.executable, '-I', '-S', SCRIPT, '--help']
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0
    assert 'Say whether this environment can train' in ' '.join(result.stdout.split())
    assert 'FAIL' not in result.stdout


def test_an_environment_without_packages_is_reported_not_crashed_on():
    # -S leaves the site-packages out, -I the user's and the working directory.
    command = [sys.executable, '-I', '-S', SCRIPT]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 1
    assert result.stderr == ''
    assert 'FAIL torch' in result.stdout
    assert 'warn embreex' in result.stdout
    assert 'fix: run `make setup`' in result.stdout
    assert result.stdout.endswith('problem(s).\n')


def package(module, **kwargs):
    return check_env.Package(module, ('numpy',), '1', '2', **kwargs)


def test_a_version_out_of_range_names_the_range_and_the_fix():
    row = check_env.check_package(check_env.Package('numpy', ('numpy',), '3', '4', fix='do this'))
    assert row.fatal
    assert row.problem == 'works from 3 to below 4'
    assert row.fix == 'do this'


def test_an_import_that_fails_is_a_row_and_only_fatal_if_training_needs_it():
    assert check_env.check_package(package('no_such_module')).fatal
    row = check_env.check_package(package('no_such_module', needed_for='pictures'))
    assert not row.fatal
    assert 'needed for pictures; ModuleNotFoundError' in row.problem


def fail():
    raise OSError('libsomething.so\nis not there')


@pytest.mark.parametrize(('operator', 'found'), [(fail, 'does not run'), (bool, 'wrong result')])
def test_an_operator_that_fails_or_is_wrong_is_fatal(operator, found):
    row = check_env.check_operator(operator, 'compile it', fatal=True)
    assert (row.found, row.fix, row.fatal) == (found, 'compile it', True)
    assert row.problem


@pytest.mark.parametrize(
    ('version', 'expected'),
    [('2.0', False), ('2.1', True), ('2.13.0+cpu', True), ('2.14', False), ('2.14.0rc1', False)],
)
def test_versions_compare_as_numbers(version, expected):
    assert check_env.in_range(version, '2.1', '2.14') is expected


def test_report_counts_and_returns_the_exit_code(capsys):
    good = check_env.Row('a', '1')
    warning = check_env.Row('b', '2', 'old', 'renew it')
    assert check_env.report({'Versions': [good, warning]}) == 0
    assert check_env.report({'Versions': [check_env.Row('c', '', 'gone', 'get it', True)]}) == 1
    out = capsys.readouterr().out
    assert 'b (2): old\n  fix: renew it' in out
    assert 'Training cannot work here.' in out


def test_every_package_that_the_project_imports_is_checked():
    """What `import turbotrain.plugin` needs is needed for training."""
    code = """
import ast, sys
import turbotrain.plugin
for name, module in list(sys.modules.items()):
    if name.startswith('turbotrain.') and getattr(module, '__file__', None):
        for node in ast.parse(open(module.__file__).read()).body:
            if isinstance(node, ast.Import):
                print(*(alias.name for alias in node.names), sep='\\n')
            elif isinstance(node, ast.ImportFrom) and not node.level:
                print(node.module)
"""
    found = subprocess.run(
        [sys.executable, '-c', code],
        capture_output=True,
        text=True,
        cwd=SCRIPT.parents[1] / 'projects/TurboTrain',
    )
    assert found.returncode == 0, found.stderr
    imported = {line.split('.')[0] for line in found.stdout.split()} - sys.stdlib_module_names
    assert {'torch', 'mmdet3d', 'lzf'} <= imported
    needed = {p.module.split('.')[0] for p in check_env.PACKAGES if p.needed_for == 'training'}
    assert imported - {'spconv'} <= needed
