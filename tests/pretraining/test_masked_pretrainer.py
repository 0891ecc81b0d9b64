"""The pretrainer on the cooperative detector: leaks, targets, edge cases, checkpoints."""

from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet3d.registry import MODELS
from mmdet3d.structures import Det3DDataSample
from mmengine.config import Config, ConfigDict

from tests.pretraining.masks import STRATEGIES, records
from turbotrain.errors import SettingError
from turbotrain.pretraining import ReconstructionTarget
from turbotrain.pretraining.masked_batch import MaskedBatch

CONFIG = Path(__file__).parents[2] / 'configs/turbotrain/mini/pretrain_mini_v2xpnp.py'
FRAMES = 2
SPARSE = dict(
    type='SparsePillarEncoder',
    point_cloud_range=[-51.2, -25.6, -5.0, 51.2, 25.6, 3.0],
    pillar_size=[0.8, 0.8],
    stage_channels=(16, 32),
)


def build(**changes) -> torch.nn.Module:
    """Mini's pretrainer with other parts."""
    cfg = Config.fromfile(CONFIG).model.to_dict()
    detector = cfg['detector'] | changes.pop('detector', {})
    torch.manual_seed(0)
    return MODELS.build(ConfigDict(cfg | changes | dict(detector=detector)))


def batch_of(*sizes: int, in_ego=True, points: int = 150, seed: int = 0, frames=FRAMES) -> dict:
    """Samples of as many agents, spread over mini's range."""
    generator = torch.Generator().manual_seed(seed)
    scale, shift = torch.tensor([40.0, 20.0, 2.0, 1.0]), torch.tensor([0.0, 0, -1, 0])
    inputs, samples = [], []
    for agents in records(*sizes, frames=frames, in_ego=in_ego):
        count = len(agents) * frames
        clouds = (torch.rand(count, points, 4, generator=generator) * 2 - 1) * scale + shift
        inputs.append(list(clouds))
        samples.append(Det3DDataSample(metainfo=dict(agents=agents)))
    return dict(inputs=dict(points=inputs), data_samples=samples)


def losses_of(model, batch) -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    losses = model(**batch, mode='loss')
    total = sum(losses.values())
    total.backward()
    assert torch.isfinite(total)
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)
    return losses


def encode(model, batch, seed=3) -> tuple[MaskedBatch, torch.Tensor]:
    torch.manual_seed(seed)
    masked = MaskedBatch(batch['inputs'], batch['data_samples'], model.masking, model.limits)
    with torch.no_grad():
        return masked, model._encode(masked)['merged']


@pytest.mark.parametrize('in_ego', [True, False])
@pytest.mark.parametrize('hiding', ['visible_only', 'token'])
@pytest.mark.parametrize('name', STRATEGIES)
def test_nothing_of_what_is_hidden_reaches_the_trunk(name, hiding, in_ego):
    model = build(masking=STRATEGIES[name], hiding=hiding).eval()
    if hiding == 'token':
        torch.nn.init.normal_(model.mask_token.vector)
    batch = batch_of(2, 1, in_ego=in_ego)
    masked, before = encode(model, batch)
    assert sum(int(h.sum()) for h in masked.masked.hidden) > 50
    assert before.abs().max() > 0.1

    # Hidden points are taken away, and others put where something is hidden.
    new = batch_of(2, 1, in_ego=in_ego, seed=9)
    extra = MaskedBatch(new['inputs'], new['data_samples'], model.masking, model.limits)
    layout = masked.layout
    for k, hidden in enumerate(masked.masked.hidden):
        places = layout.to_ego([c.clone() for c in extra.clouds])[k][:, :2]
        there = masked.masked.region.at(places, torch.full((len(places),), k))
        altered = torch.cat([masked.clouds[k][~hidden], extra.clouds[k][there]])
        sample = next(s for s, own in enumerate(masked.of_sample) if k in own)
        batch['inputs']['points'][sample][k - masked.of_sample[sample][0]] = altered
    again, after = encode(model, batch)
    assert any(h.any() for h in again.masked.hidden)
    assert torch.equal(before, after)


