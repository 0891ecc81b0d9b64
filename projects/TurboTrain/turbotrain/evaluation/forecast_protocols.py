"""In what the published definitions of end-to-end forecasting metrics differ."""

from dataclasses import dataclass

from ..errors import SettingError

__all__ = ['PROTOCOLS', 'ForecastProtocol']


@dataclass(frozen=True)
class ForecastProtocol:
    """What counts as found, as a hit and as an object that had to be found.

    Attributes:
        matching: ``assignment`` of least total distance between centres; or ``greedy``:
            detections by falling score each take the nearest free object. Hits of ``greedy`` are
            matched anew in the same way, but for this: a detection whose forecast of that object
            is wrong takes none and leaves it to the following ones.
        match_radius: metres between the centres of a match, at most; ``greedy`` asks for less.
        miss_threshold: a final error above it is a miss, metres.
        strict: an error of exactly ``miss_threshold`` is no hit.
        miss_at: what MR looks at: the ``final`` error, or the ``worst`` one at all known times.
        score_threshold: detections that do not score above it are left out; 0 keeps all.
        counted: which objects EPA is a share of, and at which time a final error is taken. An
            object without a final error can't be hit or missed.

            * ``final``: those whose last position is known; there.
            * ``all``: those whose positions are all known; at the last.
            * ``every``: all objects; at the last position that is known.
        false_positive_weight: what a false positive costs in EPA, in hits.
        at_least_zero: whether a negative EPA is 0.
        skip_empty_frames: whether detections are no false positives where nothing was there.
    """

    matching: str = 'assignment'
    match_radius: float = 2.0
    miss_threshold: float = 2.0
    strict: bool = False
    miss_at: str = 'final'
    score_threshold: float = 0.0
    counted: str = 'final'
    false_positive_weight: float = 0.5
    at_least_zero: bool = True
    skip_empty_frames: bool = True

    def __post_init__(self) -> None:
        """Check the words."""
        for name, known in (
            ('matching', ('assignment', 'greedy')),
            ('miss_at', ('final', 'worst')),
            ('counted', ('final', 'all', 'every')),
        ):
            if getattr(self, name) not in known:
                raise SettingError(f'{name} must be one of {known}, got {getattr(self, name)!r}')


_UNIAD = ForecastProtocol(
    matching='greedy',
    strict=True,
    miss_at='worst',
    counted='every',
    at_least_zero=False,
    skip_empty_frames=False,
)

PROTOCOLS = dict(
    # tools/prediction_eval.py; V2XPnP's own is not public, and this is what its EPA is cited to.
    vip3d=ForecastProtocol(),
    # projects/mmdet3d_plugin/VAD/VAD.py, assign_pred_to_gt_vip3d and compute_motion_metric_vip3d
    vad=ForecastProtocol(
        score_threshold=0.6, counted='all', at_least_zero=False, skip_empty_frames=False
    ),
    # datasets/eval_utils/nuscenes_eval_motion.py, evaluate_epa; eval_utils.py; metric_utils.py
    uniad=_UNIAD,
    univ2x=_UNIAD,  # has the same functions
)
"""By the name of the paper, as their published code has it.

Our choices: a class is evaluated by its own detections alone (VAD matches across classes); EPA of
pooled classes exists for all; a gap in a future keeps its time (UniAD's lists close up over it);
ADE, FDE and MR are plain means (UniAD's go over recall, and count 0 for an object of unknown
future); and UniAD's EPA has no 1e-5 in its denominator, nor is it 0 where nothing was matched.
"""
