"""Average precision against the authors' numbers, an independent reference, and its properties."""

from dataclasses import replace

import numpy as np
import pytest
import shapely
from shapely.geometry import Polygon

from tests.evaluation.scenes import random_boxes, random_frame
from tests.golden import load_golden
from turbotrain.evaluation import (
    DetectionFrame,
    average_precision,
    find_overlaps,
    frame_order_ap,
    global_sort_ap,
    match_detections,
    match_overlaps,
    paired_iou,
)

THRESHOLDS = (0.3, 0.5, 0.7)


def bev(rows):
    """(N, 5) x, y, l, w, yaw of golden rows x, y, z, h, w, l, yaw."""
    return np.array(rows, dtype=np.float32).reshape(-1, 7)[:, [0, 1, 5, 4, 6]]


def polygon(box):
    x, y, length, width, yaw = box.astype(np.float64)
    corners = np.array([[1, 1], [1, -1], [-1, -1], [-1, 1]]) * [length / 2, width / 2]
    cos, sin = np.cos(yaw), np.sin(yaw)
    return Polygon(corners @ [[cos, sin], [-sin, cos]] + [x, y])


def shapely_iou(box, other):
    """By GEOS on a grid of a nanometre: without one it errs where edges nearly coincide."""
    a, b = polygon(box), polygon(other)
    overlap = shapely.intersection(a, b, grid_size=1e-9).area
    return overlap / (a.area + b.area - overlap)


def reference_ap(frames, threshold, label, global_sort):
    """The textbook loop: one detection after another, polygons by shapely."""
    ranked, num_gt = [], 0
    for frame in frames:
        free = list(frame.gt_boxes[frame.gt_labels == label])
        num_gt += len(free)
        keep = frame.labels == label
        order = np.argsort(-frame.scores[keep], kind='stable')
        for box, score in zip(frame.boxes[keep][order], frame.scores[keep][order], strict=True):
            ious = [shapely_iou(box, gt) for gt in free]
            hit = bool(ious) and max(ious) >= threshold
            if hit:
                free.pop(int(np.argmax(ious)))
            ranked.append((score, hit))
    if global_sort:
        ranked.sort(key=lambda pair: -pair[0])
    hits = np.cumsum([hit for _, hit in ranked])
    recall = np.concatenate([[0], hits / num_gt, [1]])
    precision = np.concatenate([[0], hits / np.arange(1, len(hits) + 1), [0]])
    for i in range(len(precision) - 2, -1, -1):
        precision[i] = max(precision[i], precision[i + 1])
    return float(np.sum(np.diff(recall) * precision[1:]))


def golden_frames():
    frames = []
    for frame in load_golden()['eval']['frames']:
        boxes, gt_boxes = bev(frame['det_hwl']), bev(frame['gt_hwl'])
        zeros = np.zeros(len(boxes), int), np.zeros(len(gt_boxes), int)
        frames.append(DetectionFrame(boxes, np.array(frame['score']), zeros[0], gt_boxes, zeros[1]))
    return frames


def test_golden_iou():
    golden = load_golden()['v2xpnp']['iou']
    boxes = bev(golden['boxes_hwl'])
    n = len(boxes)
    iou = paired_iou(np.repeat(boxes, n, axis=0), np.tile(boxes, (n, 1))).reshape(n, n)
    np.testing.assert_allclose(iou, golden['matrix'], atol=1e-6)


def test_golden_average_precision_and_counts():
    golden = load_golden()['eval']
    matches = match_detections(golden_frames(), THRESHOLDS, num_classes=1)
    by_score, by_frame = global_sort_ap(matches), frame_order_ap(matches)
    for i, threshold in enumerate(THRESHOLDS):
        counts = golden['counts'][str(threshold)]
        hits = matches.true_positive[i].sum()
        assert (hits, (~matches.true_positive[i]).sum()) == (counts['tp'], counts['fp'])
        assert matches.num_ground_truth.tolist() == [counts['gt']]
        assert by_score[i, 0] == pytest.approx(golden['ap_global_sort'][str(threshold)])
        assert by_frame[i, 0] == pytest.approx(golden['ap_frame_order'][str(threshold)])


def pairs_of_boxes():
    """Boxes and others: anyhow, near, the same, turned, nested, touching, half overlapping."""
    rng = np.random.default_rng(0)
    boxes = random_boxes(rng, 200).astype(np.float64)
    near = boxes + rng.normal(0, 0.7, boxes.shape)
    near[:, 2:4] = np.abs(near[:, 2:4]) + 0.3
    ahead = np.zeros_like(boxes)
    ahead[:, 0], ahead[:, 1] = np.cos(boxes[:, 4]), np.sin(boxes[:, 4])
    ahead *= boxes[:, 2:3]
    turned = np.array([0, 0, 0, 0, np.pi])
    far = np.array([2000, -3000, 0, 0, 0])
    return dict(
        anyhow=(boxes, random_boxes(rng, 200).astype(np.float64), None),
        near=(boxes, near, None),
        far_from_the_origin=(boxes + far, near + far, None),
        the_same=(boxes, boxes.copy(), 1.0),
        turned_by_half=(boxes, boxes + turned, 1.0),
        nested=(boxes, boxes * [1, 1, 0.5, 0.5, 1], 0.25),
        touching=(boxes, boxes + ahead, 0.0),
        half_overlapping=(boxes, boxes + 0.5 * ahead, 1 / 3),
        without_area=(boxes, boxes * [1, 1, 0, 1, 1], 0.0),
        both_without_area=(boxes * [1, 1, 1, 0, 1], boxes * [1, 1, 1, 0, 1], 0.0),
    )