def test_the_token_tells_hidden_from_empty_and_is_learned():
    model = build(hiding='token')
    losses_of(model, batch_of(2))
    assert model.mask_token.vector.grad.any()
    model.eval()
    batch = batch_of(2)
    _, without = encode(model, batch)
    torch.nn.init.ones_(model.mask_token.vector)
    assert not torch.equal(encode(model, batch)[1], without)


def test_the_token_lies_on_hidden_cells_in_the_points_own_frame():
    model = build(hiding='token', masking=dict(type='BEVCellCoMasking', ratio=0.5, cell_size=6.4))
    batch = batch_of(3, in_ego=False)
    torch.manual_seed(0)
    masked = MaskedBatch(batch['inputs'], batch['data_samples'], model.masking, model.limits)
    maps = masked.hidden_maps((64, 128), in_ego=False)
    # Points say of themselves whether they are hidden; so must the cells they lie in.
    agree = []
    for cloud, hidden, cells in zip(masked.clouds, masked.masked.hidden, maps, strict=True):
        column, row = ((cloud[:, :2] - model.limits[:2]) / 0.8).floor().long().T
        agree.append((cells[row, column] == hidden).float().mean())
    assert min(agree) > 0.85  # but for cells that a border crosses
    assert torch.stack(agree).mean() > 0.9


def test_every_part_of_the_trunk_learns():
    model = build()
    losses = losses_of(model, batch_of(2, 3))
    assert set(losses) == {f'merged.loss_{what}' for what in ('chamfer', 'density', 'occupancy')}
    for name, part in model.detector.named_children():
        if part is not None and name != 'data_preprocessor' and not name.endswith('head'):
            assert any(p.grad is not None and p.grad.any() for p in part.parameters()), name


def test_merged_is_what_all_agents_see_now():
    model = build()
    batch = batch_of(2, 1, in_ego=False)
    masked, _ = encode(model, batch)
    target = masked.merged_target((32, 64))
    assert [len(cloud) for cloud in target.clouds] == [300, 150]
    agents = batch['data_samples'][0].agents
    for n, own in enumerate(target.clouds[0].split(150)):
        matrix = torch.from_numpy(agents.ego_from_agent[n, -1]).float()
        points = batch['inputs']['points'][0][n * FRAMES + FRAMES - 1]
        expected = points[:, :3] @ matrix[:3, :3].T + matrix[:3, 3]
        torch.testing.assert_close(own, expected)


def test_own_is_each_agents_cloud_from_its_own_map():
    model = build(targets=['own', 'merged'])
    batch = batch_of(2, 3)
    masked, _ = encode(model, batch)
    target = masked.own_target((32, 64))
    assert len(target.clouds) == 5
    assert torch.equal(target.clouds[1], batch['inputs']['points'][0][2 * FRAMES - 1])
    losses = losses_of(model, batch)
    assert {'own.loss_chamfer', 'merged.loss_chamfer'} < set(losses)
    alone = build(targets=['own'])
    losses_of(alone, batch)
    assert all(p.grad is None for p in alone.detector.fusion_neck.parameters())
    assert any(p.grad.any() for p in alone.detector.temporal_neck.parameters())


def test_nothing_is_asked_of_a_cloud_that_was_not_recorded():
    model = build(targets=['own', 'merged'])
    batch = batch_of(2, 1)
    lost = [batch['data_samples'][i].agents for i in (0, 1)]
    lost[0].valid[1, -1] = lost[1].valid[0, -1] = False
    masked, _ = encode(model, batch)
    own = masked.own_target((32, 64)).hidden_cells
    assert own[0].any() and not own[1].any() and not own[2].any()
    merged = masked.merged_target((32, 64)).hidden_cells
    assert merged[0].any() and not merged[1].any()
    losses_of(model, batch)


def test_own_is_asked_of_the_map_alone_where_a_flow_lies_beside_it():
    ffnet = Config.fromfile(CONFIG.parents[2] / 'benchmark/mini/ffnet_mini_v2xpnp.py').model
    parts = {name: ffnet[name] for name in ('temporal_neck', 'fusion_neck')}
    model = build(targets=['own'], detector=parts)
    assert losses_of(model, batch_of(2))['own.loss_chamfer'] > 0


