"""Random detections and forecasts for the tests of the metrics."""

import numpy as np

from turbotrain.evaluation import DetectionFrame, ForecastFrame


def random_boxes(rng, count):
    """(count, 5) overlapping vehicles, x, y, l, w, yaw."""
    return np.column_stack(
        [
            rng.uniform(-20, 20, (count, 2)),
            rng.uniform(2, 8, count),
            rng.uniform(1, 3, count),
            rng.uniform(-np.pi, np.pi, count),
        ]
    ).astype(np.float32)


def random_frame(rng, num_gt=12, num_extra=8, num_classes=2):
    """Noisy detections of most of the ground truth, a few duplicates, and false alarms."""
    gt_boxes = random_boxes(rng, num_gt)
    gt_labels = rng.integers(0, num_classes, num_gt)
    found = rng.integers(0, num_gt, num_gt)
    noisy = gt_boxes[found] + rng.normal(0, [0.3, 0.3, 0.2, 0.1, 0.08], (num_gt, 5))
    boxes = np.concatenate([noisy, random_boxes(rng, num_extra)]).astype(np.float32)
    labels = np.concatenate([gt_labels[found], rng.integers(0, num_classes, num_extra)])
    return DetectionFrame(boxes, rng.random(len(boxes)), labels, gt_boxes, gt_labels)


def random_forecast(rng, num_gt=10, num_modes=3, num_steps=6):
    """Noisy forecasts of all ground truth, with gaps in the true futures, and false alarms."""
    gt_centers = rng.uniform(-40, 40, (num_gt, 2))
    velocity = rng.normal(0, 2, (num_gt, 1, 2))
    steps = np.arange(1, num_steps + 1)[:, None]
    gt_trajectories = gt_centers[:, None] + velocity * steps
    centers = np.concatenate([gt_centers + rng.normal(0, 0.8, (num_gt, 2)), [[90.0, 90.0]]])
    motion = np.concatenate([velocity, np.zeros((1, 1, 2))])[:, None]
    motion = motion + rng.normal(0, 0.4, (num_gt + 1, num_modes, 1, 2))
    trajectories = centers[:, None, None] + motion * steps
    valid = rng.random((num_gt, num_steps)) < 0.8
    scores = rng.dirichlet(np.ones(num_modes), num_gt + 1)
    return ForecastFrame(centers, trajectories, gt_centers, gt_trajectories, valid, scores)
