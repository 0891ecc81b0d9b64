"""One recording, written as each of the five datasets has it, gives the same samples."""

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from mmdet3d.registry import DATASETS as DATASET_CLASSES
from mmdet3d.registry import MODELS
from mmengine.config import Config
from mmengine.dataset import pseudo_collate

from tests.datasets.samples import assert_same
from tests.layouts import DATASETS, rewrite
from turbotrain.datasets import (
    EpochIndexDataset,
    V2XPnPDataset,
    build_infos,
    save_infos,
)
from turbotrain.datasets.readers import (
    DIALECTS,
    DataFileError,
    read_annotation,
)

CONFIGS = Path(__file__).resolve().parents[2] / 'configs/_base_/datasets'
PIPELINE = [
    dict(type='LoadCooperativePoints', zero_intensity=False),
    dict(type='LoadVectorMap'),
    dict(type='ProjectPointsToEgo'),
    dict(type='CooperativeRangeFilter', point_cloud_range=[-60, -40, -5, 60, 40, 3]),
    dict(type='PackCooperativeInputs'),
]


@pytest.fixture(scope='module')
def layouts(tiny_set, tmp_path_factory) -> dict[str, Path]:
    roots = {}
    for dataset in DATASETS:
        roots[dataset] = tmp_path_factory.mktemp('layouts') / dataset
        rewrite(tiny_set, roots[dataset], dataset)
    return roots


def open_as(root: Path, dataset: str, split: str) -> V2XPnPDataset:
    path = root / f'{dataset}_infos_{split}.npz'
    if not path.exists():
        save_infos(str(path), build_infos(str(root), split, dataset))
    types = build_infos(str(root), split, dataset).class_names.tolist()
    return V2XPnPDataset(
        path.name,
        str(root),
        # OPV2V knows no classes, so that all have to be one.
        class_map=dict(vehicle=types),
        mode='vc',
        ego='every',
        num_history=2,
        num_future=3,
        pipeline=PIPELINE,
    )


@pytest.mark.parametrize('dataset', DATASETS)
@pytest.mark.parametrize('split', ['train', 'test'])
def test_the_same_samples_from_every_layout(layouts, dataset, split):
    expected = open_as(layouts['v2xpnp'], 'v2xpnp', split)
    found = open_as(layouts[dataset], dataset, split)
    assert len(found) == len(expected) > 0
    for i in range(0, len(expected), 5):
        one, other = expected[i], found[i]
        # Poses of six numbers have five decimals on disk, and OPV2V's intensity 8 bits.
        points, theirs = one['inputs']['points'], other['inputs']['points']
        assert points.shape == theirs.shape
        np.testing.assert_allclose(theirs[:, 3], points[:, 3], atol=0.5 / 255 + 1e-6)
        one['inputs']['points'], other['inputs']['points'] = points[:, :3], theirs[:, :3]
        assert_same(one, other, atol=1e-4)
        np.testing.assert_allclose(
            one['data_samples'].vector_map, other['data_samples'].vector_map, atol=1e-4
        )
        assert len(one['data_samples'].vector_map)
        np.testing.assert_allclose(
            one['data_samples'].agents.speeds, other['data_samples'].agents.speeds, atol=1e-4
        )


@pytest.mark.parametrize('dataset', DATASETS)
def test_configs_read_what_create_data_writes(layouts, dataset):
    root = layouts[dataset]
    cfg = Config.fromfile(CONFIGS / f'{dataset}.py')
    split = dict(train='train', test='test')
    for name, folder in split.items():
        settings = cfg[f'{name}_dataloader'].dataset
        save_infos(str(root / settings.ann_file), build_infos(str(root), folder, dataset))
        settings.update(data_root=str(root), drop_corridors=False)
        settings.pop('type')
        sample = V2XPnPDataset(**settings)[0]
        assert len(sample['inputs']['points'])
        assert len(sample['data_samples'].gt_instances_3d)
        assert cfg.test_evaluator.class_names == tuple(
            V2XPnPDataset(**settings, lazy_init=True).metainfo['classes']
        )