def test_future_is_unseen_everywhere():
    model = build(targets=['future'])
    batch = batch_of(2, 1)
    with pytest.raises(ValueError, match='LoadFuturePoints'):
        losses_of(model, batch)
    batch['inputs']['future_points'] = [torch.rand(200, 3) * 20 - 10, torch.zeros(0, 3)]
    assert losses_of(model, batch)['future.loss_chamfer'] > 0
    first = dict(batch['inputs'], future_points=[torch.zeros(0, 3)] * 2)
    batch['data_samples'][0].set_metainfo(dict(future_is_known=True))
    batch['data_samples'][1].set_metainfo(dict(future_is_known=False))
    masked = MaskedBatch(first, batch['data_samples'], model.masking, model.limits)
    hidden = masked.future_target((32, 64)).hidden_cells
    assert hidden[0].all() and not hidden[1].any()
    batch['data_samples'][0].set_metainfo(dict(future_is_known=False))
    assert not any(losses_of(model, batch).values())


@pytest.mark.parametrize('ratio', [0.0, 0.99, 1.0])
@pytest.mark.parametrize('kind', ['BEVCellMasking', 'BEVCellCoMasking'])
def test_mask_ratios_from_end_to_end(kind, ratio):
    model = build(masking=dict(type=kind, ratio=ratio), hiding='token')
    losses = losses_of(model, batch_of(2, 1))
    assert all((loss > 0) == (ratio > 0) for loss in losses.values())


@pytest.mark.parametrize('encoder', ['dense', 'sparse'])
def test_empty_clouds_one_agent_and_one_frame(encoder):
    model = build(detector=dict(encoder=SPARSE) if encoder == 'sparse' else {})
    for batch in (
        batch_of(2, 1, points=0),  # nobody sees anything
        emptied(batch_of(2, 1), sample=1),  # one of the samples has not one occupied cell
        far_off(batch_of(1)),  # nor has this one, though there are points
        broken(batch_of(2, 1)),
        broken(batch_of(2, 1, in_ego=False)),
    ):
        assert losses_of(model, batch)['merged.loss_occupancy'] > 0
    assert losses_of(model, batch_of(1, frames=1))['merged.loss_chamfer'] > 0


def emptied(batch: dict, sample: int) -> dict:
    batch['inputs']['points'][sample] = [c[:0] for c in batch['inputs']['points'][sample]]
    return batch


def far_off(batch: dict) -> dict:
    batch['inputs']['points'] = [[c + 500 for c in own] for own in batch['inputs']['points']]
    return batch


def broken(batch: dict) -> dict:
    for own in batch['inputs']['points']:
        for cloud in own:
            cloud[:3, 0] = cloud[2:5, 1] = cloud[5:8, 2] = torch.nan
            cloud[8:10, 0] = cloud[10:12, 1] = torch.inf
    return batch


def test_checkpoints_name_the_trunk_as_the_detector_does():
    model = build(hiding='token')
    state = model.state_dict()
    kinds = {key.split('.')[0] for key in state}
    trunk = {'encoder', 'backbone', 'neck', 'temporal_neck', 'fusion_neck', 'bev_neck'}
    assert kinds == trunk | {'reconstruction_head', 'mask_token'}
    other = build(hiding='token')
    for p in other.parameters():
        torch.nn.init.normal_(p)
    other.load_state_dict(state)
    for ours, theirs in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize('name', ['v2xpnp', 'v2xpnp_sparse', 'mini/mini_v2xpnp_sparse'])
def test_configs_of_both_stages_share_their_trunk(name):
    folder, _, stem = name.rpartition('/')
    path = Path(__file__).parents[2] / 'configs/turbotrain' / folder
    pretrain, finetune = (
        Config.fromfile(path / f'{stage}_{stem}.py') for stage in ('pretrain', 'finetune')
    )
    epochs = pretrain.train_cfg.max_epochs
    assert finetune.load_from == f'work_dirs/pretrain_{stem}/epoch_{epochs}.pth'
    shapes = [
        {
            key: value.shape
            for key, value in MODELS.build(cfg.model).state_dict().items()
            if not key.startswith(
                (
                    'bbox_head',
                    'velocity_head',
                    'trajectory_head',
                    'reconstruction_head',
                    'mask_token',
                )
            )
        }
        for cfg in (pretrain, finetune)
    ]
    assert shapes[0] == shapes[1]


