"""All that stage 1 trains arrives in stage 2, or the run stops."""

from pathlib import Path

import pytest
import torch
from mmdet3d.registry import MODELS
from mmengine.config import Config
from mmengine.runner import Runner

from turbotrain.errors import UserError

MINI = Path(__file__).parents[2] / 'configs/turbotrain/mini'
TRUNK = ['encoder', 'backbone', 'neck', 'temporal_neck', 'fusion_neck', 'bev_neck']
HEADS = ['bbox_head', 'velocity_head', 'trajectory_head']


@pytest.fixture(scope='module')
def stage_one() -> dict[str, torch.Tensor]:
    """The weights of a pretrainer, none of them as they start."""
    torch.manual_seed(1)
    cfg = Config.fromfile(MINI / 'pretrain_mini_v2xpnp.py').model
    model = MODELS.build({**cfg, 'hiding': 'token'})
    return {
        key: value + torch.randn(value.shape) if value.is_floating_point() else value
        for key, value in model.state_dict().items()
    }


def start(weights: dict, folder: Path, perturb: str = '', **changes) -> tuple[Runner, dict]:
    """Stage 2 up to its first step, and the weights it had before it read stage 1's."""
    torch.save(dict(state_dict=weights, meta={}), folder / 'stage_1.pth')
    cfg = Config.fromfile(MINI / 'finetune_mini_v2xpnp.py')
    cfg.model.update(changes)
    torch.manual_seed(2)
    runner = Runner(
        cfg.model, str(folder), custom_hooks=cfg.custom_hooks, default_scope='mmdet3d',
        load_from=str(folder / 'stage_1.pth'), experiment_name=folder.name,
    )  # fmt: skip
    for name, parameter in runner.model.named_parameters():
        if name.startswith(f'{perturb}.'):
            torch.nn.init.normal_(parameter, mean=5.0)
    before = {key: value.clone() for key, value in runner.model.state_dict().items()}
    runner.load_or_resume()
    return runner, before


@pytest.mark.parametrize('part', TRUNK)
def test_what_is_perturbed_is_restored(part, stage_one, tmp_path):
    runner, before = start(stage_one, tmp_path, perturb=part)
    after = runner.model.state_dict()
    own = [key for key in after if key.startswith(f'{part}.')]
    assert own
    for key in own:
        assert torch.equal(after[key], stage_one[key]), key
    moved = [key for key in own if not torch.equal(before[key], after[key])]
    assert {key for key, _ in runner.model.named_parameters() if key in own} <= set(moved)
    for key in after:
        if key.split('.')[0] in HEADS:
            assert torch.equal(after[key], before[key]), key


def test_the_report(stage_one, tmp_path):
    start(stage_one, tmp_path)
    log = next(tmp_path.glob('*/*.log')).read_text()
    line = next(line for line in log.splitlines() if 'weights taken' in line)
    taken, fresh, dropped = line.split('weights taken: ')[1].split('; ')
    sizes = dict.fromkeys(TRUNK, 0)
    for key, value in stage_one.items():
        if key.split('.')[0] in sizes:
            sizes[key.split('.')[0]] += value.numel()
    assert taken == ', '.join(f'{name} ({size:,} values)' for name, size in sizes.items())
    assert fresh == f'fresh: {", ".join(HEADS)}'
    assert dropped == 'dropped: mask_token, reconstruction_head'


def renamed(weights: dict, old: str, new: str) -> dict:
    return {key.replace(old, new): value for key, value in weights.items()}


def without(weights: dict, start: str) -> dict:
    return {key: value for key, value in weights.items() if not key.startswith(start)}


def reshaped(weights: dict, key: str) -> dict:
    return weights | {key: weights[key][..., :-1]}


@pytest.mark.parametrize(
    ('damage', 'changes', 'match'),
    [
        (lambda w: without(w, 'temporal_neck.'), {}, "'temporal_neck' do not match.* is missing"),
        (lambda w: renamed(w, 'fusion_neck.', 'fusion.'), {}, "'fusion_neck' do not match"),
        (
            lambda w: reshaped(w, 'backbone.blocks.0.0.weight'),
            {},
            r"1 tensors of 'backbone' do not match.*blocks.0.0.weight has shape",
        ),
        (
            lambda w: w | {'backbone.blocks.9.0.weight': torch.zeros(1)},
            {},
            "1 tensors of 'backbone' in the checkpoint have no place .*blocks.9.0.weight",
        ),
        (lambda w: w, dict(bev_neck=None), "of 'bev_neck' in the checkpoint have no place"),
    ],
    ids=['missing', 'renamed', 'another size', 'more layers', 'a whole part'],
)
def test_a_trunk_that_only_partly_matches_is_refused(damage, changes, match, stage_one, tmp_path):
    with pytest.raises(UserError, match=match):
        start(damage(dict(stage_one)), tmp_path, **changes)
