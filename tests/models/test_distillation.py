"""Distillation: what the teacher sees, what the student learns of it, and what nobody saves."""

from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet3d.registry import MODELS
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.model import MMDistributedDataParallel

from tests.models.methods import open_split, save_teacher
from turbotrain.datasets import V2XPnPDataset
from turbotrain.errors import SettingError
from turbotrain.models import DistilledCooperativeDetector
from turbotrain.models.detectors.distilled_detector import _merged

MINI = Path(__file__).parents[2] / 'configs/benchmark/mini'
CONFIG = MINI / 'disconet_mini_v2xpnp.py'


@pytest.fixture(scope='module')
def dataset(infos, tiny_set) -> V2XPnPDataset:
    return open_split(Config.fromfile(CONFIG), infos, tiny_set, 'test')


@pytest.fixture
def student(tmp_path) -> DistilledCooperativeDetector:
    cfg = Config.fromfile(CONFIG)
    save_teacher(cfg, tmp_path)
    torch.manual_seed(0)
    return MODELS.build(cfg.model)


def batch_for(model: torch.nn.Module, dataset: V2XPnPDataset, *indices: int) -> dict:
    return model.data_preprocessor(pseudo_collate([dataset[i] for i in indices]), training=True)


def test_the_teacher_sees_what_early_fusion_sees(student, dataset, infos, tiny_set):
    early = Config.fromfile(MINI / 'early-fusion_mini_v2xpnp.py')
    expected = open_split(early, infos, tiny_set, 'test')[3]
    data = batch_for(student, dataset, 3)
    inputs, (sample,) = _merged(data['inputs'], data['data_samples'])
    lengths = expected['data_samples'].num_points
    for own, cloud in zip(
        inputs['points'][0], expected['inputs']['points'].split(lengths), strict=True
    ):
        assert sorted(map(tuple, own.tolist())) == sorted(map(tuple, cloud.tolist()))
    agents = expected['data_samples'].agents
    np.testing.assert_array_equal(sample.agents.valid, agents.valid)
    np.testing.assert_array_equal(sample.agents.ego_from_agent, agents.ego_from_agent)
    # The student's own sample stays what it was.
    assert len(data['data_samples'][0].agents) == 4


def test_loss_by_hand(student, dataset):
    student.eval()
    data = batch_for(student, dataset, 3)
    loss = student.loss(data['inputs'], data['data_samples'])['loss_distill']
    with torch.no_grad():
        said = student.extract_feat(data['inputs'], data['data_samples'])[0]
        teacher = student.teacher(said.device)
        wanted = teacher.extract_feat(*_merged(data['inputs'], data['data_samples']))[0]
    p, q = wanted.double().softmax(dim=1), said.double().softmax(dim=1)
    expected = 1e3 * (p * (p / q).log()).sum(dim=1).mean() / said.shape[1]
    assert loss.item() == pytest.approx(expected.item(), rel=1e-3)
    assert loss > 0


def test_a_student_that_is_its_teacher_has_nothing_to_learn(dataset):
    cfg = Config.fromfile(CONFIG).model
    plain = Config.fromfile(MINI / 'disconet-nokd_mini_v2xpnp.py').model
    student = MODELS.build({**cfg, 'teacher': plain}).eval()
    student.teacher(torch.device('cpu')).load_state_dict(student.state_dict())
    data = batch_for(student, dataset, 3)
    # With one agent, what it sees and what all see is the same.
    truth = data['data_samples'][0].gt_instances_3d
    data['inputs'], data['data_samples'] = _merged(data['inputs'], data['data_samples'])
    data['data_samples'][0].gt_instances_3d = truth
    loss = student.loss(data['inputs'], data['data_samples'])['loss_distill']
    assert loss.abs() < 1e-3


