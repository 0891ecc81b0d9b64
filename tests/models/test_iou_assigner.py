"""mmdet3d's assignment without a wait for each object."""

import pytest
import torch
from mmdet3d.models.task_modules import Max3DIoUAssigner

from tests.elsewhere import DEVICE, needs_second_device, second_device
from turbotrain.models import BatchedMax3DIoUAssigner

COMMON = dict(
    pos_iou_thr=0.6, neg_iou_thr=0.4, iou_calculator=dict(type='BboxOverlapsNearest3D')
)  # fmt: skip


@pytest.mark.parametrize('assign_all', [True, False])
@pytest.mark.parametrize('low_quality', [True, False])
@pytest.mark.parametrize('objects', [0, 1, 7, 40])
def test_equals_mmdet3ds(objects, low_quality, assign_all):
    generator = torch.Generator().manual_seed(objects)
    changed = False
    for least, highest in ((0.0, 1.0), (0.5, 1.0), (0.9, 1.0), (0.1, 0.5)):
        settings = COMMON | dict(
            min_pos_iou=least, match_low_quality=low_quality, gt_max_assign_all=assign_all
        )
        # Of few values: an anchor may be the best of several objects, and an object have several.
        overlaps = torch.randint(0, 11, (objects, 60), generator=generator) * highest / 10
        overlaps[:, :5] = 0
        labels = torch.randint(0, 3, (objects,), generator=generator)
        same = Max3DIoUAssigner(**settings).assign_wrt_overlaps(overlaps.clone(), labels)
        found = BatchedMax3DIoUAssigner(**settings).assign_wrt_overlaps(overlaps, labels)
        for name in ('gt_inds', 'max_overlaps', 'labels'):
            assert torch.equal(getattr(found, name), getattr(same, name)), name
        without = BatchedMax3DIoUAssigner(**settings | dict(match_low_quality=False))
        changed |= not torch.equal(
            found.gt_inds, without.assign_wrt_overlaps(overlaps, labels).gt_inds
        )
    assert changed == (low_quality and objects > 0)


@needs_second_device
def test_more_objects_do_not_make_it_wait_more_often(monkeypatch):
    counts = {}
    for kind in (Max3DIoUAssigner, BatchedMax3DIoUAssigner):
        with second_device(monkeypatch) as waits:
            for objects in (2, 30):
                overlaps = torch.rand(objects, 50).to(DEVICE)
                labels = torch.zeros(objects, dtype=torch.long).to(DEVICE)
                del waits[:]
                kind(**COMMON).assign_wrt_overlaps(overlaps, labels)
                counts[kind, objects] = len(waits)
    assert counts[BatchedMax3DIoUAssigner, 30] == counts[BatchedMax3DIoUAssigner, 2]
    assert counts[Max3DIoUAssigner, 30] == counts[Max3DIoUAssigner, 2] + 28
