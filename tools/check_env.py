"""Say whether this environment can train: versions, devices, compiled operators, and each fix.

Usage: `python tools/check_env.py`. Exit code 0 if training can work, 1 if it cannot. What is only
a warning (simulation or spconv missing, say) does not change the exit code.

It imports nothing but the standard library before a check needs more, and a check that fails, in
whatever way, becomes a row of the table: a broken environment is what it is for.
"""

import argparse
import importlib
import logging
import os
import platform
import re
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata

SET_UP = 'run `make setup` (docs/installation.md says what to do with a GPU)'
SPCONV = (
    'pip install spconv-cu120==2.3.6'
    if sys.version_info < (3, 12)
    else "pip install spconv-cu126==2.3.8 'cumm-cu126<0.9'"
)
REBUILD_MMCV = (
    'compile mmcv against this torch: '
    '`pip install --no-build-isolation --no-cache-dir --force-reinstall --no-deps mmcv==2.1.0`'
)


@dataclass(frozen=True)
class Package:
    """A package that TurboTrain uses.

    Attributes:
        module: What is imported, to see that it loads.
        distributions: Names under which it may be installed, the usual one first.
        lowest: First version that works.
        beyond: First version that no longer works, or that nobody has tried.
        needed_for: What fails without it. `training` makes the exit code 1.
        fix: What to do if it is installed but fails to import or is out of range.
    """

    module: str
    distributions: tuple[str, ...]
    lowest: str
    beyond: str
    needed_for: str = 'training'
    fix: str = SET_UP


PACKAGES = (
    Package('torch', ('torch',), '2.1', '2.14'),
    Package('numpy', ('numpy',), '1.26', '2.4', fix="pip install 'numpy<2.4'"),  # numba's ceiling
    Package('pkg_resources', ('setuptools',), '60', '82', fix="pip install 'setuptools<82'"),
    Package(
        'cv2',
        ('opencv-python-headless', 'opencv-python'),
        '4.5',
        '5',
        fix='pip uninstall opencv-python, then pip install --force-reinstall --no-deps '
        'opencv-python-headless==4.11.0.86, which needs no libGL',
    ),
    Package('mmengine', ('mmengine',), '0.10.7', '0.11'),
    Package('mmcv', ('mmcv',), '2.1', '2.2', fix=REBUILD_MMCV),
    Package('mmdet', ('mmdet',), '3.3', '3.4'),
    Package('mmdet3d.evaluation', ('mmdet3d',), '1.4', '1.5'),
    Package('torchjd', ('torchjd',), '0.18', '0.19', fix='pip install --no-deps torchjd==0.18.0'),
    Package('yaml', ('PyYAML',), '6', '7'),
    Package('scipy', ('scipy',), '1.10', '1.16'),
    Package('shapely', ('shapely',), '2.0', '2.1'),
    Package('numba', ('numba',), '0.60', '1'),
    Package('lzf', ('python-neo-lzf',), '0.3', '0.4'),
    Package('PIL', ('pillow',), '9', '14'),
    Package('imageio_ffmpeg', ('imageio-ffmpeg',), '0.5', '1'),
    Package(
        'spconv.pytorch',
        ('spconv-cu120', 'spconv-cu126', 'spconv-cu118', 'spconv-cu121', 'spconv'),
        '2.3',
        '2.4',
        needed_for='sparse encoders',
        fix=SPCONV,
    ),
    Package('zmq', ('pyzmq',), '26', '28', needed_for='tools/live.py'),
    Package('trimesh', ('trimesh',), '5.2', '6', needed_for='simulation'),
    Package('embreex', ('embreex',), '4.4', '5', needed_for='simulation'),
    Package('sumo', ('eclipse-sumo',), '1.28', '1.29', needed_for='simulation'),
    Package('matplotlib', ('matplotlib',), '3.6', '3.11'),
    Package('jinja2', ('Jinja2',), '3.1', '4', needed_for='tools/report.py'),
)


