"""What bytes cost: the kept weights by messages of any precision, against the whole detector."""

from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.registry import init_default_scope

from tools.benchmark.online import OnlineTest, prepare
from tools.benchmark.robustness import test as offline
from tools.publish import on_small_set

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / 'configs/turbotrain/mini/finetune_mini_v2xpnp.py'
WEIGHTS = str(ROOT / 'weights/turbotrain_mini_v2xpnp.pth')
SHOWN = 'AP@0.5/vehicle', 'mAP@0.5', 'EPA'


def test_coarse_messages_stay_within_their_bounds(tmp_path):
    init_default_scope('mmdet3d')
    cfg = on_small_set(Config.fromfile(CONFIG), tmp_path / 'set')
    prepare(cfg, 1)  # every moment, the last one of the recording, too
    online = OnlineTest(cfg, WEIGHTS, 0)
    exact = online.run()
    whole = offline(cfg, WEIGHTS, 0)
    for name in SHOWN:
        # Senders know where the ego was when it saw its own cloud, and past maps are moved.
        assert exact[name] == pytest.approx(whole[name], abs=3.0)
    # Points of these metrics, stated in docs/online.md.
    for precision, bound in (('float16', 0.5), ('int8', 1.0)):
        coarse = online.run(precision=precision)
        assert coarse['bytes'] < 0.55 * exact['bytes']
        for name in SHOWN:
            assert coarse[name] == pytest.approx(exact[name], abs=bound), (precision, name)
