"""How the datasets are tested, by the project's own configs."""

from pathlib import Path

from mmengine.config import Config

from ..datasets import load_infos

__all__ = ['dataset_config']

_CONFIGS = Path(__file__).resolve().parents[4] / 'configs/_base_/datasets'


def dataset_config(infos: Path) -> Config:
    """The config in ``configs/_base_/datasets`` of the dataset that an info file is of.

    Returns:
        The config. Its ``test_dataloader.dataset`` reads this very file.

    Raises:
        DataFileError: the file is missing, damaged or of another version.
    """
    dataset = str(load_infos(str(infos)).dataset)
    cfg = Config.fromfile(_CONFIGS / f'{dataset}.py')
    cfg.test_dataloader.dataset.update(data_root=str(infos.parent), ann_file=infos.name)
    return cfg
