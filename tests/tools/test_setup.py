"""The set-up: pins, make's checks of the machine, launch scripts, linter, citation."""

import os
import re
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]


def requirements():
    lines = (line.split('#')[0].strip() for line in (ROOT / 'requirements.txt').open())
    return [Requirement(line) for line in lines if line]


def wanted_here():
    return [r for r in requirements() if r.marker is None or r.marker.evaluate()]


def make_executable(path, text):
    path.write_text(text)
    path.chmod(0o755)
    return path


# What `make test NAME=value` hands on to every make below it.
HANDED_ON = ('MAKEFLAGS', 'MAKEOVERRIDES', 'MFLAGS', 'TORCH', 'VENV', 'JOBS', 'PYTHON', 'ARGS')


def run(*command, cwd=ROOT, **env):
    command = [str(part) for part in command]
    inherited = {name: value for name, value in os.environ.items() if name not in HANDED_ON}
    env = {**inherited, **{name: str(value) for name, value in env.items()}}
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True)


@pytest.fixture
def checkout(tmp_path):
    """A copy of the files that `make setup` needs, so that no test touches the real environment."""
    root = tmp_path / 'checkout'
    (root / 'tools').mkdir(parents=True)
    for name in ('Makefile', 'requirements.txt', 'tools/setup.sh'):
        shutil.copy(ROOT / name, root / name)
    return root


def make_setup(checkout, python=sys.executable, **env):
    return run('make', 'setup', f'PYTHON={python}', cwd=checkout, **env)


def path_with(folder, **programs):
    """A PATH on which `programs` (name -> shell text) hide those of the machine."""
    folder.mkdir()
    for name, text in programs.items():
        make_executable(folder / name, f'#!/bin/sh\n{text}\n')
    return f'{folder}:{os.environ["PATH"]}'


@pytest.mark.parametrize('requirement', wanted_here(), ids=lambda requirement: requirement.name)
def test_installed_versions_agree_with_requirements(requirement):
    # torch may be another one than the pinned: `make test TORCH=...`.
    if requirement.name != 'torch':
        installed = metadata.version(requirement.name)
        assert requirement.specifier.contains(installed), f'{requirement}, installed {installed}'


def test_linters_and_compiled_packages_are_pinned_exactly():
    pins = {requirement.name: str(requirement.specifier) for requirement in requirements()}
    for name in ('torch', 'mmcv', 'mmdet', 'mmdet3d', 'mmengine', 'spconv-cu120', 'ruff', 'mypy'):
        assert re.fullmatch(r'==[\d.]+', pins[name]), f'{name}{pins[name]}'


@pytest.mark.parametrize('version', ['3, 9', '3, 14'])
def test_setup_refuses_other_pythons_in_one_sentence(checkout, tmp_path, version):
    # Stands for a Python of that version: it runs real code, told that it is another version.
    python = make_executable(
        tmp_path / 'python',
        f'#!/bin/sh\nexec {sys.executable} -c '
        f'"import sys; sys.version_info = ({version}, 0); exec(\'$2\')"\n',
    )
    result = make_setup(checkout, python)
    assert result.returncode != 0
    first = result.stderr.splitlines()[0]
    assert first.startswith('make setup: Python 3.10 to 3.13 is needed')
    assert str(python) in first
    assert not (checkout / '.venv').exists()


def test_setup_names_a_missing_compiler(checkout):
    result = make_setup(checkout, CXX='no-such-compiler')
    assert result.returncode != 0
    assert 'no C++ compiler (no-such-compiler)' in result.stderr.splitlines()[0]
    assert not (checkout / '.venv').exists()


def test_setup_names_missing_headers(checkout, tmp_path):
    # A Python that is installed without them: it looks for them where nothing is.
    code = "import sysconfig; sysconfig.get_path = lambda *_: '/nowhere'; "
    python = make_executable(
        tmp_path / 'python', f'#!/bin/sh\nexec {sys.executable} -c "{code}$2"\n'
    )
    result = make_setup(checkout, python)
    assert result.returncode != 0
    assert 'has no C headers (Python.h)' in result.stderr.splitlines()[0]
    assert 'python3-dev' in result.stderr and not (checkout / '.venv').exists()


def test_setup_names_a_full_disk(checkout, tmp_path):
    df = 'echo Filesystem Blocks Used Available; echo /dev/disk 9000000 8000000 1000000'
    result = make_setup(checkout, PATH=path_with(tmp_path / 'bin', df=df))
    assert result.returncode != 0
    assert 'only 1 GB are free' in result.stderr.splitlines()[0]
    assert not (checkout / '.venv').exists()