def test_the_teacher_is_frozen_and_belongs_to_nobody(student, dataset):
    plain = MODELS.build(Config.fromfile(MINI / 'disconet-nokd_mini_v2xpnp.py').model)
    data = batch_for(student, dataset, 3, 4)
    optimizer = torch.optim.Adam(student.parameters(), lr=1e-2)
    student.train()
    teacher = student.teacher(torch.device('cpu'))
    before = {key: value.clone() for key, value in teacher.state_dict().items()}
    losses = student(**data, mode='loss')
    losses['loss_distill'].backward()
    optimizer.step()
    student.train()
    assert student.teacher(torch.device('cpu')) is teacher
    assert not any(module.training for module in teacher.modules())
    for key, value in teacher.state_dict().items():
        assert torch.equal(value, before[key]), key
    assert all(p.grad is None for p in teacher.parameters())
    assert student.state_dict().keys() == plain.state_dict().keys()
    count = sum(p.numel() for p in student.parameters())
    assert count == sum(p.numel() for p in plain.parameters())
    assert len(list(student.buffers())) == len(list(plain.buffers()))


def test_the_trunk_learns_from_it_and_the_heads_do_not(student, dataset):
    data = batch_for(student, dataset, 3)
    student.train()
    student(**data, mode='loss')['loss_distill'].backward()
    for name, parameter in student.named_parameters():
        if 'head' in name:
            assert parameter.grad is None, name
    for name in ('encoder', 'backbone', 'temporal_neck', 'fusion_neck', 'bev_neck'):
        assert any(
            p.grad is not None and p.grad.any() for p in student.get_submodule(name).parameters()
        )


def test_the_student_comes_nearer(student, dataset):
    data = batch_for(student, dataset, 3)
    optimizer = torch.optim.Adam(student.parameters(), lr=2e-3)
    student.train()
    history = []
    for _ in range(6):
        loss = student(**data, mode='loss')['loss_distill']
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        history.append(loss.item())
    assert history[-1] < 0.8 * history[0], history


def test_it_works_in_a_distributed_wrapper(student, dataset, tmp_path):
    torch.distributed.init_process_group(
        'gloo', init_method=f'file://{tmp_path}/store', rank=0, world_size=1
    )
    try:
        wrapped = MMDistributedDataParallel(student, device_ids=None, broadcast_buffers=False)
        data = batch_for(student, dataset, 3)
        losses = wrapped(**data, mode='loss')
        sum(sum(v) if isinstance(v, list) else v for v in losses.values()).backward()
        assert all(p.grad is not None for p in wrapped.parameters())
        assert not any('teacher' in key for key in wrapped.state_dict())
    finally:
        torch.distributed.destroy_process_group()


def test_testing_needs_no_teacher_and_training_says_which_is_missing(dataset):
    cfg = Config.fromfile(CONFIG).model
    cfg.teacher.checkpoint = 'nowhere/epoch_1.pth'
    model = MODELS.build(cfg).eval()
    with torch.no_grad():
        (found,) = model.test_step(pseudo_collate([dataset[3]]))
    assert 'trajectories' in found.pred_instances_3d
    data = batch_for(model, dataset, 3)
    with pytest.raises(FileNotFoundError, match=r'nowhere/epoch_1.pth.*train .*early-fusion_mini'):
        model(**data, mode='loss')


def test_wrong_teachers_are_named(dataset, infos, tiny_set, tmp_path):
    cfg = Config.fromfile(CONFIG).model
    path = tmp_path / 'other.pth'
    torch.save(dict(state_dict=dict(strange=torch.zeros(1))), path)
    model = MODELS.build({**cfg, 'teacher': dict(config=cfg.teacher.config, checkpoint=str(path))})
    with pytest.raises(
        SettingError, match=r'other.pth is no checkpoint of .*early-fusion.*strange'
    ):
        model(**batch_for(model, dataset, 3), mode='loss')
    with pytest.raises(ValueError, match=r"got keys \['config'\]"):
        MODELS.build({**cfg, 'teacher': dict(config='a.py')})
    small = Config.fromfile(MINI / 'f-cooper_mini_v2xpnp.py').model
    small.bev_neck = None
    model = MODELS.build({**cfg, 'teacher': small})
    data = batch_for(model, dataset, 3)
    with pytest.raises(ValueError, match=r'map has shape \(1, 64, 32, 64\).* \(1, 64, 64, 128\)'):
        model(**data, mode='loss')
    unprojected = Config.fromfile(MINI / 'late-fusion_mini_v2xpnp.py')
    data = batch_for(model, open_split(unprojected, infos, tiny_set, 'test'), 3)
    with pytest.raises(ValueError, match='put ProjectPointsToEgo into'):
        model(**data, mode='loss')
