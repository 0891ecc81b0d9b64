"""The package under both of its names, beside other people's, and installed from a wheel."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# A project that balances a stock detector, and has `projects` of its own.
BALANCED = """
import sys
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmdet3d.registry import MODELS
from mmdet3d.structures import Det3DDataSample, LiDARInstance3DBoxes
from mmengine.structures import InstanceData
import projects.mine

cfg = Config.fromfile('balanced.py')
ours = {name.split('.')[1] for name in sys.modules if name.startswith('turbotrain.')}
assert ours == {'balancing', 'errors'}, ours
assert sys.modules['turbotrain'].__file__.startswith(sys.argv[1])
assert 'MaskedPretrainer' not in MODELS
model = MODELS.build(cfg.model)
wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
sample = Det3DDataSample(metainfo=dict(box_type_3d=LiDARInstance3DBoxes))
box = torch.tensor([[10.0, 0.0, -1.6, 3.9, 1.6, 1.56, 0.0]])
sample.gt_instances_3d = InstanceData(
    bboxes_3d=LiDARInstance3DBoxes(box), labels_3d=torch.tensor([2])
)
points = torch.rand(500, 4) * torch.tensor([25, 20, 1, 1]) - torch.tensor([0, 10, 2, 0])
before = torch.cat([p.detach().flatten() for p in model.parameters()])
model.train_step(dict(inputs=dict(points=[points]), data_samples=[sample]), wrapper)
after = torch.cat([p.detach().flatten() for p in model.parameters()])
print(type(wrapper).__name__, bool((before != after).any() and after.isfinite().all()))
"""
CONFIG = """
_base_ = 'mmdet3d::pointpillars/pointpillars_hv_secfpn_8xb6-160e_kitti-3d-3class.py'
custom_imports = dict(imports=['turbotrain.balancing'], allow_failed_imports=False)
span = [0.0, -12.8, -3.0, 25.6, 12.8, 1.0]
voxels = dict(voxel_size=[0.4, 0.4, 4], point_cloud_range=span)
model = dict(
    data_preprocessor=dict(voxel_layer=voxels),
    voxel_encoder=dict(**voxels),
    middle_encoder=dict(output_shape=[64, 64]),
    bbox_head=dict(anchor_generator=dict(ranges=3 * [[0.0, -12.8, -1.0, 25.6, 12.8, -1.0]])),
)
optim_wrapper = dict(
    _delete_=True,
    type='ConflictSuppressingOptimWrapper',
    optimizer=dict(type='SGD', lr=1e-3),
    tasks=dict(classes=['loss_cls'], boxes=['loss_bbox', 'loss_dir']),
)
"""


def run(*words: object, folder: Path, path: list[Path]) -> subprocess.CompletedProcess:
    env = {**os.environ, 'PYTHONPATH': os.pathsep.join(map(str, path)), 'OMP_NUM_THREADS': '1'}
    command = [sys.executable, '-W', 'ignore', *map(str, words)]
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)


def write_projects(folder: Path, name: str, regular: bool) -> None:
    """Somebody's ``projects``, a regular package or a folder."""
    (folder / 'projects' / name).mkdir(parents=True)
    (folder / 'projects' / name / '__init__.py').touch()
    if regular:
        (folder / 'projects/__init__.py').touch()


def test_a_wheel_brings_balancing_to_a_project_without_a_checkout(tmp_path):
    source, site, project = tmp_path / 'source', tmp_path / 'site', tmp_path / 'project'
    unwanted = shutil.ignore_patterns('__pycache__', '*.egg-info')
    shutil.copytree(ROOT / 'projects', source / 'projects', ignore=unwanted)
    for name in ('pyproject.toml', 'README.md'):
        shutil.copy(ROOT / name, source)
    pip = ['-m', 'pip', 'install', '--quiet', '--no-deps', '--no-index', '--no-build-isolation']
    installed = run(*pip, '--target', site, source, folder=tmp_path, path=[])
    assert installed.returncode == 0, installed.stderr
    package = source / 'projects/TurboTrain/turbotrain'
    files = [path for path in package.rglob('*') if path.is_file()]
    assert len(files) > 100
    assert all((site / path.relative_to(package.parent)).is_file() for path in files)

    write_projects(project, 'mine', regular=True)
    (project / 'balanced.py').write_text(CONFIG)
    found = run('-c', BALANCED, site, folder=project, path=[site])
    assert found.stdout.splitlines()[-1:] == ['ConflictSuppressingOptimWrapper True'], found.stderr


def test_one_name_in_one_process(tmp_path):
    """In mmdet3d's tree, beside a sibling, the files go by their long name."""
    write_projects(tmp_path, 'BEVFusion', regular=False)
    (tmp_path / 'projects/TurboTrain').symlink_to(ROOT / 'projects/TurboTrain')
    code = (
        'import projects.BEVFusion, projects.TurboTrain.turbotrain.plugin\n'
        'from mmdet3d.registry import MODELS\n'
        'import numpy, projects.TurboTrain.turbotrain.datasets.point_kernels as kernels\n'
        'kernels.keep_finite(numpy.zeros((2, 4), numpy.float32), 1e3)\n'
        "print(MODELS.get('MaskedPretrainer').__module__.split('.')[0])\n"
        'import turbotrain.balancing'
    )
    found = run('-c', code, folder=tmp_path, path=[ROOT / 'projects/TurboTrain'])
    assert found.stdout == 'projects\n'
    assert found.stderr.splitlines()[-1] == (
        "RuntimeError: TurboTrain is imported as 'turbotrain' here and as "
        "'projects.TurboTrain.turbotrain' elsewhere in this process, but its modules register "
        'once; use one name in configs and code'
    )


@pytest.mark.parametrize('first', [True, False], ids=['first on the path', 'in site-packages'])
def test_commands_run_beside_a_foreign_projects_package(first, tmp_path):
    write_projects(tmp_path, 'foreign', regular=True)
    path = [tmp_path] if first else [ROOT, tmp_path]
    tool = ROOT / 'tools/train.py'
    found = run(tool, 'none.py', folder=tmp_path, path=path)
    assert found.stderr.splitlines()[-1].endswith(
        "there is no config '%s'" % (tmp_path / 'none.py')
    )