@pytest.mark.parametrize('kind', pairs_of_boxes())
def test_iou_equals_polygons(kind):
    boxes, others, expected = pairs_of_boxes()[kind]
    if expected is None:
        expected = [shapely_iou(a, b) for a, b in zip(boxes, others, strict=True)]
    found = paired_iou(boxes, others)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    np.testing.assert_allclose(found, paired_iou(others, boxes), atol=1e-12)
    assert ((found >= 0) & (found <= 1)).all()


@pytest.mark.parametrize('seed', range(4))
def test_equals_textbook_reference(seed):
    rng = np.random.default_rng(seed)
    frames = [random_frame(rng) for _ in range(4)]
    matches = match_detections(frames, THRESHOLDS, num_classes=2)
    by_score, by_frame = global_sort_ap(matches), frame_order_ap(matches)
    for i, threshold in enumerate(THRESHOLDS):
        for label in range(2):
            assert by_score[i, label] == pytest.approx(
                reference_ap(frames, threshold, label, global_sort=True)
            )
            assert by_frame[i, label] == pytest.approx(
                reference_ap(frames, threshold, label, global_sort=False)
            )


def test_order_of_frames_changes_only_the_frame_order_value():
    rng = np.random.default_rng(5)
    frames = [random_frame(rng) for _ in range(6)]
    forward = match_detections(frames, THRESHOLDS, num_classes=2)
    backward = match_detections(frames[::-1], THRESHOLDS, num_classes=2)
    np.testing.assert_allclose(global_sort_ap(forward), global_sort_ap(backward))
    assert not np.allclose(frame_order_ap(forward), frame_order_ap(backward))


@pytest.mark.parametrize('score', [0.0, 0.5, 2.0])
def test_false_positive_never_raises_it(score):
    rng = np.random.default_rng(6)
    frames = [random_frame(rng, num_classes=1) for _ in range(3)]
    before = match_detections(frames, THRESHOLDS, num_classes=1)
    last = frames[-1]
    frames[-1] = replace(
        last,
        boxes=np.concatenate([last.boxes, np.float32([[300, 300, 4, 2, 0]])]),
        scores=np.append(last.scores, score),
        labels=np.append(last.labels, 0),
    )
    after = match_detections(frames, THRESHOLDS, num_classes=1)
    assert (global_sort_ap(after) <= global_sort_ap(before) + 1e-12).all()
    assert (frame_order_ap(after) <= frame_order_ap(before) + 1e-12).all()
    if score > 1:
        assert (global_sort_ap(after) < global_sort_ap(before)).all()


def test_matched_box_is_free_for_nobody_else():
    """A duplicate takes the neighbour that it overlaps enough, and is false where there is none."""
    gt = np.float32([[0, 0, 4, 2, 0], [1, 0, 4, 2, 0]])
    boxes = np.float32([[0, 0, 4, 2, 0], [0.1, 0, 4, 2, 0]])
    frame = DetectionFrame(boxes, np.array([0.9, 0.8]), np.zeros(2, int), gt, np.zeros(2, int))
    matches = match_detections([frame], (0.5, 0.8), num_classes=1)
    assert matches.true_positive.tolist() == [[True, True], [True, False]]


@pytest.mark.parametrize('span', [(0, 10), (10, 18), (18, 100)])
def test_a_span_of_distances_is_what_frames_of_it_alone_give(span):
    rng = np.random.default_rng(8)
    frames = [random_frame(rng) for _ in range(5)]

    def inside(boxes):
        distance = np.hypot(boxes[:, 0], boxes[:, 1])
        return (distance >= span[0]) & (distance < span[1])

    parts = []
    for frame in frames:
        keep, gt_keep = inside(frame.boxes), inside(frame.gt_boxes)
        assert keep.any() and gt_keep.any()
        parts.append(
            DetectionFrame(
                frame.boxes[keep],
                frame.scores[keep],
                frame.labels[keep],
                frame.gt_boxes[gt_keep],
                frame.gt_labels[gt_keep],
            )
        )
    alone = match_detections(parts, THRESHOLDS, num_classes=2)
    cut = match_overlaps(find_overlaps(frames).within(*span), THRESHOLDS, num_classes=2)
    for name in ('scores', 'labels', 'true_positive', 'num_ground_truth'):
        np.testing.assert_array_equal(getattr(cut, name), getattr(alone, name))
    assert cut.true_positive.any()


def test_other_class_is_no_match():
    box = np.float32([[0, 0, 4, 2, 0]])
    frame = DetectionFrame(box, np.array([0.9]), np.array([1]), box, np.array([0]))
    values = global_sort_ap(match_detections([frame], (0.5,), num_classes=2))
    assert values[0, 0] == 0
    assert np.isnan(values[0, 1])


def test_perfect_and_empty():
    boxes = random_boxes(np.random.default_rng(7), 5)
    none, labels, scores = boxes[:0], np.zeros(5, int), np.linspace(0, 1, 5)
    perfect = DetectionFrame(boxes, scores, labels, boxes, labels)
    assert global_sort_ap(match_detections([perfect], (0.7,), 1)).tolist() == [[1.0]]
    blind = DetectionFrame(none, scores[:0], labels[:0], boxes, labels)
    assert global_sort_ap(match_detections([blind], (0.7,), 1)).tolist() == [[0.0]]
    void = DetectionFrame(boxes, scores, labels, none, labels[:0])
    assert np.isnan(global_sort_ap(match_detections([void], (0.7,), 1))).all()
    assert np.isnan(frame_order_ap(match_detections([], (0.7,), 1))).all()


def test_area_by_hand():
    ranked = np.array([True, False, True, False])
    assert average_precision(ranked, 4) == pytest.approx(0.25 * 1 + 0.25 * 2 / 3)
