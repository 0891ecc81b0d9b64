"""From clouds and poses to boxes and paths, in one call."""

import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from mmdet3d.registry import MODELS
from mmdet3d.structures import Det3DDataSample
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.infer import BaseInferencer
from mmengine.registry import init_default_scope
from mmengine.visualization import Visualizer
from torch import Tensor, nn
from tqdm import tqdm

from ..commands import need, only_dataset, read_config
from ..datasets.info_file import dataset_of
from ..engine import load_weights
from ..errors import SettingError
from ..evaluation import PredictionWriter
from ..pretraining.stock import range_of
from ..visualization import draw_bev, picture_of, save_figure, scene_of
from .moment import Moment
from .predictions import FRAMES, arrays_of
from .samples import UnlabelledMoments, open_folder

__all__ = ['CooperativeInferencer']

Inputs = Moment | str | Path | Sequence[Moment]


class CooperativeInferencer(BaseInferencer):
    """Runs a detector on clouds with poses, as it is tested: no labels, no info files.

    Args:
        model: config file of a detector on samples of ``V2XPnPDataset``, or its config.
        weights: its checkpoint.
        device: a GPU by default, if there is one.
        max_delay: seconds; agents whose newest cloud is older than that are not heard.
        show_progress: whether to show a progress bar.

    Raises:
        UserError: the config cannot be read, or has no test pipeline.
        CheckpointError: the checkpoint is of another model, or cannot be read.

    Example:
        >>> inferencer = CooperativeInferencer('config.py', 'epoch_1.pth')
        >>> agents = [AgentClouds(['a.pcd'], [[0.0, 0.0, 1.9, 0.0, 0.0, 0.0]])]
        >>> boxes = inferencer(Moment(agents))['predictions'][0]['boxes']
    """

    forward_kwargs = {'pred_score_thr'}
    visualize_kwargs = {'show', 'wait_time', 'return_vis', 'picture_dir'}
    postprocess_kwargs = {'frame'}

    def __init__(
        self,
        model: str | Path | Config,
        weights: str | Path,
        device: str | None = None,
        max_delay: float = 0.5,
        show_progress: bool = True,
    ) -> None:
        init_default_scope('mmdet3d')
        self.max_delay = max_delay
        cfg = read_config(model) if isinstance(model, str | Path) else model
        need(cfg, ['model', 'test_dataloader'])
        super().__init__(cfg, str(weights), device, 'mmdet3d', show_progress)

    def __call__(
        self,
        inputs: Inputs,
        return_datasamples: bool = False,
        batch_size: int = 1,
        out_dir: str | Path | None = None,
        **kwargs: Any,
    ) -> dict:
        """Detect and forecast.

        Args:
            inputs: a moment or several, or a folder in the layout of the config's dataset: of one
                scenario, or of scenarios, such as a split's.
            return_datasamples: return mmdet3d's samples, in the ego's frame, instead of arrays.
            batch_size: moments that go through the model together.
            out_dir: folder for ``predictions.jsonl``, in the format of
                ``evaluation/predictions.py`` (the ego's frame), and a picture of each moment in
                ``vis``; None writes nothing.
            kwargs: ``pred_score_thr`` leaves out detections with a lower score (0); ``frame`` is
                ``'ego'`` (default) or ``'world'``; ``show`` shows pictures in a window, each for
                ``wait_time`` seconds, 0 until it is closed; ``return_vis`` returns pictures.

        Returns:
            ``predictions``: for each moment what :func:`~.predictions.arrays_of` describes, with
            ``scenario``, ``frame``, ``ego`` and ``message_bytes`` as prediction files have them and
            ``world_from_ego`` (4, 4); and ``visualization``: (H, W, 3) uint8 each, or none.

        Raises:
            SettingError: an input or argument is not as it must be; says what was expected.
            DataFileError: a file cannot be read.
        """
        if out_dir is not None:
            kwargs['picture_dir'] = Path(out_dir) / 'vis'
        own = dict(
            zip(('read', 'find', 'draw', 'tell'), self._dispatch_kwargs(**kwargs), strict=True)
        )
        if own['tell'].get('frame', 'ego') not in FRAMES:
            raise SettingError(f'frame: expected one of {FRAMES}, got {own["tell"]["frame"]!r}')
        found = dict(predictions=[], visualization=[])
        writer = self.writer(Path(out_dir) / 'predictions.jsonl') if out_dir is not None else None
        for sample, clouds in self.samples(inputs, batch_size, **own['find']):
            pictures = self.visualize([clouds], [sample], **own['draw'])
            told = self.postprocess([sample], pictures, return_datasamples, **own['tell'])
            for key, values in told.items():
                found[key] += values
            if writer is not None:
                writer.process(None, [sample.to_dict()])
        if writer is not None:
            writer.compute_metrics(writer.results)
        return found

    def samples(
        self, inputs: Inputs, batch_size: int = 1, pred_score_thr: float = 0.0
    ) -> Iterator[tuple[Det3DDataSample, list[Tensor]]]:
        """Detect and forecast, one moment after the other, so that memory stays as it is.

        Args:
            inputs: see :meth:`__call__`.
            batch_size: see :meth:`__call__`.
            pred_score_thr: see :meth:`__call__`.

        Yields:
            The sample with ``pred_instances_3d``, and its N*T clouds (P, 4), agent-major.
        """
        if batch_size < 1:
            raise SettingError(f'batch_size: expected 1 or more, got {batch_size}')
        given = self._inputs_to_list(inputs)
        with tqdm(total=len(given), unit='moment', disable=not self.show_progress) as bar:
            for batch in self.preprocess(given, batch_size):
                points = batch['inputs']['points']
                found = self.forward(batch, pred_score_thr=pred_score_thr)
                for sample, cloud in zip(found, points, strict=True):
                    yield sample, list(cloud.split(sample.num_points))
                bar.update(len(found))

    def writer(self, path: Path) -> PredictionWriter:
        """What writes prediction files of this model."""
        writer = PredictionWriter(str(path))
        writer.dataset_meta = self.pipeline.metainfo
        return writer

    def forward(self, inputs: dict, pred_score_thr: float = 0.0) -> list[Det3DDataSample]:
        """Run the model on a batch."""
        samples = super().forward(inputs)
        for sample in samples:
            found = sample.pred_instances_3d
            sample.pred_instances_3d = found[found.scores_3d >= pred_score_thr]
        return samples

    def visualize(
        self,
        inputs: list[list[Tensor]],
        preds: list[Det3DDataSample],
        show: bool = False,
        wait_time: float = 0.0,
        return_vis: bool = False,
        picture_dir: Path | None = None,
    ) -> list[np.ndarray]:
        """Draw samples from above, with their clouds.

        Returns:
            (H, W, 3) uint8 each; none unless ``return_vis``.
        """
        pictures = []
        if not (show or return_vis or picture_dir):
            return pictures
        for clouds, sample in zip(inputs, preds, strict=True):
            figure = draw_bev(scene_of(sample, clouds, score_threshold=0.0), self.view)
            if picture_dir is not None:
                save_figure(figure, picture_dir / f'{name_of(sample)}.png')
            if show:
                self.visualizer.show(picture_of(figure), name_of(sample), wait_time)
            if return_vis:
                pictures.append(picture_of(figure).copy())
        return pictures

    def postprocess(
        self,
        preds: list[Det3DDataSample],
        visualization: list[np.ndarray],
        return_datasamples: bool = False,
        frame: str = 'ego',
    ) -> dict:
        """What :meth:`__call__` returns."""
        if return_datasamples:
            return dict(predictions=preds, visualization=visualization)
        told = []
        for sample in preds:
            pose = sample.world_from_ego
            arrays = arrays_of(sample.pred_instances_3d, self.pipeline.classes, pose, frame)
            about = dict(
                scenario=sample.scenario,
                frame=int(sample.frame),
                ego=int(sample.agents.ids[0]),
                message_bytes=[*sample.get('message_bytes', [])],
                world_from_ego=pose,
            )
            told.append(about | arrays)
        return dict(predictions=told, visualization=visualization)

    def _init_model(self, cfg: Config, weights: str, device: str) -> nn.Module:
        model = MODELS.build(cfg.model)
        load_weights(model, weights)
        return model.to(device).eval()

    def _init_pipeline(self, cfg: Config) -> 'InputPipeline':
        limits = range_of(cfg.model)
        self.view = (*limits[:2], *limits[3:5])
        return InputPipeline(cfg, self.max_delay)

    def _init_collate(self, cfg: Config) -> Callable:
        return pseudo_collate

    def _init_visualizer(self, cfg: Config) -> Visualizer:
        return Visualizer()

    def _inputs_to_list(self, inputs: Inputs) -> list[Callable[[], dict]]:
        return self.pipeline.prepared(inputs)


