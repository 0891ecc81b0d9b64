"""In what the published definitions of end-to-end forecasting metrics differ."""

from dataclasses import dataclass

from ..errors import SettingError

__all__ = ['PROTOCOLS', 'ForecastProtocol']


@dataclass(frozen=True)
class ForecastProtocol:
    """What counts as found, as a hit and as an object that had to be found.

    Attributes:
        matching: ``assignment`` of least total distance between centres, or ``greedy``: detections
            by falling score each take the nearest free object.
        match_radius: largest distance between the centres of a match, metres.
        miss_threshold: a final error above it is a miss, metres.
        strict: an error of exactly ``miss_threshold`` is a miss, too.
        miss_at: what MR looks at: the ``final`` time, or the ``worst`` of all valid ones.
        score_threshold: detections that score lower are left out.
        counted: which objects EPA is a share of: with a valid ``final`` time, with ``all`` times
            valid, or ``every`` one.
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
    # projects/mmdet3d_plugin/VAD/VAD.py
    vad=ForecastProtocol(
        score_threshold=0.6, counted='all', at_least_zero=False, skip_empty_frames=False
    ),
    # datasets/eval_utils/nuscenes_eval_motion.py
    uniad=_UNIAD,
    univ2x=_UNIAD,  # as UniAD
)
"""By the name of the paper. From descriptions of their code; where these are silent, as ViP3D."""