@pytest.mark.parametrize('dataset', [name for name in DATASETS if name != 'v2xpnp'])
def test_configs_train_and_predict(layouts, dataset):
    root = layouts[dataset]
    cfg = Config.fromfile(CONFIGS.parents[1] / f'turbotrain/finetune_{dataset}.py')
    cfg.model.encoder.pillar_size = [1.6, 1.0]  # a tenth of the cells, for speed
    cfg.model.velocity_head.num_frames = 2
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    settings = cfg.train_dataloader.dataset
    save_infos(str(root / settings.ann_file), build_infos(str(root), 'train', dataset))
    settings.update(data_root=str(root), num_history=1, max_agents=2)
    sample = DATASET_CLASSES.build(settings)[20]
    data = model.data_preprocessor(pseudo_collate([sample]), training=True)
    losses = model(**data, mode='loss')
    sum(sum(v) if isinstance(v, list) else v for v in losses.values()).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), name
    model.eval()
    with torch.no_grad():
        (found,) = model.test_step(pseudo_collate([sample]))
    assert found.pred_instances_3d.labels_3d.lt(len(cfg.class_names)).all()
    pretrainer = Config.fromfile(CONFIGS.parents[1] / f'turbotrain/pretrain_{dataset}.py').model
    assert pretrainer.detector == Config.fromfile(cfg.filename).model


def write(path: Path, **changes) -> str:
    car = dict(angle=[0, 0, 0], center=[0, 0, 0], extent=[2, 1, 1], location=[5, 0, 0])
    content = dict(lidar_pose=np.eye(4), vehicles={3: car | changes.pop('car', {})}) | changes
    with path.open('w') as file:
        yaml.dump(content, file)
    return str(path)


def test_association_ids(tmp_path):
    dialect = DIALECTS['v2v4real']
    for changes, expected in (
        (dict(), 3),
        (dict(ass_id=17), 17),
        (dict(ass_id=-1), 2**62 + 2**31 + 3),
        (dict(ass_id=np.int64(9)), 9),
    ):
        path = write(tmp_path / 'a.yaml', car=changes)
        found = read_annotation(path, dialect, agent=1)
        assert (found.ids.tolist(), found.types) == ([expected], ['Car'])


@pytest.mark.parametrize('order', ['C', 'F'])
@pytest.mark.parametrize('dtype', ['<f8', '>f8', '<f4'])
def test_arrays_in_yaml_of_any_kind(tmp_path, order, dtype):
    pose = np.eye(4)
    pose[:3, 3] = 1, 2, 3
    path = write(tmp_path / 'a.yaml', lidar_pose=np.array(pose, dtype=dtype, order=order))
    assert 'python/object/apply' in Path(path).read_text()
    found = read_annotation(path, DIALECTS['v2v4real']).world_from_agent
    np.testing.assert_array_equal(found, pose)


def test_a_pose_as_a_plain_list_of_rows(tmp_path):
    pose = np.eye(4)
    pose[:3, 3] = 1, 2, 3
    path = write(tmp_path / 'a.yaml', lidar_pose=pose.tolist(), car=dict(obj_type='Car'))
    for dialect in (DIALECTS['v2xpnp'], DIALECTS['v2v4real']):
        np.testing.assert_array_equal(read_annotation(path, dialect).world_from_agent, pose)


@pytest.mark.parametrize(
    'pose',
    [
        np.eye(3),
        2 * np.eye(4),
        np.diag([1.0, -1.0, 1.0, 1.0]),
        np.full((4, 4), np.nan),
        np.array(['a', 'b']),
        np.array([None, {}], dtype=object),
        np.eye(4).astype(str).tolist(),
        np.eye(4).astype(bool).tolist(),
        ['1', '2', '3', '0', '0', '0'],
    ],
)
def test_matrices_that_are_no_poses(tmp_path, pose):
    path = write(tmp_path / 'a.yaml', lidar_pose=pose)
    with pytest.raises(DataFileError) as error:
        read_annotation(path, DIALECTS['v2v4real'])
    assert path in str(error.value)


def test_all_five_in_one_training(layouts):
    """As docs/data.md combines them; each sample is one of its own set's, of the same times."""
    names = 'v2xpnp', 'v2xreal', 'opv2v', 'v2xset', 'v2v4real'
    one = Config.fromfile(CONFIGS / 'v2v4real.py')
    sets = [Config.fromfile(CONFIGS / f'{n}.py').train_dataloader.dataset for n in names]
    for name, own in zip(names, sets, strict=True):
        path = layouts[name] / own.ann_file
        if not path.exists():
            save_infos(str(path), build_infos(str(path.parent), 'train', name))
        own.class_map, own.pipeline = one.class_map, one.train_pipeline
        own.data_root, own.serialize_data = str(path.parent), False
    dataset = EpochIndexDataset(dict(type='ConcatDataset', datasets=sets))
    sizes = [len(own) for own in dataset.dataset.datasets]
    assert len(dataset) == sum(sizes)
    samples = [dataset[len(dataset) + sum(sizes[:i])] for i in range(len(sizes))]
    batch = pseudo_collate(samples)
    assert len(batch['inputs']['points']) == len(names)
    for sample in samples:
        np.testing.assert_allclose(
            sample['data_samples'].agents.time_offsets, [-2, -1.5, -1, -0.5, 0]
        )
        assert len(sample['inputs']['points'])
