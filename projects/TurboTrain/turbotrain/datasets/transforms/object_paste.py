"""Pasting objects with their whole past and future into every agent's clouds."""

import numpy as np
from mmcv.transforms import BaseTransform
from mmdet3d.registry import TRANSFORMS

from ...errors import SettingError
from ...structures import VEHICLE, Agents, invert_rigid, pose_to_matrix, transform_points, wrapped
from ..point_kernels import keep_lit, keep_nearest

__all__ = ['CooperativeObjectPaste']

# Our choices: how a pasted cloud thins out, and what hides what.
_FULL_DENSITY = 15.0  # m; beyond, points fall off with the square of the distance
_BIN = np.deg2rad(0.5)
_DEPTH = 0.5  # m
_AGENT_RADIUS = 3.0  # m


@TRANSFORMS.register_module()
class CooperativeObjectPaste(BaseTransform):
    """Paste objects of other samples, as ground-truth sampling does for one cloud.

    An object keeps the place and the path it had in its own ego's frame. It appears wherever it was
    at the time of each cloud, late ones included, in the clouds of all agents that could see it:
    what lies behind it, seen from that agent, is removed, and so are its points behind something
    else. It is left out when, at any step of past or future, it would come too close to another
    object or to an agent (whose future counts where another agent labels it), and it gets no label
    if no point of it is left in any cloud. Samples whose ego is a roadside unit stay as they are:
    the road lies elsewhere below each of them. Goes after :class:`LoadCooperativePoints`, whose
    ``zero_intensity`` holds for pasted points, too, and before :class:`ProjectPointsToEgo`. The
    idea is SECOND's; its extension to sequences and agents is ours.

    Args:
        database: file that ``tools/create_object_database.py`` makes, of the same steps in time.
        numbers: class name -> objects of it to fill the sample up to.
        clearance: between the circles round two objects, metres.
        backend_args: where mmengine's fileio finds the database; local disk by default.

    Raises:
        DataFileError: the database is missing, damaged or of another version.
        SettingError: it has other steps or classes than the dataset, or the transform comes at the
            wrong place.
    """

    def __init__(
        self,
        database: str,
        numbers: dict[str, int],
        clearance: float = 0.2,
        backend_args: dict | None = None,
    ) -> None:
        # Only this transform wants the database, and the database wants the dataset.
        from ..object_database import load_objects

        self.numbers, self.clearance = numbers, clearance
        self.objects = load_objects(database, backend_args)
        names = self.objects.class_names.tolist()
        unknown = set(numbers) - set(names)
        if unknown:
            raise SettingError(f'{database}: has classes {names}, not {sorted(unknown)}')
        self._of_class = {
            name: np.flatnonzero(self.objects.label == names.index(name)) for name in numbers
        }

    def transform(self, results: dict) -> dict:
        """Draw objects, and paste those that fit."""
        agents: Agents = results['agents']
        if 'points' not in results or agents.points_in_ego:
            raise SettingError(
                'CooperativeObjectPaste has to come after LoadCooperativePoints and before '
                'ProjectPointsToEgo'
            )
        other_times = results['pad_history'] or 'future_points' in results
        if 'noisy_poses' in results or other_times:
            raise SettingError(
                'CooperativeObjectPaste has to come before CooperativePoseNoise, and cannot paste '
                'into repeated or future clouds: leave pad_history and LoadFuturePoints out'
            )
        unknown = set(self.numbers) - set(results['classes'])
        if unknown:
            raise SettingError(
                f'the object database has {sorted(unknown)}, the dataset {results["classes"]}; '
                'make it anew for this config'
            )
        times = np.concatenate([agents.time_offsets, results['future_offsets']])
        if times.shape != self.objects.time_offsets.shape or not np.allclose(
            times, self.objects.time_offsets, atol=1e-3
        ):
            raise SettingError(
                f'the object database has steps at {self.objects.time_offsets.tolist()} s, the '
                f'samples at {times.round(3).tolist()} s; make it anew for this config'
            )
        chosen = self._choose(results) if agents.kinds[0] == VEHICLE else []
        if chosen:
            seen = self._paste(chosen, results)
            self._label(np.array(chosen)[seen], results)
        return results

    def _choose(self, results: dict) -> list[int]:
        """Entries that fit, in the order drawn."""
        objects, agents = self.objects, results['agents']
        past, known = results['gt_history_trajectories'], results['gt_history_valid']
        paths = np.concatenate([past, results['gt_future_trajectories']], axis=1)
        known = np.concatenate([known, results['gt_future_valid']], axis=1)
        radii = np.hypot(*results['gt_bboxes_3d'][:, 3:5].T) / 2
        # Agents are where they are at each past step, and who knows where later.
        own = np.zeros((len(agents), paths.shape[1], 2))
        own[:, : agents.num_frames] = agents.ego_from_agent[..., :2, 3]
        own_known = np.zeros(own.shape[:2], dtype=bool)
        own_known[:, : agents.num_frames] = agents.valid
        paths, known = np.concatenate([paths, own]), np.concatenate([known, own_known])
        radii = np.concatenate([radii, np.full(len(agents), _AGENT_RADIUS)])

        chosen = []
        for name, number in self.numbers.items():
            label = results['classes'].index(name)
            missing = number - int((results['gt_labels_3d'] == label).sum())
            candidates = self._of_class[name]
            for entry in results['rng'].permutation(candidates)[: max(missing, 0)]:
                centre, there = objects.centre[entry, :, :2], objects.known[entry]
                radius = np.hypot(*objects.size[entry, :2]) / 2
                gaps = np.linalg.norm(paths - centre, axis=-1) - (radii + radius)[:, None]
                if (gaps[known & there] < self.clearance).any():
                    continue
                chosen.append(int(entry))
                paths, known = np.concatenate([paths, centre[None]]), np.vstack([known, there])
                radii = np.append(radii, radius)
        return chosen

    def _paste(self, chosen: list[int], results: dict) -> np.ndarray:
        """Put the objects into every cloud, hiding and hidden; True for those that are seen."""
        objects, agents = self.objects, results['agents']
        halves = (objects.size[chosen] / 2).astype(np.float32)
        clouds = [objects.points[slice(*objects.begin[e : e + 2])] for e in chosen]
        clouds = [results['rng'].permutation(cloud) for cloud in clouds]
        visible = np.zeros(len(chosen), dtype=bool)
        for n, t in zip(*np.nonzero(agents.valid), strict=True):
            centre, yaw, there = self._at(chosen, agents.time_offsets[t] - agents.delays[n])
            here = np.flatnonzero(there)
            poses = np.zeros((len(here), 6))
            poses[:, :3], poses[:, 4] = centre[here], np.rad2deg(yaw[here])
            sensor_from_box = invert_rigid(agents.ego_from_agent[n, t]) @ pose_to_matrix(poses)
            box_from_sensor = invert_rigid(sensor_from_box).astype(np.float32)
            i = n * agents.num_frames + t
            scene, pasted = results['points'][i], []
            for k, own in enumerate(here):
                scene = scene[: keep_lit(scene, box_from_sensor[k], halves[own])]
                distance = np.linalg.norm(sensor_from_box[k, :3, 3])
                share = min(1.0, (_FULL_DENSITY / distance) ** 2)
                some = clouds[own][: int(np.ceil(share * len(clouds[own])))]
                some = transform_points(sensor_from_box[k].astype(np.float32), some)
                for other in np.flatnonzero(here != own):
                    some = some[: keep_lit(some, box_from_sensor[other], halves[here[other]])]
                pasted.append(some)
            if pasted:
                points = np.concatenate(pasted)
                intensity, owner = points[:, 3].copy(), np.repeat(here, [len(p) for p in pasted])
                points[:, 3] = np.arange(len(points))  # tells which ones are kept
                points = points[: keep_nearest(points, scene, _BIN, _DEPTH)]
                kept = points[:, 3].astype(np.int64)
                points[:, 3] = 0.0 if results['zero_intensity'] else intensity[kept]
                visible[owner[kept]] = True
                results['points'][i] = np.concatenate([scene, points])
        return visible

    def _at(self, chosen: list[int], seconds: float) -> tuple[np.ndarray, ...]:
        """Where objects were at a time of an agent's cloud: a late one's lies between two steps.

        Returns:
            (K, 3) centres, (K,) yaw (rad), and (K,) whether an object was there, which the nearest
            step says. From there it goes to the next known one straight, or stays if none is known.
        """
        objects, times = self.objects, self.objects.time_offsets
        nearest = int(np.abs(times - seconds).argmin())
        rest = seconds - times[nearest]
        begin, heading = objects.centre[chosen, nearest], objects.yaw[chosen, nearest]
        centre, yaw = begin.copy(), heading.copy()
        ahead = 1 if rest > 0 else -1
        # The step that lies beyond the time wins, if it is known.
        for other in (nearest - ahead, nearest + ahead) if abs(rest) > 1e-4 else ():
            if 0 <= other < len(times):
                known = objects.known[chosen, other]
                share = rest / (times[other] - times[nearest])
                turn = objects.yaw[chosen, other] - heading
                turn = wrapped(turn)
                way = share * (objects.centre[chosen, other] - begin)
                centre = np.where(known[:, None], begin + way, centre)
                yaw = np.where(known, heading + share * turn, yaw)
        return centre, yaw, objects.known[chosen, nearest]

    def _label(self, chosen: np.ndarray, results: dict) -> None:
        objects, t = self.objects, results['agents'].num_frames
        centre, size = objects.centre[chosen], objects.size[chosen]
        boxes = np.column_stack([centre[:, t - 1], size, objects.yaw[chosen, t - 1]])
        boxes[:, 2] -= size[:, 2] / 2
        names = objects.class_names[objects.label[chosen]].tolist()
        lowest = min(0, results['gt_track_ids'].min(initial=0))
        new = dict(
            gt_bboxes_3d=boxes,
            gt_labels_3d=[results['classes'].index(name) for name in names],
            gt_track_ids=lowest - 1 - np.arange(len(chosen)),
            gt_history_trajectories=centre[:, :t, :2],
            gt_history_valid=objects.known[chosen, :t],
            gt_future_trajectories=centre[:, t:, :2],
            gt_future_valid=objects.known[chosen, t:],
        )
        for key, value in new.items():
            old = results[key]
            results[key] = np.concatenate([old, np.asarray(value, dtype=old.dtype)])
