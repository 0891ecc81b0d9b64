"""The benchmark's configs in the modes ic, v2v and i2i, on real samples."""

import pytest
import torch
from mmengine.dataset import pseudo_collate

from tests.models.methods import CONFIGS, build, open_split
from turbotrain.commands import read_config
from turbotrain.structures import INFRASTRUCTURE, VEHICLE

FOLDER = CONFIGS[0].parent
# Kind of the ego, and ids of the agents; the first one is the ego that tests take.
MODES = dict(
    ic=(INFRASTRUCTURE, [-1, -2, 1, 2]), v2v=(VEHICLE, [1, 2]), i2i=(INFRASTRUCTURE, [-1, -2])
)


@pytest.mark.parametrize('mode', MODES)
def test_samples_are_of_the_mode(mode, infos, tiny_set):
    kind, ids = MODES[mode]
    for name in ('v2xpnp', 'no-fusion'):
        cfg = read_config(FOLDER / f'{name}_mini_v2xpnp.py', mode)
        for split in ('train', 'val', 'test'):
            dataset = open_split(cfg, infos, tiny_set, split)
            agents = dataset[3]['data_samples'].agents
            assert agents.ids.tolist() == (ids if name == 'v2xpnp' else ids[:1])
            assert agents.kinds[0] == kind
        egos = {dataset[i]['data_samples'].agents.ids[0] for i in range(0, len(dataset), 4)}
        assert egos == {ids[0]}
    train = open_split(cfg, infos, tiny_set, 'train')
    egos = {int(train.get_data_info(i)['agents'].ids[0]) for i in range(len(train))}
    assert egos == {agent for agent in ids if (agent < 0) == (kind == INFRASTRUCTURE)}


@pytest.mark.parametrize(
    ('name', 'mode'), [('v2xvit', 'ic'), ('v2xpnp', 'v2v'), ('early-fusion', 'i2i')]
)
def test_takes_a_step_in_the_mode(name, mode, infos, tiny_set):
    cfg = read_config(FOLDER / f'{name}_mini_v2xpnp.py', mode)
    model = build(cfg)
    dataset = open_split(cfg, infos, tiny_set, 'train')
    data = model.data_preprocessor(pseudo_collate([dataset[0], dataset[-1]]), training=True)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)

    def total() -> torch.Tensor:
        losses = model(**data, mode='loss')
        return sum(sum(v) if isinstance(v, list) else v for v in losses.values())

    torch.manual_seed(0)
    before = total()
    before.backward()
    optimizer.step()
    torch.manual_seed(0)
    assert total() < before