def fake_venv(root, fails_at='nothing', last_words=''):
    """A virtual environment whose Python only notes its arguments, and fails where told to."""
    (root / '.venv/bin').mkdir(parents=True, exist_ok=True)
    fails = f'echo "{last_words}"; exit 1'
    text = f'echo "$*" >> {root}/calls\ncase "$*" in *"{fails_at}"*) {fails};; esac'
    make_executable(root / '.venv/bin/python', f'#!/bin/sh\n{text}\n')


def test_a_download_that_is_refused_is_told_in_pips_words(checkout):
    said = 'ProxyError: Tunnel connection failed: 403 Forbidden'
    fake_venv(checkout, fails_at='torch setuptools wheel', last_words=said)
    failed = make_setup(checkout)
    assert failed.returncode != 0
    first = failed.stderr.splitlines()[0]
    assert first.startswith('make setup: torch') and f'Its last words: {said}' in first
    assert not list(checkout.glob('.venv/.setup-*'))


def test_interrupted_setup_is_not_done_and_a_finished_one_is(checkout):
    fake_venv(checkout, fails_at='--no-build-isolation mmcv')
    failed = make_setup(checkout)
    assert failed.returncode != 0
    assert '.venv/setup.log says why' in failed.stderr.splitlines()[0]
    assert not list(checkout.glob('.venv/.setup-*'))

    fake_venv(checkout)
    assert make_setup(checkout).returncode == 0
    calls = (checkout / 'calls').read_text()
    assert make_setup(checkout).returncode == 0
    assert (checkout / 'calls').read_text() == calls, 'nothing changed, yet something was installed'

    with (checkout / 'requirements.txt').open('a') as file:
        file.write('einops\n')
    assert make_setup(checkout).returncode == 0
    assert (checkout / 'calls').read_text() != calls
    assert len(list(checkout.glob('.venv/.setup-*'))) == 1


def test_a_function_finds_what_exec_has_set_as_mmcv_setup_does():
    code = "def version():\n exec('__version__ = 1')\n return locals()['__version__']\nversion()"
    result = run(sys.executable, '-c', code, PYTHONPATH=ROOT / 'tools/mmcv_build')
    assert result.returncode == 0, result.stderr  # without the folder, it fails from Python 3.13 on


def test_another_torch_gets_an_environment_of_its_own():
    result = run('make', '--dry-run', 'setup', 'TORCH=2.4.1')
    assert '.venv-torch2.4.1' in result.stdout
    assert 'tools/setup.sh .venv-torch2.4.1 ' in result.stdout


@pytest.mark.parametrize('script', ['.ci/run', *sorted(p.name for p in ROOT.glob('tools/*.sh'))])
def test_shell_scripts_parse(script):
    path = ROOT / script if '/' in script else ROOT / 'tools' / script
    assert run('bash', '-n', path).returncode == 0


@pytest.fixture
def echo(tmp_path):
    """A program that prints its arguments, one a line, and takes the place of Python or srun."""
    return make_executable(tmp_path / 'echo', '#!/bin/sh\nprintf "%s\\n" "$@"\n')


@pytest.mark.parametrize(
    ('kind', 'positional'), [('train', ['c.py']), ('test', ['c.py', 'weights.pth'])]
)
def test_dist_scripts_pass_everything_on_from_any_directory(kind, positional, echo, tmp_path):
    script = ROOT / f'tools/dist_{kind}.sh'
    options = ['--cfg-options', 'a=b c']
    result = run('bash', script, *positional, 2, *options, cwd=tmp_path, PYTHON=echo)
    arguments = result.stdout.splitlines()
    assert arguments[:4] == ['-m', 'torch.distributed.run', '--standalone', '--nproc_per_node=2']
    tool = str(ROOT / f'tools/{kind}.py')
    assert arguments[4:] == [tool, *positional, '--launcher', 'pytorch', *options]


def test_dist_train_takes_several_nodes_from_the_environment(echo):
    script, nodes = ROOT / 'tools/dist_train.sh', {'NNODES': 2, 'NODE_RANK': 1, 'PORT': 1234}
    result = run('bash', script, 'c.py', 4, PYTHON=echo, MASTER_ADDR='first', **nodes)
    assert result.stdout.splitlines()[2:7] == [
        '--nnodes=2',
        '--node_rank=1',
        '--master_addr=first',
        '--master_port=1234',
        '--nproc_per_node=4',
    ]


