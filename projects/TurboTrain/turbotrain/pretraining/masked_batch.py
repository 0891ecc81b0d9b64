"""A batch of clouds of which a part is hidden, and what of it is to be reconstructed."""

import itertools
from collections.abc import Iterable, Sequence

import torch
from mmdet3d.structures import Det3DDataSample
from torch import Tensor

from ..errors import SettingError
from ..models.warping import cell_centres
from .masking import BaseMasking, CloudLayout
from .reconstruction_head import ReconstructionTarget

__all__ = ['MaskedBatch']


class MaskedBatch:
    """The K clouds of a batch, cooperative or of one agent and frame, after masking.

    Args:
        inputs: ``points``: for each sample a cloud (P, 3+), or a list of N*T of them.
        samples: where there are several clouds, their metainfo holds ``agents``.
        masking: what hides.
        limits: (6,) the range that maps cover, metres.
    """

    def __init__(
        self,
        inputs: dict,
        samples: list[Det3DDataSample],
        masking: BaseMasking,
        limits: Tensor,
    ) -> None:
        self.inputs, self.samples, self.limits = inputs, samples, limits
        points = inputs['points']
        self.grouped = not isinstance(points[0], Tensor)
        if self.grouped:
            agents = [sample.agents for sample in samples]
            self.counts, frames = [len(clouds) for clouds in points], agents[0].num_frames
            self.clouds = [cloud for clouds in points for cloud in clouds]
            self.layout = CloudLayout.of_agents(agents, limits.device)
            self.recorded = [record.valid[:, -1].tolist() for record in agents]
            """For each sample which current clouds there are; of the others nothing is known."""
        else:
            self.counts, frames = [1] * len(points), 1
            self.clouds = list(points)
            self.layout = CloudLayout.of_single_clouds(len(points), limits.device)
            self.recorded = [[True]] * len(points)
        self.masked = masking(self.clouds, self.layout)
        numbers = iter(range(len(self.clouds)))
        self.of_sample = [[next(numbers) for _ in range(count)] for count in self.counts]
        self.current = [own[frames - 1 :: frames] for own in self.of_sample]
        """For each sample the numbers of its current clouds."""

    def visible_inputs(self) -> dict:
        """The inputs with what is left of the clouds."""
        visible = self.masked.visible
        if self.grouped:
            visible = [[visible[i] for i in own] for own in self.of_sample]
        return {**self.inputs, 'points': visible}

    def hidden_maps(self, shape: Sequence[int], in_ego: bool) -> Tensor:
        """Whether the centres of each cloud's map cells are hidden.

        Args:
            shape: H, W.
            in_ego: whether the maps are in the ego's frame or in that of the clouds' points.

        Returns:
            (K, H, W) bool.
        """
        centres = torch.nn.functional.pad(cell_centres(self.limits, *shape), (0, 1))
        maps = [centres] * len(self.clouds)
        xy = torch.cat(maps if in_ego else self.layout.to_ego(maps))[:, :2]
        cloud = torch.arange(len(maps), device=xy.device).repeat_interleave(len(centres))
        return self.masked.region.at(xy, cloud).view(-1, *shape)

    def merged_target(self, shape: Sequence[int]) -> ReconstructionTarget:
        """Of each sample all agents' current clouds, in the ego's frame, on maps (H, W)."""
        cells = self.hidden_maps(shape, in_ego=True)
        # By numbers: a GPU is waited for where a list picks.
        of_sample = [torch.stack([cells[i] for i in own]) for own in self.current]
        return ReconstructionTarget(
            clouds=[torch.cat([self.masked.in_ego[i] for i in own]) for own in self.current],
            hidden=[torch.cat([self.masked.hidden[i] for i in own]) for own in self.current],
            hidden_cells=torch.stack([own.any(dim=0) for own in of_sample])
            & self._known(any(there) for there in self.recorded),
        )

    def own_target(self, shape: Sequence[int]) -> ReconstructionTarget:
        """Each agent's current cloud, in the frame its points are in."""
        current = [i for own in self.current for i in own]
        return ReconstructionTarget(
            clouds=[self.clouds[i] for i in current],
            hidden=[self.masked.hidden[i] for i in current],
            hidden_cells=self.hidden_maps(shape, in_ego=False)[current]
            & self._known(itertools.chain(*self.recorded)),
        )

    def future_target(self, shape: Sequence[int]) -> ReconstructionTarget:
        """The clouds to come, in the ego's current frame: all of them is unseen.

        A sample of which a part was not recorded then asks for nothing.

        Raises:
            SettingError: there are none.
        """
        if 'future_points' not in self.inputs:
            raise SettingError("target 'future' wants LoadFuturePoints in the pipeline")
        clouds = self.inputs['future_points']
        known = [sample.get('future_is_known', True) for sample in self.samples]
        return ReconstructionTarget(
            clouds=clouds,
            hidden=[
                cloud.new_full(cloud.shape[:1], ok, dtype=torch.bool)
                for cloud, ok in zip(clouds, known, strict=True)
            ],
            hidden_cells=self._known(known).expand(-1, *shape),
        )

    def _known(self, flags: Iterable[bool]) -> Tensor:
        """(N, 1, 1) bool."""
        return torch.tensor(list(flags), device=self.limits.device)[:, None, None]
