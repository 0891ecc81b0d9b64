"""The dataset of the V2XPnP family: one ego at one time, with the agents it hears."""

import os
from typing import Any

import numpy as np
from mmdet3d.registry import DATASETS
from mmengine.dataset import BaseDataset

from ..structures import (
    INFRASTRUCTURE,
    VEHICLE,
    Agents,
    boxes_from_world,
    invert_rigid,
    transform_points,
)
from .class_maps import resolve_class_map
from .infos import load_infos

__all__ = ['V2XPnPDataset']

_CORRIDOR_PREFIX = '2023-04-07'
_MAP_FILES = dict(
    corridor='v2v_corridors_vector_map.pkl', intersection='v2x_intersection_vector_map.pkl'
)
# Collaboration mode -> (kind of the ego, kinds of the others).
_MODES = dict(
    vc=(VEHICLE, (VEHICLE, INFRASTRUCTURE)),
    ic=(INFRASTRUCTURE, (INFRASTRUCTURE, VEHICLE)),
    v2v=(VEHICLE, (VEHICLE,)),
    i2i=(INFRASTRUCTURE, (INFRASTRUCTURE,)),
)


@DATASETS.register_module()
class V2XPnPDataset(BaseDataset):
    """V2XPnP-Seq, and whatever else lies on disk in its format.

    A sample is one ego at one time with the agents within communication range of it, over
    ``num_history`` past frames and the current one. Its grid of agents x frames is always full:
    what is missing is marked invalid. ``results`` as the pipeline gets them hold ``agents``
    (:class:`Agents`), ``cloud_paths`` (N*T paths, ``''`` where invalid), ``gt_bboxes_3d`` (M, 7) as
    an array in the ego's frame, ``gt_labels_3d``, ``gt_track_ids`` (M,),
    ``gt_future_trajectories`` (M, F, 2) and ``gt_history_trajectories`` (M, T, 2) in the ego's
    current frame, metres, with ``gt_future_valid`` and ``gt_history_valid``; and ``rng``, a
    generator seeded by the dataset's seed, the epoch and the sample alone, so that random
    transforms draw the same with any number of workers.

    Args:
        ann_file: info file, relative to ``data_root``.
        data_root: root of the dataset.
        class_map: name of a map in ``class_maps.py``, or class name -> raw class names.
        mode: ``vc`` (a vehicle is the ego, all co-operate), ``ic`` (a roadside unit is the ego),
            ``v2v`` (vehicles only) or ``i2i`` (roadside units only).
        ego: ``first`` takes the first agent of the mode's order as the ego (as V2X-Real does at
            test), ``every`` makes a sample of each agent of the ego's kind (our choice to train).
        comm_range: agents further away than this (m, in the plane, now) are not heard, and
            neither are their labels.
        max_agents: at most this many agents, the ego included.
        num_history: past frames.
        num_future: future positions.
        frame_interval: recorded frames from one step to the next; 5 of 10 Hz are 0.5 s.
        frame_rate: recorded frames per second.
        drop_corridors: leave out the vehicle-to-vehicle corridor scenarios, as V2X-Real does at
            test in every mode but ``v2v``.
        seed: seeds the samples' generators.
    """

    def __init__(
        self,
        ann_file: str,
        data_root: str,
        class_map: str | dict[str, list[str]] = 'v2xreal3',
        mode: str = 'vc',
        ego: str = 'first',
        comm_range: float = 50.0,
        max_agents: int = 4,
        num_history: int = 4,
        num_future: int = 6,
        frame_interval: int = 5,
        frame_rate: float = 10.0,
        drop_corridors: bool = False,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        if mode not in _MODES:
            raise ValueError(f'mode {mode!r} is unknown; known: {sorted(_MODES)}')
        if ego not in ('first', 'every'):
            raise ValueError(f"ego must be 'first' or 'every', got {ego!r}")
        self.mode, self.ego = mode, ego
        self.comm_range, self.max_agents = comm_range, max_agents
        self.past = np.arange(-num_history, 1) * frame_interval
        self.future = np.arange(1, num_future + 1) * frame_interval
        self.frame_rate = frame_rate
        self.drop_corridors = drop_corridors
        self.seed = seed
        self._class_map = resolve_class_map(class_map)
        super().__init__(
            ann_file=ann_file,
            data_root=data_root,
            metainfo=dict(classes=tuple(self._class_map)),
            **kwargs,
        )

    def load_data_list(self) -> list[dict]:
        """One entry per sample: the row of its ego in the info file."""
        if not os.path.isdir(self.data_root):
            raise FileNotFoundError(
                f"data_root {self.data_root!r} is not a folder. 'python tools/simulate.py --out "
                f"{self.data_root}' makes a simulated set there; data/README.md says where the "
                f"recorded one comes from. Then 'python tools/create_data.py v2xpnp --root-path "
                f"{self.data_root}' makes the info files."
            )
        self.infos = load_infos(self.ann_file)
        label_of = {raw: i for i, raws in enumerate(self._class_map.values()) for raw in raws}
        self._labels = np.array([label_of.get(str(n), -1) for n in self.infos.class_names] + [-1])

        infos, egos = self.infos, []
        for scenario, name in enumerate(infos.scenarios):
            if self.drop_corridors and name.startswith(_CORRIDOR_PREFIX):
                continue
            rows = np.flatnonzero((infos.scenario == scenario) & (infos.cloud != ''))
            agents = self._in_mode_order(np.unique(infos.agent[rows]))
            agents = [a for a in agents if _kind(a) == _MODES[self.mode][0]]
            for agent in agents if self.ego == 'every' else agents[:1]:
                egos.append(rows[infos.agent[rows] == agent])
        if not egos:
            raise ValueError(
                f'{self.ann_file}: no scenario has an agent that can be the ego in mode '
                f'{self.mode!r}'
            )
        return [dict(row=int(row)) for row in np.concatenate(egos)]

    def _in_mode_order(self, agents: np.ndarray) -> list[int]:
        kinds = _MODES[self.mode][1]
        agents = [int(a) for a in agents if _kind(a) in kinds]
        return sorted(agents, key=lambda a: (kinds.index(_kind(a)), abs(a)))

    def prepare_data(self, idx: int) -> Any:
        """Run the pipeline on a sample; ``idx`` may carry the epoch (see ``EpochIndexSampler``)."""
        epoch, index = divmod(idx, len(self))
        results = self.get_data_info(index)
        results['rng'] = np.random.default_rng([self.seed, epoch, index])
        return self.pipeline(results)

    def get_data_info(self, idx: int) -> dict:
        """Everything the annotations say of one sample, in the ego's frame."""
        results = super().get_data_info(idx)
        infos, row = self.infos, results['row']
        scenario, frame = int(infos.scenario[row]), int(infos.frame[row])
        world_from_ego = infos.world_from_agent[row]
        ego_from_world = invert_rigid(world_from_ego)

        rows = self._agent_rows(row)
        valid = (rows >= 0) & (infos.cloud[rows] != '')
        ego_from_agent = np.where(
            valid[..., None, None], ego_from_world @ infos.world_from_agent[rows], np.eye(4)
        )
        ids = infos.agent[rows[:, -1]].astype(np.int64)
        results['agents'] = Agents(
            ids=ids,
            kinds=np.where(ids < 0, INFRASTRUCTURE, VEHICLE),
            time_offsets=(self.past / self.frame_rate).astype(np.float32),
            ego_from_agent=ego_from_agent,
            valid=valid,
        )
        results['cloud_paths'] = [
            os.path.join(self.data_root, path) if ok else ''
            for path, ok in zip(infos.cloud[rows].ravel(), valid.ravel(), strict=True)
        ]
        name = str(infos.scenarios[scenario])
        site = 'corridor' if name.startswith(_CORRIDOR_PREFIX) else 'intersection'
        results.update(
            scenario=name,
            frame=frame,
            world_from_ego=world_from_ego,
            map_path=os.path.join(self.data_root, 'map', _MAP_FILES[site]),
        )
        results.update(self._objects(scenario, frame, rows[:, -1], world_from_ego))
        return results

    def _agent_rows(self, ego_row: int) -> np.ndarray:
        """(N, T) rows of the agents that are heard, the ego first; -1 where there is none."""
        infos = self.infos
        scenario, frame = infos.scenario[ego_row], infos.frame[ego_row]
        now = np.flatnonzero((infos.scenario == scenario) & (infos.frame == frame))
        offset = infos.world_from_agent[now, :2, 3] - infos.world_from_agent[ego_row, :2, 3]
        heard = infos.agent[now][np.hypot(*offset.T) <= self.comm_range]
        ego = int(infos.agent[ego_row])
        agents = [ego] + [a for a in self._in_mode_order(heard) if a != ego]
        return infos.rows(scenario, np.array(agents[: self.max_agents]), frame + self.past)

    def _objects(
        self, scenario: int, frame: int, rows: np.ndarray, world_from_ego: np.ndarray
    ) -> dict[str, np.ndarray]:
        """Ground truth: the union of the agents' labels, where the first agent's label wins."""
        infos = self.infos
        spans = [np.arange(*infos.object_begin[row : row + 2]) for row in rows]
        seen = np.concatenate(spans)
        seen = seen[self._labels[infos.object_class[seen]] >= 0]
        _, first = np.unique(infos.object_id[seen], return_index=True)
        seen = seen[np.sort(first)]

        ids = infos.object_id[seen]
        ego_from_world = invert_rigid(world_from_ego)
        found = dict(
            gt_bboxes_3d=boxes_from_world(
                infos.object_centre[seen],
                infos.object_angle[seen],
                infos.object_extent[seen],
                world_from_ego,
            ),
            gt_labels_3d=self._labels[infos.object_class[seen]],
            gt_track_ids=ids,
        )
        for name, steps in (('history', self.past), ('future', self.future)):
            positions, known = infos.track(scenario, ids, frame + steps)
            in_ego = transform_points(ego_from_world, positions)[..., :2]
            found[f'gt_{name}_trajectories'] = np.where(known[..., None], in_ego, 0.0)
            found[f'gt_{name}_valid'] = known
        return found


def _kind(agent: int) -> int:
    return INFRASTRUCTURE if agent < 0 else VEHICLE
