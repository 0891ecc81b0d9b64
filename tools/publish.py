"""Keep a model in the repository: ``python tools/publish.py CONFIG CHECKPOINT --command WORDS``.

Writes the weights alone to ``weights/NAME.pth``, matrices in half precision, so that
``torch.load(weights_only=True)`` reads them; and beside them ``NAME.json``, the model's card: the
config, the seed, the command that trained it, versions, date, SHA-256, and the metrics of exactly
this file, on the config's test set and on a small set that the tests simulate again. A pretrained
trunk has no metrics of its own.
"""

import argparse
import hashlib
import io
import json
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / 'projects/TurboTrain')]

import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope

from tools.benchmark.robustness import test
from turbotrain.commands import add_common_arguments, load_config, only_dataset, run_tool
from turbotrain.datasets import build_infos, save_infos
from turbotrain.engine import read_checkpoint
from turbotrain.engine.bare import with_versions
from turbotrain.errors import UserError
from turbotrain.recipes.circumstances import circumstances
from turbotrain.simulation import SensorOptions, SetOptions, simulate_dataset
from turbotrain.whole_file import write_whole

LARGEST = 3_000_000  # bytes of a file in the repository
METRICS = 'AP@0.3/vehicle', 'AP@0.5/vehicle', 'AP@0.5/truck', 'mAP@0.5', 'ADE', 'FDE', 'MR', 'EPA'
SMALL = SetOptions(
    seed=3,
    intersections=(0, 0, 1),
    corridors=(0, 0, 0),
    sensors=SensorOptions(duration=4.0),
)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_common_arguments(parser, checkpoint=True)
    parser.add_argument('--command', required=True, help='what was typed to train the checkpoint')
    parser.add_argument('--name', help="of the files (default: the config's)")
    parser.add_argument('--out', type=Path, default=ROOT / 'weights', help='folder to write')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    out, name = args.out.resolve(), args.name or Path(args.config).stem
    config = Path(args.config).resolve()
    if not config.is_relative_to(ROOT):
        raise UserError(f'{args.config}: expected a config in {ROOT}, which the card names')
    content = read_checkpoint(str(Path(args.checkpoint).resolve()))
    cfg = load_config(args, ['model', 'train_dataloader'])
    init_default_scope('mmdet3d')
    weights, meta = weights_alone(content), content.get('meta', {})
    if len(weights) > LARGEST:
        raise UserError(
            f'{args.checkpoint}: {len(weights)} bytes of weights, a file in the repository has '
            f'{LARGEST} at most'
        )
    path = out / f'{name}.pth'
    out.mkdir(parents=True, exist_ok=True)
    write_whole(path, weights)
    measured = {}
    if cfg.get('test_evaluator'):
        with tempfile.TemporaryDirectory() as folder:
            measured['small_set'] = small_metrics(cfg, path, Path(folder) / 'set')
        measured['metrics'] = chosen(test(cfg, str(path), 0))
    card = dict(
        config=str(config.relative_to(ROOT)),
        mode=only_dataset(cfg.train_dataloader).mode,
        seed=meta.get('seed'),
        sha256=hashlib.sha256(weights).hexdigest(),
        bytes=len(weights),
        parameters=sum(value.numel() for value in content['state_dict'].values()),
        trained=meta.get('time'),
        **measured,
        **circumstances(args.command),
    )
    write_whole(path.with_suffix('.json'), json.dumps(card, indent=2) + '\n')
    print(f'{path}: {len(weights) / 1e6:.1f} MB', *measured.values())


def weights_alone(content: dict) -> bytes:
    """A checkpoint of the weights of another one, matrices in half precision.

    What has one dimension stays as it is: variances need the range, and take no space.

    Raises:
        UserError: a weight is too large for half precision.
    """
    state = {}
    for name, value in content['state_dict'].items():
        halves = value.half() if value.is_floating_point() and value.dim() > 1 else value
        if not halves.isfinite().all():
            raise UserError(f'{name}: has weights that half precision cannot hold')
        state[name] = halves.contiguous()
    file = io.BytesIO()
    kept = {key: content.get('meta', {}).get(key) for key in ('dataset_meta', 'trained')}
    weights = with_versions(state, content['state_dict'])
    torch.save(dict(state_dict=weights, meta=kept), file)
    return file.getvalue()


def small_metrics(cfg: Config, weights: Path, root: Path) -> dict[str, float | None]:
    """Metrics on the small set, see :func:`on_small_set`."""
    return chosen(test(on_small_set(cfg, root), str(weights), 0))


def on_small_set(cfg: Config, root: Path) -> Config:
    """The config that tests on the small set in a folder, which is simulated if it isn't there."""
    if not root.exists():
        simulate_dataset(root, SMALL)
    cfg = Config(cfg.to_dict())
    dataset = only_dataset(cfg.test_dataloader)
    dataset.data_root = str(root)
    save_infos(str(root / dataset.ann_file), build_infos(str(root), 'test'))
    cfg.test_dataloader.update(num_workers=0, persistent_workers=False)
    return cfg


def chosen(metrics: dict[str, float | None]) -> dict[str, float | None]:
    """Those that a card has."""
    found = {name: metrics.get(name) for name in METRICS}
    return {name: value and round(value, 3) for name, value in found.items()}


if __name__ == '__main__':
    run_tool(main)
