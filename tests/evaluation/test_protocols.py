"""Each protocol's counts in small scenes, worked out by hand from what its published code does."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from mmdet3d.structures import LiDARInstance3DBoxes

from tests.evaluation.scenes import random_forecast
from turbotrain.errors import SettingError
from turbotrain.evaluation import (
    PROTOCOLS,
    CooperativeMetric,
    ForecastFrame,
    ForecastMetrics,
    evaluate_forecasts,
)
from turbotrain.evaluation.records import Region

UNIADS = ['uniad', 'univ2x']
NONE = float('nan')


def frame_of(objects: dict, detections: list) -> ForecastFrame:
    """Objects stand still on the x axis; forecasts end up beside them, on the y axis.

    Args:
        objects: x (m) -> which of the three times are known, as in '110'.
        detections: x (m), score, x of the object that they forecast, and for each mode how far off
            they are at the three times (m).
    """
    known = np.array([[c == '1' for c in times] for times in objects.values()], bool)
    known = known.reshape(-1, 3)
    places = np.array([[x, 0.0] for x in objects]).reshape(-1, 2)
    futures = np.repeat(places[:, None], 3, axis=1)
    futures[~known] = np.nan  # nobody may look at them
    return ForecastFrame(
        centers=np.array([[x, 0.0] for x, *_ in detections]).reshape(-1, 2),
        trajectories=np.array(
            [[[[of, off] for off in mode] for mode in modes] for _, _, of, *modes in detections]
        ),
        gt_centers=places,
        gt_trajectories=futures,
        gt_valid=known,
        scores=np.array([score for _, score, *_ in detections], np.float32),
    )


def assert_counts(found: ForecastMetrics, **expected: float) -> None:
    for name, value in expected.items():
        assert getattr(found, name) == pytest.approx(value, nan_ok=True), name


SCENE = [
    frame_of(
        {0: '111', 10: '110', 20: '000', 30: '001', 40: '111'},
        [
            (0, 0.9, 0, (0, 0, 3)),  # two of the first object: a wrong forecast ...
            (0.5, 0.8, 0, (0, 0, 0)),  # ... and, of a lower score, a right one
            (10, 0.7, 10, (1, 2.5, 9)),  # right at first, wrong at the last known time
            (20, 0.65, 20, (0, 0, 0)),  # nobody knows where this one went
            (30, 0.5, 30, (9, 9, 1)),  # right at the only known time
            (60, 0.95, 60, (0, 0, 0)),  # nothing there
        ],
    ),
    frame_of({}, [(0, 0.9, 0, (0, 0, 0))]),
    frame_of(
        {0: '111', 20: '111'},
        # As far away as the radius, and with a score as high as VAD's threshold; a low score.
        [(2, 0.6, 0, (0, 0, 0)), (20, 0.3, 20, (0, 0, 0))],
    ),
]


def test_vip3d_by_hand():
    """The object at 10 m has no end, so it counts for ADE alone; the empty frame is skipped."""
    assert_counts(
        evaluate_forecasts(SCENE, PROTOCOLS['vip3d']),
        matched=6, false_positives=2,  # the double, and the one at 60 m
        ground_truth=5, hits=3, misses=1,  # ends known: 0, 30, 40 m; 0, 20 m. Missed: the first
        epa=(3 - 0.5 * 2) / 5,
        ade=(3 / 3 + 3.5 / 2 + 1 + 0 + 0) / 5, fde=(3 + 1 + 0 + 0) / 4, miss_rate=1 / 4,
    )  # fmt: skip


def test_vad_by_hand():
    """Scores above 0.6 alone; an end counts where all times are known, and so in no other."""
    assert_counts(
        evaluate_forecasts(SCENE, PROTOCOLS['vad']),
        matched=3, false_positives=3,  # as above, and the one in the empty frame
        ground_truth=4, hits=0, misses=1,  # 0, 40 m; 0, 20 m
        epa=(0 - 0.5 * 3) / 4,
        ade=(3 / 3 + 3.5 / 2) / 2, fde=3, miss_rate=1,
    )  # fmt: skip


@pytest.mark.parametrize('name', UNIADS)
def test_uniad_by_hand(name):
    """All objects count; an end is the last known time; the right one of the doubles is a hit."""
    assert_counts(
        evaluate_forecasts(SCENE, PROTOCOLS[name]),
        matched=5, false_positives=4,  # as VAD's, and the one 2 m away
        ground_truth=7, hits=3, misses=1,  # hits at 0, 30 and 20 m; missed at 10 m
        epa=(3 - 0.5 * 4) / 7,
        # Errors are those of the detections' matches: at 0 m the wrong one's.
        ade=(3 / 3 + 3.5 / 2 + 1 + 0) / 4, fde=(3 + 2.5 + 1 + 0) / 4,
        miss_rate=2 / 4,  # worst known times: 3, 2.5, 1, 0 m
    )  # fmt: skip


@pytest.mark.parametrize(
    ('name', 'times', 'expected'),
    [
        *((name, '111', dict(hits=1, epa=1, ade=1, miss_rate=0)) for name in ('vip3d', 'vad')),
        *((name, '111', dict(hits=1, epa=1, ade=1, miss_rate=1)) for name in UNIADS),
        *((name, '110', dict(hits=0, epa=NONE, ade=1.5, fde=NONE)) for name in ('vip3d', 'vad')),
        *((name, '110', dict(hits=1, epa=1, ade=1.5, fde=1, miss_rate=1)) for name in UNIADS),
        ('vip3d', '011', dict(hits=1, epa=1, ade=1.5, fde=0, miss_rate=0)),
        ('vad', '011', dict(hits=0, epa=NONE, ade=1.5, fde=NONE, miss_rate=NONE)),
        *((name, '011', dict(hits=1, epa=1, ade=1.5, fde=0, miss_rate=1)) for name in UNIADS),
        *((name, '101', dict(hits=1, ade=0, fde=0, miss_rate=0)) for name in ('vip3d', *UNIADS)),
        *((name, '000', dict(hits=0, epa=0, ade=NONE, fde=NONE)) for name in UNIADS),
    ],
)
def test_the_best_of_two_modes(name, times, expected):
    """The first mode is best on average and at the end, the second at the second time."""
    frame = frame_of({0: times}, [(0, 0.9, 0, (0, 3, 0), (3, 1, 9))])
    assert_counts(evaluate_forecasts([frame], PROTOCOLS[name]), **expected)


@pytest.mark.parametrize('name', UNIADS)
def test_ties(name):
    """Of equal scores the later detection chooses first, of equal distances the first object."""
    objects = {0: '111', 1.5: '111'}
    frame = frame_of(objects, [(0.5, 0.8, 0, (0, 0, 0)), (0.4, 0.8, 1, (0, 0, 0))])
    found = evaluate_forecasts([frame], PROTOCOLS[name])
    assert_counts(found, matched=2, fde=(1 + 1.5) / 2)
    middle = frame_of({0: '111', 2: '111'}, [(1, 0.8, 0, (0, 0, 0))])
    assert_counts(evaluate_forecasts([middle], PROTOCOLS[name]), matched=1, fde=0)


def test_a_wrong_forecast_leaves_its_object_and_does_not_take_the_next():
    """The second detection hits the near object, though it is matched to the far one."""
    frame = frame_of({0: '111', 1.5: '111'}, [(0, 0.9, 9, (0, 0, 0)), (0.2, 0.8, 0, (0, 0, 0))])
    for name in UNIADS:
        found = evaluate_forecasts([frame], PROTOCOLS[name])
        assert_counts(found, matched=2, false_positives=0, hits=1, misses=1, epa=0.5)


def uniad_by_loops(frames: list[ForecastFrame]) -> tuple[int, int, int]:
    """Hits, false positives and objects, one detection at a time."""

    def taken_by(frame: ForecastFrame, looks_at_forecasts: bool) -> int:
        free = set(range(len(frame.gt_centers)))
        for i in sorted(range(len(frame.scores)), key=lambda i: (-frame.scores[i], -i)):
            if not free:
                break
            away = {j: np.hypot(*(frame.centers[i] - frame.gt_centers[j])) for j in sorted(free)}
            j = min(away, key=away.get)
            known = [t for t, valid in enumerate(frame.gt_valid[j]) if valid]
            if away[j] >= 2.0 or looks_at_forecasts and not known:
                continue
            if looks_at_forecasts:
                off = frame.trajectories[i][:, known[-1]] - frame.gt_trajectories[j][known[-1]]
                if min(np.hypot(*mode) for mode in off) >= 2.0:
                    continue
            free.remove(j)
        return len(frame.gt_centers) - len(free)

    hits = sum(map(partial(taken_by, looks_at_forecasts=True), frames))
    found = sum(map(partial(taken_by, looks_at_forecasts=False), frames))
    return hits, sum(len(f.centers) for f in frames) - found, sum(len(f.gt_valid) for f in frames)


def crowded(seed: int) -> ForecastFrame:
    """Two rounded scores for many detections of few objects within 10 m, some of no known time."""
    rng = np.random.default_rng(seed)
    frame = random_forecast(rng)
    double = np.tile(np.arange(len(frame.centers)), 2)
    frame = replace(
        frame,
        centers=frame.centers[double] / 4 + rng.normal(0, 0.5, (len(double), 2)),
        trajectories=frame.trajectories[double] / 4 + rng.normal(0, 1, (len(double), 1, 1, 2)),
        gt_centers=frame.gt_centers / 4,
        gt_trajectories=frame.gt_trajectories / 4,
        mode_scores=None,
        scores=rng.random(len(double)).round(1),
    )
    frame.gt_valid[:2] = False
    return frame


def test_uniad_against_loops():
    frames = [crowded(seed) for seed in range(20)]
    hits, false_positives, objects = uniad_by_loops(frames)
    assert 0 < hits < objects and false_positives
    for name in UNIADS:
        assert_counts(
            evaluate_forecasts(frames, PROTOCOLS[name]),
            hits=hits, false_positives=false_positives, ground_truth=objects,
            epa=(hits - 0.5 * false_positives) / objects,
        )  # fmt: skip


@pytest.mark.parametrize('name', PROTOCOLS)
def test_perfect_forecasts_reach_the_highest_value(name):
    """All that can be hit is; other forecasts of the same detections get no more."""
    frames = [crowded(seed) for seed in range(5)]
    perfect = [
        replace(
            f, centers=f.gt_centers, trajectories=f.gt_trajectories[:, None],
            scores=np.ones(len(f.gt_centers)),
        )
        for f in frames
    ]  # fmt: skip
    found = evaluate_forecasts(perfect, PROTOCOLS[name])
    unknown = sum(int((~f.gt_valid.any(axis=1)).sum()) for f in frames) if name in UNIADS else 0
    assert unknown or name not in UNIADS
    best = 1 - unknown / found.ground_truth
    assert_counts(found, ade=0, fde=0, miss_rate=0, misses=0, false_positives=0, epa=best)
    rng = np.random.default_rng(0)
    for scale in (0.5, 2.0, 8.0):
        other = [
            replace(f, trajectories=f.trajectories + rng.normal(0, scale, f.trajectories.shape))
            for f in perfect
        ]
        assert evaluate_forecasts(other, PROTOCOLS[name]).epa <= best


def test_the_two_average_precisions_of_dair_v2x_by_hand():
    """Two cars of 4 x 2 m; the second has one end in the range.

    The first is found twice: at 0.9 with an IoU of 3/5, shifted by a quarter of its length, and at
    0.4 exactly. A third detection, at 0.6, is of nothing. OpenCOOD lets the confident one take the
    car: of one object one hit in the first place, AP 1. DAIR-V2X lets the car take the exact one,
    the last of three: precision 1/3; and the second car, never found, counts, so that AP is 1/6.
    """
    truth = [[20.0, 0, -1, 4, 2, 1.5, 0], [99.0, 10, -1, 4, 2, 1.5, 0]]
    found = [[21.0, 0, -1, 4, 2, 1.5, 0], [20.0, 0, -1, 4, 2, 1.5, 0], [50.0, 5, -1, 4, 2, 1.5, 0]]
    sample = dict(
        gt_instances_3d=dict(
            bboxes_3d=LiDARInstance3DBoxes(torch.tensor(truth)), labels_3d=torch.zeros(2).long()
        ),
        pred_instances_3d=dict(
            bboxes_3d=LiDARInstance3DBoxes(torch.tensor(found)),
            scores_3d=torch.tensor([0.9, 0.4, 0.6]),
            labels_3d=torch.zeros(3).long(),
        ),
    )
    metric = CooperativeMetric(
        ['vehicle'],
        iou_thresholds=(0.5, 0.7),
        eval_range=(0, -39.68, 100, 39.68),
        z_range=(-3, 1),
        min_corners=1,
        detection_protocols=('dair', 'coalign'),
    )
    metric.process(None, [sample])
    found = metric.compute_metrics(metric.results)
    expected = {
        'AP_coalign@0.5/vehicle': 100.0,
        'AP_dair@0.5/vehicle': 100 / 6,
        'mAP_dair@0.5': 100 / 6,
        # At 0.7 the exact one is the only hit of either, the last of three.
        'AP_coalign@0.7/vehicle': 100 / 3,
        'AP_dair@0.7/vehicle': 100 / 6,
    }
    for name, value in expected.items():
        assert found[name] == pytest.approx(value), name
    assert found['AP_coalign@0.5/vehicle'] == found['AP@0.5/vehicle']
    with pytest.raises(SettingError, match='detection_protocols'):
        CooperativeMetric(['vehicle'], detection_protocols=('kitti',))


def test_a_box_counts_for_dair_v2x_with_any_corner_in_the_range():
    region = Region(np.array([0.0, -10, 20, 10]), np.array([-3.0, 1.0]), 1, any_corner=True)
    boxes = np.array([
        [10.0, 0, 4, 2, 0.3],  # inside
        [-1.9, 0, 4, 2, 0.0],  # one end inside
        [-2.1, 0, 4, 2, 0.0],  # outside
        [21.0, 11.0, 4, 2, 0.0],  # its corner inside alone
        [10.0, 0.0, 60, 40, 0.0],  # all round the range, and no corner inside
        [10.0, 0, 4, 2, 0.3],  # too high
    ])  # fmt: skip
    boxes[3, :2] = 21.9, 10.9
    heights = np.array([[-1.0, 0.5]] * 5 + [[1.1, 2.0]])
    assert region.holds(boxes, heights).tolist() == [True, True, False, True, False, False]
