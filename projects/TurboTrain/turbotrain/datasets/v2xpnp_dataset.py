"""The dataset of the V2XPnP family: one ego at one time, with the agents it hears."""

import os
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
from mmdet3d.registry import DATASETS
from mmengine.dataset import BaseDataset

from ..errors import SettingError
from ..structures import Agents
from .class_maps import resolve_class_map
from .ground_truth import ground_truth, labelled_objects
from .info_file import dataset_of, load_infos, making_of
from .infos import Infos
from .modes import MODES, in_mode_order, kind_of
from .observation import observe
from .readers import DataFileError

__all__ = ['V2XPnPDataset', 'split_index']

_CORRIDOR_PREFIX = '2023-04-07'
_MAP_FILES = dict(
    corridor='v2v_corridors_vector_map.pkl', intersection='v2x_intersection_vector_map.pkl'
)
_EGOS = ('first', 'every', 'random', 'any')


@DATASETS.register_module()
class V2XPnPDataset(BaseDataset):
    """V2XPnP-Seq, V2X-Real, OPV2V, V2XSet, V2V4Real, DAIR-V2X-C or V2X-Seq.

    A sample is one ego at one time with the agents within communication range of it, over
    ``num_history`` past frames and the current one. Its grid of agents x frames is always full:
    what is missing is marked invalid. ``results`` as the pipeline gets them hold

    * ``agents`` (:class:`Agents`) and ``cloud_paths`` (N*T paths, ``''`` where invalid);
    * ``gt_bboxes_3d`` (M, 7) as an array in the ego's frame, ``gt_labels_3d``, ``gt_track_ids``
      (M,), ``gt_future_trajectories`` (M, F, 2) and ``gt_history_trajectories`` (M, T, 2) in the
      ego's current frame, metres, with ``gt_future_valid`` and ``gt_history_valid``;
    * ``scenario``, ``frame``, ``world_from_ego`` (4, 4), ``map_path``, ``backend_args``,
      ``left_handed_clouds``, ``byte_intensity``, ``classes``, ``future_offsets`` (F,) s;
    * ``observe``, which looks the same agents up at another time (see :meth:`observe`);
    * ``rng``, a generator seeded by the dataset's seed, the epoch and the sample alone, so that
      random transforms draw the same with any number of workers. In wrappers of datasets the
      sample is its place in the outermost one: copies of one sample draw differently.

    Args:
        ann_file: info file, relative to ``data_root``. It says which of the datasets it is of.
        data_root: root of the dataset.
        class_map: name of a map in ``class_maps.py``, or class name -> raw class names.
        mode: ``vc`` (a vehicle is the ego, all co-operate), ``ic`` (a roadside unit is the ego),
            ``v2v`` (vehicles only) or ``i2i`` (roadside units only).
        ego: ``first`` takes the first agent of the mode's order as the ego (as V2X-Real does at
            test), ``every`` makes a sample of each agent of the ego's kind (our choice to train),
            ``random`` draws one of them for every moment, anew in each epoch (needs
            ``EpochIndexSampler``), and ``any`` one of all agents, whatever the ego's kind (as
            V2X-Real trains).
        comm_range: agents further away than this (m, in the plane, now) are not heard, and
            neither are their labels.
        max_agents: at most this many agents, the ego included; the first of the mode's order,
            which is that of the benchmarks: by kind, then by id as a string.
        num_history: past frames.
        num_future: future positions.
        step: seconds from one past frame or future position to the next. They become frames by
            the recording's own rate.
        pad_history: where an agent has no cloud, repeat its next later one instead of leaving the
            place empty.
        drop_corridors: leave out the vehicle-to-vehicle corridor scenarios, as V2X-Real does at
            test in every mode but ``v2v``.
        seed: seeds the samples' generators.
        backend_args: where mmengine's fileio finds infos, clouds and maps; local disk by default.

    Raises:
        SettingError: an argument is not among the known ones, or a future is asked of a dataset
            without tracks.
        FileNotFoundError: there is no folder ``data_root``.
        DataFileError: the info file is missing, damaged or of another version, has no label, no
            frames that are ``step`` apart, no scenario that suits the mode, or no class that the
            map knows.
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
        step: float = 0.5,
        pad_history: bool = False,
        drop_corridors: bool = False,
        seed: int = 0,
        backend_args: dict | None = None,
        **kwargs: Any,
    ) -> None:
        if mode not in MODES:
            raise SettingError(f'mode {mode!r} is unknown; known: {sorted(MODES)}')
        if ego not in _EGOS:
            raise SettingError(f'ego must be one of {_EGOS}, got {ego!r}')
        for name, value, least in (
            ('max_agents', max_agents, 1),
            ('num_history', num_history, 0),
            ('num_future', num_future, 0),
        ):
            if value < least:
                raise SettingError(f'{name}: expected at least {least}, got {value}')
        if not 0 < step < 1e6:
            raise SettingError(f'step: expected seconds above 0 and below 1e6, got {step}')
        self.mode, self.ego = mode, ego
        self.comm_range, self.max_agents = comm_range, max_agents
        self.num_history, self.num_future, self.step = num_history, num_future, step
        self.pad_history = pad_history
        self.drop_corridors = drop_corridors
        self.seed = seed
        self.place: tuple[int, int] | None = None  # (epoch, index) in the wrapper, if in one
        self.backend_args = backend_args
        self._class_map = resolve_class_map(class_map)
        super().__init__(
            ann_file=ann_file,
            data_root=data_root,
            metainfo=dict(
                classes=tuple(self._class_map),
                num_history=num_history,
                num_future=num_future,
                step=step,
            ),
            **kwargs,
        )

    def _join_prefix(self) -> None:
        """Join paths without asking the storage, as mmengine would: not every one can."""
        self.ann_file = os.path.join(self.data_root, self.ann_file)

    def load_data_list(self) -> list[dict]:
        """One entry per sample: the rows in the info file of those that may be its ego."""
        self.use(self._read_infos())
        infos = self.infos
        if self.num_history or self.num_future:
            self._frames_in('step', self.step)
        if len(infos.class_names) and self._labels.max() < 0:
            known = sorted(raw for raws in self._class_map.values() for raw in raws)
            raise DataFileError(
                self.ann_file,
                f'class_map knows none of its classes {infos.class_names.tolist()}; it has {known}',
            )
        entries = []
        for scenario, name in enumerate(infos.scenarios):
            if self.drop_corridors and self.mode != 'v2v' and name.startswith(_CORRIDOR_PREFIX):
                continue
            begin, end = np.searchsorted(infos.scenario, [scenario, scenario + 1])
            recorded = (infos.cloud[begin:end] != '') & infos.labelled[begin:end]
            rows = begin + np.flatnonzero(recorded)
            agents = in_mode_order(np.unique(infos.agent[rows]), self.mode)
            if self.ego != 'any':
                agents = [a for a in agents if kind_of(a) == MODES[self.mode][0]]
            egos = agents[:1] if self.ego == 'first' else agents
            per_ego = [rows[infos.agent[rows] == ego] for ego in egos]
            if self.ego in ('random', 'any'):
                entries += self._by_moment(per_ego)
            else:
                entries += [dict(rows=[int(row)]) for rows in per_ego for row in rows]
        if not entries:
            raise DataFileError(
                self.ann_file, f'no scenario has an agent that can be the ego in mode {self.mode!r}'
            )
        return entries

    def _read_infos(self) -> Infos:
        if self.backend_args is None and not os.path.isdir(self.data_root):
            simulating = ''
            if dataset_of(self.ann_file) in ('v2xpnp', None):
                simulating = (
                    f"; 'python tools/simulate.py --out {self.data_root}' makes a simulated one of "
                    'v2xpnp'
                )
            raise FileNotFoundError(
                f'data_root {self.data_root!r} is not a folder. data/README.md says where the '
                f'recorded set comes from and how it must lie{simulating}. Then make the info '
                f'files with {making_of(self.ann_file)}'
            )
        infos = load_infos(self.ann_file, self.backend_args)
        if not len(infos.object_id):
            raise DataFileError(
                self.ann_file,
                f'holds no label; python tools/check_dataset.py {self.data_root} says why',
            )
        if self.num_future and not infos.dialect.tracks:
            raise SettingError(
                f'num_future: expected 0 of {infos.dataset}, got {self.num_future}: it has no '
                'tracks, so that nothing says where objects will be; it trains detection alone, '
                'with trajectory_head=None and velocity_head=None'
            )
        return infos

    def use(self, infos: Infos) -> None:
        """Look samples up in these infos from now on."""
        self.infos = infos
        infos.index()
        self._frames_of: dict[float, int] = {}
        self._step_frames = max(round(self.step * infos.dialect.frame_rate), 1)
        self.past = np.arange(-self.num_history, 1) * self._step_frames
        self.future = np.arange(1, self.num_future + 1) * self._step_frames
        label_of = {raw: i for i, raws in enumerate(self._class_map.values()) for raw in raws}
        self._labels = np.array([label_of.get(str(n), -1) for n in infos.class_names] + [-1])

    def _frames_in(self, name: str, seconds: float) -> int:
        """The frame numbers of a time that an argument ``name`` asks for, looked up once."""
        if seconds not in self._frames_of:
            try:
                self._frames_of[seconds] = self.infos.frames_in(seconds)
            except ValueError as error:
                raise DataFileError(self.ann_file, f'{name}: {seconds:g} s {error}') from None
        return self._frames_of[seconds]

    def _by_moment(self, per_ego: list[np.ndarray]) -> list[dict]:
        moments: dict[int, list[int]] = {}
        for row in np.concatenate([np.zeros(0, dtype=np.int64), *per_ego]).tolist():
            moments.setdefault(int(self.infos.frame[row]), []).append(row)
        return [dict(rows=moments[frame]) for frame in sorted(moments)]

    def __iter__(self) -> Iterator[Any]:
        """The samples of one epoch: an index beyond them would be of the next one."""
        return (self[index] for index in range(len(self)))

    def prepare_data(self, idx: int) -> Any:
        """Run the pipeline on a sample; ``idx`` may carry the epoch (see ``EpochIndexSampler``)."""
        return self.pipeline(self.get_data_info(idx))

    def get_data_info(self, idx: int) -> dict:
        """Everything the annotations say of one sample, in the ego's frame."""
        epoch, index = split_index(idx, len(self))
        results = super().get_data_info(index)
        rng = np.random.default_rng([self.seed, *(self.place or (epoch, index))])
        egos = results.pop('rows')
        row = egos[rng.integers(len(egos))] if len(egos) > 1 else egos[0]

        return results | self.results_of(row, self._heard(row), rng)

    def results_of(
        self, row: int, ids: np.ndarray, rng: np.random.Generator, delays: np.ndarray | None = None
    ) -> dict:
        """What the pipeline gets of one moment.

        Args:
            row: of the ego in the infos.
            ids: (N,) who is heard, the ego first.
            rng: for random transforms.
            delays: (N,) seconds, see :meth:`observe`; None is for clouds that are on time.
        """
        infos = self.infos
        scenario, frame = int(infos.scenario[row]), int(infos.frame[row])
        world_from_ego = infos.world_from_agent[row]
        observe = partial(self.observe, scenario, frame, ids, world_from_ego)
        agents, cloud_paths = observe(np.zeros(len(ids)) if delays is None else delays)
        name = str(infos.scenarios[scenario])
        site = 'corridor' if name.startswith(_CORRIDOR_PREFIX) else 'intersection'
        results = dict(
            rng=rng,
            agents=agents,
            cloud_paths=cloud_paths,
            observe=observe,
            scenario=name,
            frame=frame,
            world_from_ego=world_from_ego,
            map_path=os.path.join(self.data_root, 'map', _MAP_FILES[site]),
            backend_args=self.backend_args,
            classes=self.metainfo['classes'],
            left_handed_clouds=infos.dialect.left_handed,
            byte_intensity=infos.dialect.byte_intensity,
            pad_history=self.pad_history,
            future_offsets=self.future / infos.dialect.frame_rate,
        )
        truth = ground_truth(infos, self._labels, row, ids, frame + self.past, frame + self.future)
        return results | truth

    def get_cat_ids(self, idx: int) -> list[int]:
        """Labels of the objects round any ego of a sample, for ``ClassBalancedDataset``.

        No transform has been applied: objects out of range count.
        """
        infos, found = self.infos, set()
        for row in super().get_data_info(idx)['rows']:
            seen = labelled_objects(infos, self._labels, row, self._heard(row))
            found |= set(self._labels[infos.object_class[seen]].tolist())
        return sorted(found)

    def _heard(self, ego_row: int) -> np.ndarray:
        """(N,) ids of the agents that are heard, the ego first."""
        infos = self.infos
        scenario, frame = int(infos.scenario[ego_row]), int(infos.frame[ego_row])
        rows = infos.rows(scenario, infos.agents[scenario], [frame])[:, 0]
        return self.heard(ego_row, rows[rows >= 0])

    def heard(self, ego_row: int, rows: np.ndarray) -> np.ndarray:
        """Who is heard, of those that there are.

        Args:
            ego_row: of the ego in the infos.
            rows: (A,) of where each agent is, one row each, the ego's among them or not.

        Returns:
            (N,) ids, the ego first.
        """
        infos = self.infos
        offset = infos.world_from_agent[rows, :2, 3] - infos.world_from_agent[ego_row, :2, 3]
        ego = int(infos.agent[ego_row])
        near = infos.agent[rows][np.hypot(*offset.T) <= self.comm_range]
        others = in_mode_order(near, self.mode)
        ids = [ego] + [agent for agent in others if agent != ego]
        return np.array(ids[: self.max_agents], dtype=np.int64)

    def observe(
        self,
        scenario: int,
        frame: int,
        ids: np.ndarray,
        world_from_ego: np.ndarray,
        delays: np.ndarray,
    ) -> tuple[Agents, list[str]]:
        """What agents have seen, see :func:`~turbotrain.datasets.observation.observe`.

        Returns:
            The agents, and the paths of their N*T clouds, ``''`` where there is none.

        Raises:
            DataFileError: no frames are as far apart as a future frame would be from now.
        """
        for offset in np.unique(-delays[delays < 0]).tolist():
            self._frames_in('offset', offset)
        agents, clouds = observe(
            self.infos, scenario, frame, ids, world_from_ego, self.past, self._step_frames, delays,
            self.pad_history,
        )  # fmt: skip
        return agents, [os.path.join(self.data_root, path) if path else '' for path in clouds]


def split_index(idx: int, length: int) -> tuple[int, int]:
    """The epoch and the index that an index of ``EpochIndexSampler`` carries."""
    return divmod(idx, length) if idx >= 0 else (0, idx + length)