@dataclass(frozen=True)
class Row:
    """One line of the report; `problem` is empty if all is well, `fix` then too."""

    name: str
    found: str
    problem: str = ''
    fix: str = ''
    fatal: bool = False


def release(version: str) -> tuple[int, ...]:
    """Numbers at the start of a version: '2.13.0+cpu' -> (2, 13, 0)."""
    match = re.match(r'\d+(\.\d+)*', version)
    return tuple(int(part) for part in match[0].split('.')) if match else ()


def in_range(version: str, lowest: str, beyond: str) -> bool:
    """Whether `lowest <= version < beyond`, compared by release numbers."""
    return release(lowest) <= release(version) < release(beyond)


def describe(error: BaseException) -> str:
    """An exception as one short line."""
    lines = str(error).strip().splitlines() or ['']
    return f'{type(error).__name__}: {lines[0][:110]}'


def check_python() -> Row:
    """The interpreter's version: 3.10 to 3.13."""
    version = platform.python_version()
    if in_range(version, '3.10', '3.14'):
        return Row('python', version)
    fix = 'make setup PYTHON=/path/to/python3.11'
    return Row('python', version, 'needs 3.10 to 3.13', fix, fatal=True)


def check_package(package: Package) -> Row:
    """Whether a package is installed, imports, and has a version that works."""
    name, fatal = package.distributions[0], package.needed_for == 'training'
    version = ''
    for distribution in package.distributions:
        try:
            version = metadata.version(distribution)
        except metadata.PackageNotFoundError:
            continue
        name = distribution
        break
    try:
        importlib.import_module(package.module)
    except BaseException as error:  # compiled code may raise anything, SystemExit included
        if isinstance(error, KeyboardInterrupt):
            raise
        problem = f'needed for {package.needed_for}; {describe(error)}'
        return Row(name, version or 'missing', problem, package.fix if version else SET_UP, fatal)
    if not version or not in_range(version, package.lowest, package.beyond):
        problem = f'works from {package.lowest} to below {package.beyond}'
        return Row(name, version or 'unknown', problem, package.fix, fatal)
    return Row(name, version)