class InputPipeline:
    """Makes a sample of an input, as a config's test pipeline does.

    Args:
        cfg: the config.
        max_delay: see :class:`CooperativeInferencer`.
    """

    def __init__(self, cfg: Config, max_delay: float) -> None:
        settings = only_dataset(cfg.test_dataloader).to_dict()
        kind = settings.pop('type')
        if kind != 'V2XPnPDataset':
            raise SettingError(
                f'test_dataloader.dataset.type: expected V2XPnPDataset, got {kind!r}; '
                "mmdet3d's own inferencers run other detectors"
            )
        self.ann_file = settings.pop('ann_file')
        self.name = dataset_of(self.ann_file) or 'v2xpnp'
        self.settings = settings | dict(
            backend_args=None,
            drop_corridors=False,
            indices=None,
            serialize_data=False,
            test_mode=True,
        )
        self.moments = UnlabelledMoments(self.settings, self.name, max_delay)
        self.metainfo = self.moments.metainfo
        self.classes = self.metainfo['classes']

    def prepared(self, inputs: Inputs) -> list[Callable[[], dict]]:
        """What loads each of the inputs.

        Raises:
            SettingError: they are neither moments nor a folder, or there is none.
        """
        if isinstance(inputs, str | Path):
            dataset = open_folder(str(inputs), self.settings, self.name)
            return [partial(dataset.__getitem__, i) for i in range(len(dataset))]
        inputs = [inputs] if isinstance(inputs, Moment) else list(inputs)
        if not inputs or not all(isinstance(one, Moment) for one in inputs):
            raise SettingError(
                'inputs: expected a Moment, a list of them or a folder, got '
                f'{sorted({type(one).__name__ for one in inputs}) or "an empty list"}'
            )
        return [partial(self.moments, moment, i) for i, moment in enumerate(inputs)]

    def __call__(self, load: Callable[[], dict]) -> dict:
        """Load one input."""
        return load()


def name_of(sample: Det3DDataSample) -> str:
    """A name for files about a sample."""
    scenario = re.sub(r'[^\w.-]', '_', sample.scenario)
    return f'{scenario}_{sample.frame:06d}_{sample.agents.ids[0]}'
