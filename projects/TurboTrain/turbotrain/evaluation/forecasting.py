"""Forecasting metrics that start from detections, as pure functions.

The definition is ViP3D's (``tools/prediction_eval.py``, from its description; it goes back to PIP):
in every frame, predicted and ground-truth objects are matched by the distance of their centres, and

* ADE and FDE are the mean and the final distance between the matched objects' future positions;
* MR is the share of matched objects whose final distance exceeds the miss threshold;
* EPA, the end-to-end prediction accuracy, is ``(hits - weight * false positives) / ground truth``,
  at least 0, where a hit is a match that isn't a miss, and a false positive is a prediction
  without a match, whatever its score.

Of several forecast modes the best counts, for the average and for the final distance apart.
Positions are absolute, in metres, in one frame per sample (the ego's).
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import linear_sum_assignment

__all__ = [
    'ForecastFrame',
    'ForecastMetrics',
    'displacement_errors',
    'evaluate_forecasts',
    'match_centers',
    'standing_still',
]

_OUT_OF_REACH = 1e4
"""Cost of a pair beyond the match radius, in metres (ViP3D's value)."""


@dataclass(frozen=True)
class ForecastFrame:
    """What was forecast in one frame, and what happened.

    Attributes:
        centers: (P, 2) where predicted objects are now, metres.
        trajectories: (P, K, F, 2) where they are forecast to be at F future times, in K modes.
        gt_centers: (G, 2) where objects are now.
        gt_trajectories: (G, F, 2) where they will be; values that aren't valid are ignored.
        gt_valid: (G, F) bool, where that is known.
    """

    centers: np.ndarray
    trajectories: np.ndarray
    gt_centers: np.ndarray
    gt_trajectories: np.ndarray
    gt_valid: np.ndarray


@dataclass(frozen=True)
class ForecastMetrics:
    """The metrics, and the counts that they were made from.

    Attributes:
        ade: mean over matched objects of the mean distance over valid times, metres.
        fde: mean over matched objects with a valid final time of the final distance, metres.
        miss_rate: share of the same objects whose final distance exceeds the threshold, in [0, 1].
        epa: end-to-end prediction accuracy, in [0, 1].
        matched: number of matched predictions.
        hits: number of matches whose final distance is valid and within the threshold.
        false_positives: number of predictions without a match.
        ground_truth: number of ground-truth objects with a valid final time.

    A metric that nothing defines (no match, no ground truth) is NaN.
    """

    ade: float
    fde: float
    miss_rate: float
    epa: float
    matched: int
    hits: int
    false_positives: int
    ground_truth: int


def match_centers(
    centers: np.ndarray, gt_centers: np.ndarray, radius: float
) -> tuple[np.ndarray, np.ndarray]:
    """Assign predictions to ground truth so that the sum of distances is least.

    Args:
        centers: (P, 2) metres.
        gt_centers: (G, 2) metres.
        radius: pairs further apart than this, in metres, do not match.

    Returns:
        Two arrays (N,): the rows of the matched predictions and of their ground truth.
    """
    distance = np.linalg.norm(centers[:, None] - gt_centers, axis=-1)
    row, gt_row = linear_sum_assignment(np.where(distance > radius, _OUT_OF_REACH, distance))
    keep = distance[row, gt_row] <= radius
    return row[keep], gt_row[keep]


def displacement_errors(
    trajectories: np.ndarray, gt_trajectories: np.ndarray, valid: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Average and final distance of forecasts, each of the mode that is best in it.

    Args:
        trajectories: (N, K, F, 2) forecast positions, metres.
        gt_trajectories: (N, F, 2) true positions.
        valid: (N, F) bool.

    Returns:
        (N,) average distances, NaN without any valid time; (N,) final distances, NaN without a
        valid final time. Metres.
    """
    distance = np.linalg.norm(trajectories - gt_trajectories[:, None], axis=-1)
    distance = np.where(valid[:, None], distance, 0.0)
    num_valid = valid.sum(axis=-1)
    average = distance.sum(axis=-1).min(axis=-1) / np.maximum(num_valid, 1)
    final = distance[..., -1].min(axis=-1)
    return np.where(num_valid > 0, average, np.nan), np.where(valid[:, -1], final, np.nan)


def evaluate_forecasts(
    frames: Iterable[ForecastFrame],
    match_radius: float = 2.0,
    miss_threshold: float = 2.0,
    false_positive_weight: float = 0.5,
) -> ForecastMetrics:
    """Sum up the frames as ViP3D does; the defaults are its constants.

    Frames without any ground truth are skipped: what is predicted there is no false positive. A
    prediction matched to an object whose final position is unknown is neither hit nor false
    positive.

    Args:
        frames: the frames, in any order.
        match_radius: largest distance between the centres of a match, metres.
        miss_threshold: a final distance above this is a miss, metres.
        false_positive_weight: what a false positive costs, in hits.

    Returns:
        The metrics of all frames together.
    """
    average, final = [np.zeros(0)], [np.zeros(0)]
    num_predictions = num_ground_truth = 0
    for frame in frames:
        if len(frame.gt_centers) == 0:
            continue
        row, gt_row = match_centers(frame.centers, frame.gt_centers, match_radius)
        errors = displacement_errors(
            frame.trajectories[row], frame.gt_trajectories[gt_row], frame.gt_valid[gt_row]
        )
        average.append(errors[0])
        final.append(errors[1])
        num_predictions += len(frame.centers)
        num_ground_truth += int(frame.gt_valid[:, -1].sum())
    ade, fde = np.concatenate(average), np.concatenate(final)
    matched = len(ade)
    ade, fde = ade[~np.isnan(ade)], fde[~np.isnan(fde)]
    hits = int((fde <= miss_threshold).sum())
    false_positives = num_predictions - matched
    score = hits - false_positive_weight * false_positives
    return ForecastMetrics(
        ade=_mean(ade),
        fde=_mean(fde),
        miss_rate=_mean(fde > miss_threshold),
        epa=max(score / num_ground_truth, 0.0) if num_ground_truth else float('nan'),
        matched=matched,
        hits=hits,
        false_positives=false_positives,
        ground_truth=num_ground_truth,
    )


def standing_still(frame: ForecastFrame) -> ForecastFrame:
    """The same detections with the forecast that none of them moves: the baseline of EPA."""
    num_steps = frame.gt_trajectories.shape[1]
    still = np.repeat(frame.centers[:, None, None], num_steps, axis=2)
    return replace(frame, trajectories=still)


def _mean(values: np.ndarray) -> float:
    """Mean of values (N,), NaN of none."""
    return float(values.mean()) if len(values) else float('nan')
