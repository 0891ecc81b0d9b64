"""The examples of docs/online.md for ROS 2 and CARLA, with stand-ins for these alone."""

import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from tests.online.recordings import untrained
from turbotrain.online import Ego, OnlineModel, Sender

PAGE = Path(__file__).parents[2] / 'docs/online.md'
POINTS = np.random.default_rng(0).uniform((-9, -9, -2, 0), (9, 9, 0, 1), (300, 4)).astype('<f4')


def example(heading: str) -> str:
    after = PAGE.read_text().split(f'### {heading}\n')[1]
    return re.search(r'^```text\n(.*?)^```', after, re.DOTALL | re.MULTILINE)[1]


@pytest.fixture(scope='module')
def model(tmp_path_factory) -> OnlineModel:
    cfg, path = untrained('f-cooper', tmp_path_factory.mktemp('weights'))
    return OnlineModel(cfg, path, 'cpu')


def heard(model: OnlineModel, data: bytes, time: float) -> Ego:
    ego = Ego(model)
    ego.see(POINTS, np.eye(4), time)
    assert ego.receive(data), ego.last_refusal
    assert len(ego.detect()['agents']) == 2
    return ego


def test_a_ros_node_sends_what_an_ego_takes(model):
    class Node:
        def __init__(self, name: str) -> None:
            self.published = []

        def create_publisher(self, *_) -> SimpleNamespace:
            return SimpleNamespace(publish=self.published.append)

        def create_subscription(self, kind, topic, callback, *_) -> None:
            self.callback = callback

    x, y, z, w = Rotation.from_euler('z', 90, degrees=True).as_quat()
    there = SimpleNamespace(
        rotation=SimpleNamespace(x=x, y=y, z=z, w=w), translation=SimpleNamespace(x=4.0, y=3.0, z=2)
    )
    buffer = SimpleNamespace(lookup_transform=lambda *_: SimpleNamespace(transform=there))
    names = dict(
        Node=Node, Buffer=lambda: buffer, TransformListener=lambda *_: None, np=np, Sender=Sender,
        UInt8MultiArray=SimpleNamespace, PointCloud2=None, qos_profile_sensor_data=None,
        OnlineModel=lambda config, checkpoint: model, CONFIG=None, CHECKPOINT=None,
        Rotation=Rotation, read_points_numpy=lambda msg, fields: POINTS,
    )  # fmt: skip
    exec(example('In a ROS 2 node'), names)
    node = names['SenderNode']()
    node.ego_pose = None
    stamp = SimpleNamespace(sec=7, nanosec=500_000_000)
    node.callback(SimpleNamespace(header=SimpleNamespace(frame_id='lidar', stamp=stamp)))
    ego = heard(model, bytes(node.published[0].data), 7.5)
    (message,) = ego.heard.values()
    pose = [[0, -1, 0, 4], [1, 0, 0, 3], [0, 0, 1, 2], [0, 0, 0, 1]]
    np.testing.assert_allclose(message.world_from_agent, pose, atol=1e-6)


def test_carlas_left_handed_frames_are_mirrored_once(model):
    yaw = np.radians(30.0)  # to the right, as Unreal turns
    matrix = np.eye(4)
    matrix[:2, :2] = [[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]]
    matrix[:3, 3] = 4, 3, 2
    raw = SimpleNamespace(
        raw_data=(POINTS * [1, -1, 1, 1]).astype('<f4').tobytes(), timestamp=7.5,
        transform=SimpleNamespace(get_matrix=lambda: matrix.tolist()),
    )  # fmt: skip
    queue = SimpleNamespace(get=lambda: raw)
    names = dict(np=np, lidar_queue=queue, sender=Sender(model, 'vehicle', id=2), ego_pose=None)
    exec(example('In a CARLA or OpenCDA loop'), names)
    np.testing.assert_allclose(names['points'], POINTS, atol=1e-6)
    (message,) = heard(model, names['message'], 7.5).heard.values()
    expected = np.eye(4)
    expected[:3, :3] = Rotation.from_euler('z', -30, degrees=True).as_matrix()
    expected[:3, 3] = 4, -3, 2
    np.testing.assert_allclose(message.world_from_agent, expected, atol=1e-6)