def check_devices() -> list[Row]:
    """The CPU cores this process may use, and the GPUs that torch sees."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()
    rows = [Row('CPU', f'{cores} cores')]
    try:
        import torch

        for index in range(torch.cuda.device_count()):
            properties = torch.cuda.get_device_properties(index)
            memory = properties.total_memory / 2**30
            rows.append(Row(f'cuda:{index}', f'{properties.name}, {memory:.0f} GiB'))
        if len(rows) == 1:
            rows.append(Row('GPU', f'none (torch {torch.__version__}); training runs on the CPU'))
    except Exception as error:
        rows.append(Row('GPU', 'unknown', describe(error), SET_UP))
    return rows


def device() -> str:
    """Where training would run: 'cuda' or 'cpu'."""
    import torch

    return 'cuda' if torch.cuda.is_available() else 'cpu'


def run_box_iou_rotated() -> bool:
    """A rotated box overlaps itself wholly, and one far away not at all."""
    import torch
    from mmcv.ops import box_iou_rotated

    boxes = torch.tensor([[0.0, 0.0, 4.0, 2.0, 0.3], [50.0, 0.0, 4.0, 2.0, 0.3]], device=device())
    return torch.allclose(box_iou_rotated(boxes, boxes).cpu(), torch.eye(2), atol=1e-4)


def run_nms_rotated() -> bool:
    """Of two equal boxes the one with the higher score stays."""
    import torch
    from mmcv.ops import nms_rotated

    boxes = torch.tensor([[0.0, 0.0, 4.0, 2.0, 0.3]] * 2, device=device())
    scores = torch.tensor([0.2, 0.9], device=device())
    return nms_rotated(boxes, scores, 0.5)[1].tolist() == [1]


def run_voxelization() -> bool:
    """Three points in two cells of a metre give two voxels."""
    import torch
    from mmcv.ops import Voxelization

    points = torch.tensor([[0.1, 0.1, 0.5], [0.2, 0.2, 0.5], [2.5, 0.5, 0.5]], device=device())
    voxelize = Voxelization([1, 1, 1], [0, 0, 0, 4, 4, 1], max_num_points=5, max_voxels=10)
    return sorted(voxelize(points)[2].tolist()) == [1, 2]


def run_points_in_boxes() -> bool:
    """Of two points one lies in the box."""
    import torch
    from mmcv.ops import points_in_boxes_all, points_in_boxes_cpu

    where = device()
    points = torch.tensor([[[0.0, 0.0, 0.5], [9.0, 0.0, 0.5]]], device=where)
    boxes = torch.tensor([[[0.0, 0.0, 0.0, 4.0, 2.0, 1.5, 0.0]]], device=where)
    inside = (points_in_boxes_cpu if where == 'cpu' else points_in_boxes_all)(points, boxes)
    return inside.flatten().tolist() == [1, 0]


def run_spconv() -> bool:
    """A submanifold convolution runs forward and backward, and keeps the sites it was given."""
    import spconv.pytorch as spconv
    import torch
    from spconv.core import ConvAlgo

    where = device()
    features = torch.ones(2, 4, device=where, requires_grad=True)
    indices = torch.tensor([[0, 0, 0], [0, 3, 2]], dtype=torch.int32, device=where)
    # The default algorithm calls CUDA; the native one runs everywhere.
    layer = spconv.SubMConv2d(4, 8, 3, algo=ConvAlgo.Native).to(where)
    out = layer(spconv.SparseConvTensor(features, indices, [4, 4], 1))
    out.features.sum().backward()
    return out.features.shape == (2, 8) and features.grad is not None


def check_operator(run: Callable[[], bool], fix: str, fatal: bool) -> Row:
    """Run a compiled operator where training would, and compare its answer with the known one."""
    name = run.__name__.removeprefix('run_')
    try:
        right = run()
    except Exception as error:
        # A whole package is missing, not just the compiled part of one (`mmcv._ext`).
        absent = isinstance(error, ModuleNotFoundError) and '.' not in (error.name or '')
        return Row(name, 'does not run', describe(error), SET_UP if absent else fix, fatal)
    if right:
        return Row(name, f'runs on {device()}')
    return Row(name, 'wrong result', f'it runs on {device()}, but computes wrongly', fix, fatal)


def check_operators() -> list[Row]:
    """The operators of mmcv, without which no box can be matched, and spconv, which is optional."""
    mmcv_runs = (run_box_iou_rotated, run_nms_rotated, run_voxelization, run_points_in_boxes)
    rows = [check_operator(run, REBUILD_MMCV, fatal=True) for run in mmcv_runs]
    return [*rows, check_operator(run_spconv, SPCONV, fatal=False)]


def report(sections: dict[str, list[Row]]) -> int:
    """Print all sections, then the problems, grouped by what mends them.

    Args:
        sections: Rows by the heading above them.

    Returns:
        The exit code: 1 if any row is fatal, else 0.
    """
    for heading, rows in sections.items():
        print(heading)
        for row in rows:
            mark = 'FAIL' if row.fatal else 'warn' if row.fix else 'ok'
            print(f'  {mark:5}{row.name:24}{row.found}')
    problems = [row for rows in sections.values() for row in rows if row.fix]
    for fix in dict.fromkeys(row.fix for row in problems):
        print()
        for row in problems:
            if row.fix == fix:
                print(f'{row.name} ({row.found}): {row.problem}')
        print(f'  fix: {fix}')
    fatal = any(row.fatal for row in problems)
    verdict = 'Training cannot work here.' if fatal else 'Training can work here.'
    print(f'\n{verdict}' + (f' {len(problems)} problem(s).' if problems else ' No problem found.'))
    return int(fatal)


def main() -> int:
    """Run all checks and report them."""
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    warnings.simplefilter('ignore')
    logging.disable(logging.WARNING)
    sections = {
        'Versions': [check_python(), *(check_package(package) for package in PACKAGES)],
        'Devices': check_devices(),
        'Compiled operators': check_operators(),
    }
    return report(sections)


if __name__ == '__main__':
    sys.exit(main())
