"""Forecasting metrics that start from detections, as pure functions.

In every frame, predicted and ground-truth objects are matched by the distance of their centres, and

* ADE and FDE are the mean and the final distance between the matched objects' future positions;
* MR is the share of matched objects whose final distance exceeds the miss threshold;
* EPA, the end-to-end prediction accuracy, is ``(hits - weight * false positives) / ground truth``,
  where a hit is a match that isn't a miss, and a false positive is a prediction without a match.

The definition goes back to PIP and ViP3D, the default here; VAD, UniAD and UniV2X changed it, and
differ in where a future that is known in part ends, see :mod:`.forecast_protocols`.

Of several forecast modes the best counts, for the average and for the final distance apart: over K
modes these are minADE and minFDE. Positions are absolute, in metres, in one frame per sample (the
ego's).
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from .center_matching import match_centers, match_greedily
from .forecast_protocols import PROTOCOLS, ForecastProtocol

__all__ = [
    'ForecastFrame',
    'ForecastMetrics',
    'brier_final_errors',
    'displacement_errors',
    'evaluate_forecasts',
    'final_times',
    'likeliest_mode',
    'needed',
    'worst_errors',
]


@dataclass(frozen=True)
class ForecastFrame:
    """What was forecast in one frame, and what happened.

    Attributes:
        centers: (P, 2) where predicted objects are now, metres.
        trajectories: (P, K, F, 2) where they are forecast to be at F future times, in K modes.
        gt_centers: (G, 2) where objects are now.
        gt_trajectories: (G, F, 2) where they will be; values that aren't valid are ignored.
        gt_valid: (G, F) bool, where that is known.
        mode_scores: (P, K) probabilities of the modes; None where nobody needs them.
        scores: (P,) confidences of the detections; None where the protocol needs none.
        velocities: (P, 2) of the predicted objects, m/s; None if the model does not tell them.
        gt_velocities: (G, 2) of the objects, NaN where unknown; None if the data do not tell them.
    """

    centers: np.ndarray
    trajectories: np.ndarray
    gt_centers: np.ndarray
    gt_trajectories: np.ndarray
    gt_valid: np.ndarray
    mode_scores: np.ndarray | None = None
    scores: np.ndarray | None = None
    velocities: np.ndarray | None = None
    gt_velocities: np.ndarray | None = None

    def only(self, keep: np.ndarray, gt_keep: np.ndarray | None = None) -> 'ForecastFrame':
        """The same frame with some of its predictions and objects.

        Args:
            keep: (P,) bool, or rows of the predictions.
            gt_keep: (G,) bool, or rows of the objects; None keeps them all.
        """
        gt_rows = slice(None) if gt_keep is None else gt_keep
        return ForecastFrame(
            centers=self.centers[keep],
            trajectories=self.trajectories[keep],
            gt_centers=self.gt_centers[gt_rows],
            gt_trajectories=self.gt_trajectories[gt_rows],
            gt_valid=self.gt_valid[gt_rows],
            mode_scores=None if self.mode_scores is None else self.mode_scores[keep],
            scores=None if self.scores is None else self.scores[keep],
            velocities=None if self.velocities is None else self.velocities[keep],
            gt_velocities=None if self.gt_velocities is None else self.gt_velocities[gt_rows],
        )


@dataclass(frozen=True)
class ForecastMetrics:
    """The metrics, and the counts that they were made from.

    Attributes:
        ade: mean over matched objects of the mean distance over valid times, metres.
        fde: mean over matched objects with a final error of that error, metres.
        miss_rate: share of the same objects whose final error exceeds the threshold, in [0, 1];
            with ``miss_at='worst'``, of matched objects with a known time whose worst error does.
        brier_fde: mean over the same objects as ``fde`` of the final error with its Brier score,
            metres; NaN where frames have no ``mode_scores``.
        epa: end-to-end prediction accuracy, at most 1.
        matched: number of matched predictions.
        hits: number of objects that were found and forecast well, as the protocol defines it.
        misses: number of matched objects with a final error that are no hits.
        false_positives: number of predictions without a match.
        ground_truth: number of objects that EPA is a share of; those that are neither hit nor
            missed were not found, or nobody knows where they went.

    A metric that nothing defines (no match, no ground truth) is NaN.
    """

    ade: float
    fde: float
    miss_rate: float
    brier_fde: float
    epa: float
    matched: int
    hits: int
    misses: int
    false_positives: int
    ground_truth: int


def needed(values: np.ndarray | None, field: str) -> np.ndarray:
    """The values of an optional field of :class:`ForecastFrame`.

    Raises:
        ValueError: the frame has none.
    """
    if values is None:
        raise ValueError(f'ForecastFrame.{field}: expected an array, got None; set it')
    return values


def final_times(valid: np.ndarray, counted: str) -> np.ndarray:
    """At which time the final error of a future is taken.

    Args:
        valid: (N, F) bool, which of its times are known.
        counted: see :class:`~.forecast_protocols.ForecastProtocol`.

    Returns:
        (N,) index of the time, -1 where there is none.
    """
    last = valid.shape[1] - 1
    if counted == 'every':
        return np.where(valid.any(axis=1), last - valid[:, ::-1].argmax(axis=1), -1)
    return np.where(valid.all(axis=1) if counted == 'all' else valid[:, -1], last, -1)


def displacement_errors(
    trajectories: np.ndarray, gt_trajectories: np.ndarray, valid: np.ndarray, final: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    r"""Average and final distance of forecasts, each of the mode that is best in it.

    .. math:: \mathrm{minADE} = \min_k \frac{1}{|V|} \sum_{t \in V} \lVert y_{kt} - \hat y_t \rVert,
              \qquad \mathrm{minFDE} = \min_k \lVert y_{kT} - \hat y_T \rVert

    with V the valid times and T the final one. With one mode they are ADE and FDE.

    Args:
        trajectories: (N, K, F, 2) forecast positions, metres.
        gt_trajectories: (N, F, 2) true positions.
        valid: (N, F) bool.
        final: (N,) the final time of each, -1 for none; see :func:`final_times`.

    Returns:
        (N,) average distances, NaN without any valid time; (N,) final distances, NaN without a
        final time. Metres.
    """
    distance = np.linalg.norm(trajectories - gt_trajectories[:, None], axis=-1)
    distance = np.where(valid[:, None], distance, 0.0)
    num_valid = valid.sum(axis=-1)
    average = distance.sum(axis=-1).min(axis=-1) / np.maximum(num_valid, 1)
    at_end = distance[np.arange(len(final)), :, final].min(axis=-1)
    return np.where(num_valid > 0, average, np.nan), np.where(final >= 0, at_end, np.nan)


def brier_final_errors(
    trajectories: np.ndarray,
    mode_scores: np.ndarray,
    gt_trajectories: np.ndarray,
    final: np.ndarray,
) -> np.ndarray:
    r"""Final distance of the best mode, plus what it costs to have thought it unlikely.

    .. math:: \mathrm{brier\text{-}minFDE} = \lVert y_{k^* T} - \hat y_T \rVert + (1 - p_{k^*})^2,
              \qquad k^* = \arg\min_k \lVert y_{kT} - \hat y_T \rVert

    Source: Argoverse 2 (Wilson et al., NeurIPS 2021 datasets track).

    Args:
        trajectories: (N, K, F, 2) forecast positions, metres.
        mode_scores: (N, K) their probabilities p.
        gt_trajectories: (N, F, 2) true positions.
        final: (N,) the final time of each, -1 for none; see :func:`final_times`.

    Returns:
        (N,), NaN without a final time.
    """
    rows = np.arange(len(final))
    truth = gt_trajectories[rows, final]
    distance = np.linalg.norm(trajectories[rows, :, final] - truth[:, None], axis=-1)
    # What is not valid may be NaN.
    best = np.where(final[:, None] >= 0, distance, 0.0).argmin(axis=1)
    score = distance[rows, best] + (1.0 - mode_scores[rows, best]) ** 2
    return np.where(final >= 0, score, np.nan)


def worst_errors(
    trajectories: np.ndarray, gt_trajectories: np.ndarray, valid: np.ndarray
) -> np.ndarray:
    """(N,) largest distance over valid times of the mode where it is least; NaN without any.

    Args are the first three of :func:`displacement_errors`.
    """
    distance = np.linalg.norm(trajectories - gt_trajectories[:, None], axis=-1)
    worst = np.where(valid[:, None], distance, 0.0).max(axis=-1).min(axis=-1)
    return np.where(valid.any(axis=-1), worst, np.nan)


def evaluate_forecasts(
    frames: Iterable[ForecastFrame], protocol: ForecastProtocol = PROTOCOLS['vip3d']
) -> ForecastMetrics:
    """Sum up the frames.

    A prediction matched to an object without a final error is neither hit nor false positive.

    Args:
        frames: the frames, in any order; with ``scores`` if the protocol looks at them.
        protocol: whose definition.

    Returns:
        The metrics of all frames together.

    Raises:
        ValueError: the protocol looks at ``scores``, and a frame has none.
    """
    average, final, worst, brier = [np.zeros(0)], [np.zeros(0)], [np.zeros(0)], [np.zeros(0)]
    hits = num_predictions = num_ground_truth = 0
    for frame in frames:
        if protocol.skip_empty_frames and len(frame.gt_centers) == 0:
            continue
        if protocol.score_threshold > 0.0:
            frame = frame.only(needed(frame.scores, 'scores') > protocol.score_threshold)
        ends = final_times(frame.gt_valid, protocol.counted)
        row, gt_row = _match(frame, protocol)
        paths, truth = frame.trajectories[row], frame.gt_trajectories[gt_row]
        valid = frame.gt_valid[gt_row]
        errors = displacement_errors(paths, truth, valid, ends[gt_row])
        average.append(errors[0])
        final.append(errors[1])
        worst.append(worst_errors(paths, truth, valid))
        if frame.mode_scores is not None:
            brier.append(brier_final_errors(paths, frame.mode_scores[row], truth, ends[gt_row]))
        if protocol.matching == 'greedy':
            hits += len(_match(frame, protocol, _good_pairs(frame, ends, protocol))[0])
        else:
            hits += int(_is_hit(errors[1], protocol).sum())
        num_predictions += len(frame.centers)
        num_ground_truth += len(ends) if protocol.counted == 'every' else int((ends >= 0).sum())
    matched = sum(map(len, average))
    ade, fde, at_worst, with_score = (
        errors[~np.isnan(errors)] for errors in map(np.concatenate, (average, final, worst, brier))
    )
    false_positives = num_predictions - matched
    missed = (fde if protocol.miss_at == 'final' else at_worst) > protocol.miss_threshold
    epa = float('nan')
    if num_ground_truth:
        epa = (hits - protocol.false_positive_weight * false_positives) / num_ground_truth
    return ForecastMetrics(
        ade=_mean(ade),
        fde=_mean(fde),
        miss_rate=_mean(missed),
        brier_fde=_mean(with_score),
        # Not max(0, ...), which makes 0 of NaN.
        epa=0.0 if protocol.at_least_zero and epa < 0.0 else epa,
        matched=matched,
        hits=hits,
        misses=len(fde) - hits,
        false_positives=false_positives,
        ground_truth=num_ground_truth,
    )


def _match(
    frame: ForecastFrame, protocol: ForecastProtocol, allowed: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the matched predictions and of their objects."""
    if protocol.matching == 'assignment':
        return match_centers(frame.centers, frame.gt_centers, protocol.match_radius)
    scores = needed(frame.scores, 'scores')
    return match_greedily(frame.centers, scores, frame.gt_centers, protocol.match_radius, allowed)


def _good_pairs(frame: ForecastFrame, ends: np.ndarray, protocol: ForecastProtocol) -> np.ndarray:
    """(P, G) bool: whose forecasts would be hits of which objects, final at times ``ends`` (G,)."""
    truth = frame.gt_trajectories[np.arange(len(ends)), ends]
    errors = np.linalg.norm(frame.trajectories[:, :, ends] - truth, axis=-1).min(axis=1)
    return _is_hit(errors, protocol) & (ends >= 0)


def _is_hit(errors: np.ndarray, protocol: ForecastProtocol) -> np.ndarray:
    """Of final errors in metres; NaN is none."""
    limit = protocol.miss_threshold
    return errors < limit if protocol.strict else errors <= limit


def likeliest_mode(frame: ForecastFrame) -> ForecastFrame:
    """The same forecasts reduced to the mode with the highest score, as with one mode alone."""
    best = needed(frame.mode_scores, 'mode_scores').argmax(axis=1)[:, None, None, None]
    paths = np.take_along_axis(frame.trajectories, best, axis=1)
    return replace(frame, trajectories=paths, mode_scores=None)


def _mean(values: np.ndarray) -> float:
    """Mean of values (N,), NaN of none."""
    return float(values.mean()) if len(values) else float('nan')