def test_the_sparse_config_trains():
    cfg = Config.fromfile(CONFIG.with_name('pretrain_mini_v2xpnp_sparse.py')).model
    model = MODELS.build(cfg)
    losses_of(model, batch_of(2, 1))
    assert all(p.grad is not None for p in model.detector.encoder.parameters())


def test_mini_hides_the_current_frame_and_asks_for_what_stands_there():
    model = MODELS.build(Config.fromfile(CONFIG).model)
    batch = batch_of(2, 1, points=400)
    for own in batch['inputs']['points']:
        for cloud in own:
            cloud[:300, 2] = -2.0
    masked, _ = encode(model, batch)
    hidden = masked.masked.hidden
    assert [bool(h.any()) for h in hidden] == [False, True] * 3
    asked = model.reconstruction_head['merged']._cells(masked.merged_target((64, 128)), (64, 128))
    assert 0 < asked[3].sum() <= sum(int(h[300:].sum()) for h in hidden)
    losses_of(model, batch)


def test_the_published_objective_hides_every_frame_and_asks_for_all():
    """CooPre's, of the full size, with mini's detector in it."""
    cfg = Config.fromfile(CONFIG.parents[1] / 'pretrain-coopre_v2xpnp.py').model
    cfg.detector = Config.fromfile(CONFIG).model.detector
    model = MODELS.build(cfg)
    batch = batch_of(2, points=400)
    masked, _ = encode(model, batch)
    assert all(h.any() for h in masked.masked.hidden) and model.mask_token is None
    head = model.reconstruction_head['merged']
    (truth,) = head.truth(masked.merged_target((64, 128)))
    assert len(truth) == sum(int(masked.masked.hidden[i].sum()) for i in (1, 3))
    losses_of(model, batch)


def test_reconstruction_of_a_batch():
    whole = dict(feat_channels=32)  # the ground as well
    model = build(masking=dict(type='BEVCellCoMasking'), reconstruction_head=whole).eval()
    batch = batch_of(2, 1)
    lengths = [[len(c) for c in own] for own in batch['inputs']['points']]
    packed = [torch.cat(own) for own in batch['inputs']['points']]
    for sample, own in zip(batch['data_samples'], lengths, strict=True):
        sample.set_metainfo(dict(num_points=own))
    first, second = model.reconstruct(
        dict(inputs=dict(points=packed), data_samples=batch['data_samples'])
    )
    assert [len(c) for c in first.clouds] == lengths[0] and first.current == [1, 3]
    assert second.current == [1] and second.predicted.shape[1] == 3
    current = [(first.clouds[i], first.hidden[i]) for i in first.current]
    assert torch.equal(first.truth, torch.cat([cloud[mask][:, :3] for cloud, mask in current]))
    limits = model.limits
    inside = first.predicted[:, :2] - limits[:2] > -2
    assert len(first.predicted) and inside.all()
    with pytest.raises(ValueError, match='merged'):
        build(targets=['own']).reconstruct({})


def test_heads_start_as_their_config_says():
    init = dict(type='Constant', layer='Linear', val=0.25, bias=0.5)
    model = build(targets=['own', 'merged'], reconstruction_head=dict(init_cfg=init))
    model.init_weights()
    for head in model.reconstruction_head.values():
        for layer in (head.coordinates, head.density, head.occupancy):
            assert (layer.weight == 0.25).all() and (layer.bias == 0.5).all()


def test_the_loss_falls():
    model = build(masking=dict(type='BEVCellCoMasking', ratio=0.5))
    batch = batch_of(1, points=600)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    history = []
    for _ in range(15):
        total = sum(model(**batch, mode='loss').values())
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        history.append(total.item())
    assert np.mean(history[-3:]) < 0.8 * np.mean(history[:3])


