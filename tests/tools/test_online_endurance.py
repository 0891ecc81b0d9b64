"""What an ego remembers does not grow while agents join and leave."""

import gc

import torch

from tools.endurance import online


def remembered() -> int:
    """Bytes of all tensors there are."""
    gc.collect()
    found = [o for o in gc.get_objects() if type(o) is torch.Tensor]
    return sum(
        {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in found}.values()
    )


def test_memory_is_bounded_while_agents_come_and_go(tmp_path):
    model = online.untrained(str(tmp_path))
    assert model.shape == (64, 16, 16)
    before, sizes, heard = remembered(), [], set()
    for i, (ego, agents) in enumerate(online.drive(model, 36)):
        heard.add(agents)
        assert len(ego.heard) <= ego.max_agents and len(ego.trunk.seen) <= 16
        if i >= 15 and i % 5 == 4:
            sizes.append(remembered() - before)
    # Two maps of each of the others, and those of the ego and of five senders or so.
    assert max(sizes) < (2 * 4 + 3 * 12) * 4 * 64 * 16 * 16
    assert len(heard) > 1 and {'late', 'damaged', 'replayed'} <= set(ego.refused)
