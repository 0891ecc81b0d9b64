"""Ways of masking, and agents whose clouds are masked."""

import numpy as np

from turbotrain.structures import Agents, pose_to_matrix

CELLS = dict(type='BEVCellMasking', ratio=0.6)
NOW = dict(type='BEVCellCoMasking', ratio=0.6, frames='current')
STRATEGIES = {
    'independent': CELLS,
    'co-masking': dict(type='BEVCellCoMasking', ratio=0.6, cell_size=1.3),
    'co-masking, now': NOW,
}


def records(*sizes: int, frames: int = 3, in_ego: bool = True, seed: int = 0) -> list[Agents]:
    rng = np.random.default_rng(seed)
    made = []
    for n in sizes:
        poses = rng.uniform([-3, -2, -0.2, 0, -180, 0], [3, 2, 0.2, 0, 180, 0], (n, frames, 6))
        poses[0, -1] = 0
        made.append(
            Agents(
                ids=np.arange(n), kinds=np.zeros(n, dtype=np.int64),
                time_offsets=np.arange(1 - frames, 1, dtype=np.float32) / 2,
                ego_from_agent=pose_to_matrix(poses), valid=np.ones((n, frames), dtype=bool),
                speeds=np.zeros(n, dtype=np.float32), delays=np.zeros(n, dtype=np.float32),
                points_in_ego=in_ego,
            )
        )  # fmt: skip
    return made