@pytest.mark.parametrize(
    ('changes', 'match'),
    [
        (dict(targets=['all']), 'targets must be some of'),
        (dict(targets=[]), 'targets must be some of'),
        (dict(hiding='zero'), 'hiding must be one of'),
        (dict(targets=['own'], detector=dict(temporal_neck=None)), "target 'own' wants a detector"),
    ],
)
def test_what_does_not_fit_is_refused(changes, match):
    with pytest.raises(ValueError, match=match):
        build(**changes)


def late_fusion(**changes) -> dict:
    path = CONFIG.parents[2] / 'benchmark/mini/late-fusion_mini_v2xpnp.py'
    return Config.fromfile(path).model.to_dict() | changes


@pytest.mark.parametrize(
    ('targets', 'changes', 'words'),
    [
        (['own'], late_fusion(), 'decoupled=True'),
        (['merged'], late_fusion(decoupled=False), "targets=.'merged',."),
        (['own'], dict(temporal_neck=None), "target 'own' wants"),
    ],
)
def test_what_would_leave_the_trunk_untrained_is_refused(targets, changes, words):
    with pytest.raises(ValueError, match=words):
        build(targets=targets, detector=changes)


def test_late_fusion_pretrains_each_agents_own_trunk():
    model = build(targets=['own'], detector=late_fusion(decoupled=False))
    losses_of(model, batch_of(2, 3, in_ego=False))
    for name in ('encoder', 'backbone', 'neck', 'temporal_neck'):
        parameters = getattr(model.detector, name).parameters()
        assert any(p.grad is not None and p.grad.any() for p in parameters), name


def test_a_detector_must_say_how_points_are_voxelized():
    with pytest.raises(SettingError, match='no data_preprocessor'):
        build(detector=dict(data_preprocessor=None))


@pytest.mark.parametrize('in_ego', [True, False])
def test_the_backbone_sees_the_token_where_something_is_hidden(in_ego):
    model = build(hiding='token').eval()
    batch, seen = batch_of(2, in_ego=in_ego), []
    model.detector.backbone.register_forward_hook(lambda _, args, __: seen.append(args[0]))
    torch.nn.init.zeros_(model.mask_token.vector)
    encode(model, batch)
    torch.nn.init.ones_(model.mask_token.vector)
    masked, _ = encode(model, batch)
    marked = seen[1] - seen[0]
    hidden = masked.hidden_maps(marked.shape[2:], in_ego=False)
    assert 0.2 < hidden[1].float().mean() < 0.9
    torch.testing.assert_close(marked, hidden[:, None].expand_as(marked).float())


def test_targets_ask_for_the_cells_that_hidden_points_lie_in():
    """Each agent's in its own frame, those of all in the ego's, with masks that differ."""
    cells = dict(type='BEVCellMasking', ratio=0.5, cell_size=6.4)
    model = build(targets=['own', 'merged'], masking=cells)
    masked, _ = encode(model, batch_of(3, in_ego=False))
    shape, size = (64, 128), 0.8

    def asked_for(target: ReconstructionTarget) -> list[tuple[float, float]]:
        """Of hidden and of visible points, how many lie in cells that are asked for."""
        shares = []
        for cloud, hidden, asked in zip(
            target.clouds, target.hidden, target.hidden_cells, strict=True
        ):
            place = ((cloud[:, :2] - model.limits[:2]) / size).floor().long()
            inside = ((place >= 0) & (place < torch.tensor(shape[::-1]))).all(dim=1)
            there = asked[place[inside, 1], place[inside, 0]].float()
            shares.append((there[hidden[inside]].mean(), there[~hidden[inside]].mean()))
        return shares

    for hidden, visible in asked_for(masked.own_target(shape)):
        assert hidden > 0.85 and visible < 0.15  # but for cells that a border crosses
    merged = masked.merged_target(shape)
    ((hidden, visible),) = asked_for(merged)
    # What one agent sees may be hidden from another: hidden from any counts.
    assert hidden > 0.85 and visible > 0.5
    each = masked.hidden_maps(shape, in_ego=True)[masked.current[0]]
    assert torch.equal(merged.hidden_cells[0], each.any(dim=0))
    assert each.all(dim=0).sum() < 0.5 * each.any(dim=0).sum()
