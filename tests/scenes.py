"""Small scenes in the format of V2XPnP-Seq: boxes on straight paths, points on their walls."""

from pathlib import Path

import numpy as np
import yaml

from turbotrain.structures import (
    invert_rigid,
    matrix_to_pose,
    pose_to_matrix,
    transform_points,
)

AGENT_POSES = {
    1: [0.0, 0.0, 1.9, 0.5, 10.0, -0.4],
    2: [18.0, 6.0, 1.9, -0.3, 170.0, 0.6],
    -1: [8.0, -10.0, 4.1, 0.0, 80.0, 2.0],
    -2: [10.0, 12.0, 2.5, 1.0, -95.0, -1.0],
}
TYPES = ('Car', 'Truck', 'Pedestrian', 'PoliceCar', 'Bus', 'BicycleRider')


def write_scenario(
    root: Path,
    split: str = 'train',
    name: str = '2023-03-17-16-12-12_3_0',
    agents: tuple[int, ...] = (1, 2, -1, -2),
    frames: range = range(0, 60, 5),
    objects: int = 12,
    seed: int = 0,
    world_motion: np.ndarray | None = None,
) -> Path:
    """Write one scenario; ``world_motion`` (4, 4) moves everything in the world."""
    rng = np.random.default_rng(seed)
    motion = np.eye(4) if world_motion is None else world_motion
    start = np.column_stack([rng.uniform(-25, 35, objects), rng.uniform(-20, 20, objects)])
    yaw = rng.uniform(-180, 180, objects)
    speed = np.where(np.arange(objects) % 2, rng.uniform(2, 8, objects), 0.0)
    extent = rng.uniform([1.8, 0.8, 0.7], [2.6, 1.1, 0.9], (objects, 3))
    surface = rng.uniform(-1, 1, (objects, 60, 3))
    surface[:, :, 0] = np.sign(surface[:, :, 0])
    ground = np.column_stack([rng.uniform(-40, 50, 800), rng.uniform(-35, 35, 800), np.zeros(800)])

    folder = root / split / name
    for frame in frames:
        time = frame / 10
        heading = np.deg2rad(yaw)
        centre = np.column_stack([
            start[:, 0] + speed * time * np.cos(heading),
            start[:, 1] + speed * time * np.sin(heading),
            extent[:, 2],
        ])  # fmt: skip
        zero = np.zeros(objects)
        world_from_box = motion @ pose_to_matrix(np.column_stack([centre, zero, yaw, zero]))
        box_pose = matrix_to_pose(world_from_box)
        points = np.concatenate([
            transform_points(matrix, surface[i] * extent[i])
            for i, matrix in enumerate(world_from_box)
        ] + [transform_points(motion, ground)])  # fmt: skip
        for agent in agents:
            drive = [2.0 * time, 0, 0, 0, 0, 0] if agent > 0 else [0] * 6
            world_from_agent = motion @ pose_to_matrix(np.add(AGENT_POSES[agent], drive))
            pose = matrix_to_pose(world_from_agent).tolist()
            cloud = transform_points(invert_rigid(world_from_agent), points)
            cloud = np.column_stack([cloud, np.full(len(cloud), 0.5)]).astype('<f4')
            labels = {
                i: dict(
                    angle=box_pose[i, 3:].tolist(),
                    attribute='',
                    center=[0.0, 0.0, 0.0],
                    extent=extent[i].tolist(),
                    location=box_pose[i, :3].tolist(),
                    obj_type=TYPES[i % len(TYPES)],
                )
                for i in range(objects)
            }
            out = folder / str(agent)
            out.mkdir(parents=True, exist_ok=True)
            annotation = dict(
                ego_speed=0, infra=agent < 0, lidar_pose=pose, true_ego_pose=pose, vehicles=labels
            )
            with (out / f'{frame:06d}.yaml').open('w') as file:
                yaml.safe_dump(annotation, file)
            cloud.tofile(out / f'{frame:06d}.bin')
    return folder
