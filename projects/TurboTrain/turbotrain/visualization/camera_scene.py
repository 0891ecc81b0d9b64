"""What the cameras of a sample's agents see, and what is drawn into their pictures."""

import warnings
from dataclasses import dataclass, field

import numpy as np
from mmdet3d.structures import Det3DDataSample
from torch import Tensor

from ..datasets.readers import DataFileError, Dialect, read_cameras, read_image
from ..errors import SettingError
from ..structures import invert_rigid
from .samples import confident, scene_of
from .scene import BEVScene

__all__ = ['CameraScene', 'CameraView', 'camera_scene']


@dataclass(frozen=True)
class CameraView:
    """One camera of one agent.

    Attributes:
        name: how the agent calls it.
        agent: the agent's place among those of the scene.
        image: (H, W, 3) uint8, red first.
        intrinsics: (3, 3) pixels.
        camera_from_ego: (4, 4), to a frame with x to the right, y down and z ahead.
    """

    name: str
    agent: int
    image: np.ndarray
    intrinsics: np.ndarray
    camera_from_ego: np.ndarray


@dataclass(frozen=True)
class CameraScene:
    """A sample as its cameras see it.

    Attributes:
        scene: the same from above; what its boxes are on the ground, these are in space.
        views: the cameras, by agents.
        classes: names of the classes.
        gt_boxes: (M, 7) ``(x, y, z_bottom, l, w, h, yaw)``, ego frame.
        gt_labels: (M,) indices into the classes.
        pred_boxes: (P, 7).
        pred_labels: (P,).
    """

    scene: BEVScene
    views: tuple[CameraView, ...]
    classes: tuple[str, ...]
    gt_boxes: np.ndarray
    gt_labels: np.ndarray
    pred_boxes: np.ndarray = field(default_factory=lambda: np.zeros((0, 7)))
    pred_labels: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))


def camera_scene(
    sample: Det3DDataSample,
    clouds: list[Tensor],
    classes: tuple[str, ...],
    dialect: Dialect,
    score_threshold: float = 0.3,
    extrinsic: str | None = None,
    backend_args: dict | None = None,
) -> CameraScene:
    """Look through the cameras of all agents that are heard now.

    Args:
        sample: see :func:`~.samples.scene_of`; its clouds' paths say where the cameras are.
        clouds: its clouds.
        classes: names of the classes.
        dialect: how the dataset writes cameras.
        score_threshold: detections below it are left out.
        extrinsic: see :func:`~turbotrain.datasets.readers.cameras.read_cameras`.
        backend_args: where mmengine's fileio finds the files; local disk by default.

    Raises:
        DataFileError: no camera at all can be shown; what is wrong with single ones is warned of.
        SettingError: see :func:`~turbotrain.datasets.readers.cameras.read_cameras`.
    """
    agents, truth = sample.agents, sample.gt_instances_3d
    views: list[CameraView] = []
    problems: list[DataFileError] = []
    for place, n in enumerate(np.flatnonzero(agents.valid[:, -1])):
        cloud = sample.cloud_paths[(n + 1) * agents.num_frames - 1]
        lidar_from_ego = invert_rigid(agents.ego_from_agent[n, -1])
        try:
            cameras = read_cameras(cloud, dialect, extrinsic, backend_args)
        except DataFileError as error:
            problems.append(error)
            continue
        for camera in cameras:
            try:
                image = read_image(camera, backend_args)
            except DataFileError as error:
                problems.append(error)
                continue
            camera_from_ego = camera.camera_from_lidar @ lidar_from_ego
            views.append(CameraView(camera.name, place, image, camera.intrinsics, camera_from_ego))
    if not views:
        raise problems[0] if problems else SettingError('no agent has a cloud now, nor a camera')
    for error in problems:
        warnings.warn(f'{error}; the camera is left out', stacklevel=2)
    predicted = {}
    if 'pred_instances_3d' in sample:
        found = confident(sample, score_threshold)
        predicted = dict(
            pred_boxes=found.bboxes_3d.tensor[:, :7].cpu().double().numpy(),
            pred_labels=found.labels_3d.cpu().numpy(),
        )
    return CameraScene(
        scene=scene_of(sample, clouds, score_threshold),
        views=tuple(views),
        classes=tuple(classes),
        gt_boxes=truth.bboxes_3d.tensor.cpu().double().numpy(),
        gt_labels=truth.labels_3d.cpu().numpy(),
        **predicted,
    )
