"""What average precision costs: ``python tools/costs/evaluation.py`` (made-up boxes).

100 frames of 200 detections and 60 objects of one class, at three IoU thresholds and both orders of
the detections, from boxes to percent; against the loop that peers evaluate with: polygons by
shapely, every detection against every object that is still free, once for each threshold. Both have
to give the same numbers. One thread. The last line is one JSON object.
"""

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / 'projects/TurboTrain'))

import numpy as np
import shapely
from shapely.geometry import Polygon

from turbotrain.evaluation import (
    DetectionFrame,
    frame_order_ap,
    global_sort_ap,
    match_detections,
)
from turbotrain.recipes.circumstances import circumstances
from turbotrain.structures import corners_of

THRESHOLDS = (0.3, 0.5, 0.7)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Time average precision')
    parser.add_argument('--frames', type=int, default=100)
    parser.add_argument('--shapely-frames', type=int, default=3, help='seconds each')
    parser.add_argument('--detections', type=int, default=200)
    parser.add_argument('--objects', type=int, default=60)
    parser.add_argument('--repeats', type=int, default=7, help='the median counts')
    parser.add_argument('--seed', type=int, default=0)
    args = parser.parse_args()
    if not 0 < args.shapely_frames <= args.frames:
        parser.error(f'--shapely-frames: from 1 to {args.frames}, got {args.shapely_frames}')
    return args


def made_up_frame(
    rng: np.random.Generator, num_detections: int, num_objects: int
) -> DetectionFrame:
    """Vehicles in V2XPnP's range; two thirds of the detections are near one of them."""

    def anywhere(count: int) -> np.ndarray:
        place = rng.uniform((-70, -40), (70, 40), (count, 2))
        size = rng.normal((4.5, 1.9), (0.4, 0.1), (count, 2))
        return np.column_stack([place, size, rng.uniform(-np.pi, np.pi, count)])

    objects = anywhere(num_objects)
    near = objects[rng.integers(num_objects, size=2 * num_detections // 3)]
    near = near + rng.normal(0, (0.5, 0.3, 0.2, 0.1, 0.05), near.shape)
    boxes = np.concatenate([near, anywhere(num_detections - len(near))])
    zeros = np.zeros(num_detections, np.int64), np.zeros(num_objects, np.int64)
    return DetectionFrame(boxes, rng.random(num_detections), zeros[0], objects, zeros[1])


def polygons(boxes: np.ndarray) -> list[Polygon]:
    x, y, length, width, yaw = boxes.T
    flat = np.zeros_like(x)
    return [
        *map(Polygon, corners_of(np.stack([x, y, flat, length, width, flat, yaw], 1))[:, :4, :2])
    ]


def shapely_hits(frame: DetectionFrame, threshold: float) -> list[bool]:
    """Which detections, by falling score, find a free object."""
    order = np.argsort(-frame.scores, kind='stable')
    found, free = [], polygons(frame.gt_boxes)
    for box in polygons(frame.boxes[order]):
        ious = [box.intersection(other).area / box.union(other).area for other in free]
        hit = bool(ious) and max(ious) >= threshold
        if hit:
            free.pop(int(np.argmax(ious)))
        found.append(hit)
    return found


def main() -> None:
    args = parse_args()
    rng = np.random.default_rng(args.seed)
    frames = [made_up_frame(rng, args.detections, args.objects) for _ in range(args.frames)]

    def evaluate() -> tuple[np.ndarray, np.ndarray]:
        matches = match_detections(frames, THRESHOLDS, num_classes=1)
        return global_sort_ap(matches), frame_order_ap(matches)

    by_score, by_frame = evaluate()  # compiles
    seconds = []
    for _ in range(args.repeats):
        start = time.perf_counter()
        evaluate()
        seconds.append(time.perf_counter() - start)
    ms = 1e3 * statistics.median(seconds) / args.frames

    start = time.perf_counter()
    loop = [
        [hit for frame in frames[: args.shapely_frames] for hit in shapely_hits(frame, threshold)]
        for threshold in THRESHOLDS
    ]
    shapely_ms = 1e3 * (time.perf_counter() - start) / args.shapely_frames
    own = match_detections(frames[: args.shapely_frames], THRESHOLDS, num_classes=1)
    if not np.array_equal(own.true_positive, loop):
        sys.exit('the two ways do not find the same')

    for i, threshold in enumerate(THRESHOLDS):
        values = 100 * by_score[i, 0], 100 * by_frame[i, 0]
        print(f'AP@{threshold}: {values[0]:.2f} by score, {values[1]:.2f} in frame order')
    print(f'\nours           {ms:9.3f} ms a frame\nshapely loop   {shapely_ms:9.1f} ms a frame')
    print(
        json.dumps(
            dict(
                ms_per_frame=round(ms, 4),
                speedup_over_shapely=round(shapely_ms / ms, 1),
                shapely_ms_per_frame=round(shapely_ms, 1),
                frames=args.frames,
                detections=args.detections,
                objects=args.objects,
                seed=args.seed,
                numpy=np.__version__,
                shapely=shapely.__version__,
                **circumstances(),
            )
        )
    )


if __name__ == '__main__':
    main()
