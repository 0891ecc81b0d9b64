"""What the tests of tools share."""

from pathlib import Path

import pytest

from turbotrain.datasets import build_infos, save_infos


@pytest.fixture(scope='module')
def data_root(tiny_set, tmp_path_factory) -> Path:
    """A data set whose splits are the same few samples."""
    root = tmp_path_factory.mktemp('tiny')
    for split in ('train', 'val', 'test'):
        (root / split).symlink_to(tiny_set / 'train')
        save_infos(str(root / f'v2xpnp_infos_{split}.npz'), build_infos(str(root), split))
    return root