@pytest.mark.parametrize(('kind', 'last'), [('train', '--work-dir'), ('test', 'weights')])
def test_slurm_scripts_ask_for_the_gpus_and_start_the_tool(kind, last, echo, tmp_path):
    path = path_with(tmp_path / 'bin', srun=f'exec {echo} "$@"')
    script = ROOT / f'tools/slurm_{kind}.sh'
    result = run('bash', script, 'part', 'job', 'c.py', 'weights', '--seed', 1, PATH=path, GPUS=2)
    arguments = result.stdout.splitlines()
    assert arguments[:2] == ['--partition=part', '--job-name=job']
    assert {'--gres=gpu:2', '--ntasks=2', '--ntasks-per-node=2'} <= set(arguments)
    tool = arguments.index(str(ROOT / f'tools/{kind}.py'))
    assert arguments[tool + 1 : tool + 3] == ['c.py', last]
    assert arguments[-4:] == ['--launcher', 'slurm', '--seed', '1']


@pytest.mark.parametrize('script', ['dist_train', 'dist_test', 'slurm_train', 'slurm_test'])
def test_launch_scripts_find_the_project_whatever_cdpath_says(script, echo, tmp_path):
    path = path_with(tmp_path / 'bin', srun=f'exec {echo} "$@"')
    result = run(
        'bash', f'tools/{script}.sh', 'a', 2, 2, 2, cwd=ROOT,
        PATH=path, PYTHON=echo, CDPATH=f'.:{ROOT}',
    )  # fmt: skip
    assert str(ROOT / f'tools/{script.split("_")[1]}.py') in result.stdout.splitlines()


@pytest.mark.parametrize(
    ('script', 'name'),
    [('slurm_train', 'GPUS'), ('slurm_test', 'GPUS_PER_NODE'), ('slurm_train', 'CPUS_PER_TASK'),
     ('dist_train', 'NNODES'), ('dist_test', 'NODE_RANK'), ('dist_train', 'PORT')],
)  # fmt: skip
def test_launch_scripts_take_numbers_alone(script, name, echo, tmp_path):
    path = path_with(tmp_path / 'bin', srun=f'exec {echo} "$@"')
    for value in (f'x[$(touch {tmp_path}/ran)0]', '08', '-1', '1 2', '9999999999'):
        words = {'PATH': path, 'PYTHON': echo, 'PORT': 1, name: value}
        result = run('bash', ROOT / f'tools/{script}.sh', 'a', 2, 2, 2, **words)
        assert result.returncode == 2 and result.stdout == ''
        assert result.stderr.startswith(f'error: {name}: expected a whole number from ')
    assert not (tmp_path / 'ran').exists()


def test_srun_options_are_read_with_their_quotes_and_run_nothing(echo, tmp_path):
    path = path_with(tmp_path / 'bin', srun=f'exec {echo} "$@"')
    options = f"""--comment='a b' "--chdir=c d" * $(touch {tmp_path}/ran) `id`"""
    words = dict(PATH=path, PYTHON=echo, SRUN_ARGS=options)
    found = run('bash', ROOT / 'tools/slurm_train.sh', 'p', 'j', 'c', 'w', **words)
    found = found.stdout.splitlines()
    begin = found.index('--kill-on-bad-exit=1') + 1
    assert found[begin : begin + 6] == [
        '--comment=a b', '--chdir=c d', '*', '$(touch', f'{tmp_path}/ran)', '`id`'
    ]  # fmt: skip
    assert not (tmp_path / 'ran').exists()


@pytest.mark.parametrize('script', ['dist_train', 'dist_test', 'slurm_train', 'slurm_test'])
def test_launch_scripts_without_arguments_tell_their_usage(script):
    result = run('bash', ROOT / f'tools/{script}.sh')
    assert result.returncode == 2
    assert result.stderr.startswith(f'usage: bash tools/{script}.sh')


def test_pre_commit_calls_the_linter_that_ci_calls():
    config = yaml.safe_load((ROOT / '.pre-commit-config.yaml').read_text())
    (hook,) = config['repos'][0]['hooks']
    assert config['repos'][0]['repo'] == 'local'
    assert hook['language'] == 'system'
    assert hook['entry'] in (ROOT / '.ci/run').read_text().splitlines()
    commands = run('make', '--dry-run', 'lint').stdout
    assert 'ruff check .' in commands
    assert 'ruff format --check .' in commands
    assert 'bin/mypy' in commands
    assert 'shellcheck' in commands


def test_citation_names_the_software_and_the_papers():
    citation = yaml.safe_load((ROOT / 'CITATION.cff').read_text())
    assert {'cff-version', 'message', 'title', 'authors', 'license'} <= citation.keys()
    titles = [reference['title'].split(':')[0] for reference in citation['references']]
    assert titles == ['TurboTrain', 'V2XPnP']
    for reference in citation['references']:
        assert {'type', 'title', 'authors', 'year', 'url'} <= reference.keys()


def test_license_is_apache():
    text = (ROOT / 'LICENSE').read_text()
    assert 'Apache License' in text
    assert 'END OF TERMS AND CONDITIONS' in text
