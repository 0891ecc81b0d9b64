"""From a site's layout to a SUMO network, and from that network to the lanes of a vector map."""

from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from ..structures.vector_map import Lane, MapPoint
from .site_layout import LANE_WIDTH, PARKING_WIDTH, SIDEWALK_WIDTH, SiteLayout
from .sumo_programs import run_sumo_program

__all__ = [
    'NetworkLane',
    'build_network',
    'read_junction_outline',
    'read_network',
    'resample_polyline',
    'to_map_lanes',
]

AXIS_STEP = 12.0  # metres between the points of an arm's axis given to netconvert
MAP_STEP = 1.5  # metres between the points of a map lane
UNKNOWN, DRIVING, SIDEWALK, PARKING = 0, 1, 2, 4  # lane types of the map format


@dataclass(frozen=True)
class NetworkLane:
    """One lane of a SUMO network.

    Attributes:
        lane_id: SUMO's id, ``<edge>_<index>``.
        edge_id: SUMO's id of its edge.
        index: place in the edge, counted from the right from 0.
        lanes_in_edge: number of lanes of the edge.
        type: lane type of the map format.
        width: metres.
        centre: (P, 2) centre line in driving direction, site frame, metres.
        successors: ids of the lanes it leads into.
    """

    lane_id: str
    edge_id: str
    index: int
    lanes_in_edge: int
    type: int
    width: float
    centre: np.ndarray
    successors: tuple[str, ...]


def build_network(layout: SiteLayout, folder: Path) -> Path:
    """Write a layout as plain XML, let netconvert build the network, return its path.

    Arm ``k`` becomes the edges ``in<k>`` (towards the junction ``c``) and ``out<k>``; from the
    right, each has a sidewalk, a parking lane (closed to traffic) and its driving lanes.
    """
    nodes = ElementTree.Element('nodes')
    edges = ElementTree.Element('edges')
    kind = 'traffic_light' if layout.signalled else 'priority'
    ElementTree.SubElement(nodes, 'node', id='c', x='0', y='0', type=kind)
    for k, arm in enumerate(layout.arms):
        along = np.linspace(0.0, arm.length, max(2, round(arm.length / AXIS_STEP) + 1))
        axis = arm.axis(along)
        end = {'x': f'{axis[-1, 0]:.3f}', 'y': f'{axis[-1, 1]:.3f}'}
        ElementTree.SubElement(nodes, 'node', id=f'n{k}', **end)
        for name, start, stop, count, shape in (
            (f'in{k}', f'n{k}', 'c', arm.lanes_in, axis[::-1]),
            (f'out{k}', 'c', f'n{k}', arm.lanes_out, axis),
        ):
            edge = ElementTree.SubElement(
                edges,
                'edge',
                {
                    'id': name,
                    'from': start,
                    'to': stop,
                    'numLanes': str(count + 2),
                    'speed': f'{layout.speed:.2f}',
                    'shape': ' '.join(f'{x:.3f},{y:.3f}' for x, y in shape),
                },
            )
            lanes = [{'allow': 'pedestrian', 'width': str(SIDEWALK_WIDTH)}]
            lanes.append({'disallow': 'all', 'width': str(PARKING_WIDTH)})
            lanes += [{'disallow': 'pedestrian', 'width': str(LANE_WIDTH)}] * count
            for index, lane in enumerate(lanes):
                ElementTree.SubElement(edge, 'lane', {'index': str(index), **lane})
    node_file, edge_file = folder / 'site.nod.xml', folder / 'site.edg.xml'
    ElementTree.ElementTree(nodes).write(node_file)
    ElementTree.ElementTree(edges).write(edge_file)
    network = folder / 'site.net.xml'
    run_sumo_program(
        'netconvert',
        {
            'node-files': node_file,
            'edge-files': edge_file,
            'output-file': network,
            'offset.disable-normalization': True,
            'no-turnarounds': True,
            'walkingareas': True,
            'crossings.guess': layout.signalled,
            'default.junctions.radius': 6,
            'junctions.corner-detail': 5,
            'junctions.internal-link-detail': 12,
            'tls.cycle.time': 44,
            'no-warnings': True,
        },
    )
    return network


def _lane_type(edge: ElementTree.Element, lane: ElementTree.Element) -> int:
    if edge.get('function') == 'crossing' or lane.get('allow') == 'pedestrian':
        return SIDEWALK
    return PARKING if lane.get('disallow') == 'all' else DRIVING


def read_network(path: Path) -> list[NetworkLane]:
    """Read the lanes of a SUMO network in the file's order; walking areas are left out."""
    root = ElementTree.parse(path).getroot()
    successors: dict[str, list[str]] = {}
    for link in root.iter('connection'):
        start = f'{link.get("from")}_{link.get("fromLane")}'
        stop = link.get('via') or f'{link.get("to")}_{link.get("toLane")}'
        if stop not in successors.setdefault(start, []):
            successors[start].append(stop)
    lanes = []
    for edge in root.iter('edge'):
        if edge.get('function') == 'walkingarea':
            continue
        members = edge.findall('lane')
        for lane in members:
            points = [point.split(',')[:2] for point in lane.get('shape', '').split()]
            lanes.append(
                NetworkLane(
                    lane_id=lane.get('id', ''),
                    edge_id=edge.get('id', ''),
                    index=int(lane.get('index', 0)),
                    lanes_in_edge=len(members),
                    type=_lane_type(edge, lane),
                    width=float(lane.get('width', LANE_WIDTH)),
                    centre=np.array(points, dtype=np.float64),
                    successors=tuple(successors.get(lane.get('id', ''), ())),
                )
            )
    known = {lane.lane_id for lane in lanes}
    if not all(
        target in known for lane in lanes if lane.type == DRIVING for target in lane.successors
    ):
        raise ValueError(f'{path}: a connection leads into a lane that the file does not have')
    return lanes


def read_junction_outline(path: Path) -> np.ndarray:
    """Outline (P, 2) of the central junction with its walking areas, site frame, metres."""
    for junction in ElementTree.parse(path).getroot().iter('junction'):
        if junction.get('id') == 'c' and junction.get('shape'):
            points = [point.split(',')[:2] for point in junction.get('shape', '').split()]
            outline = np.array(points, dtype=np.float64)
            return resample_polyline(np.concatenate([outline, outline[:1]]), 1.0)
    raise ValueError(f'{path}: no outline of the junction c')


def resample_polyline(points: np.ndarray, step: float) -> np.ndarray:
    """Points (Q, 2) about ``step`` m apart along the polyline (P, 2); the ends are kept."""
    lengths = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
    count = max(2, int(round(lengths[-1] / step)) + 1)
    places = np.linspace(0.0, lengths[-1], count)
    return np.stack([np.interp(places, lengths, points[:, axis]) for axis in (0, 1)], -1)


def _outline(centre: np.ndarray, width: float) -> np.ndarray:
    """Left edge forwards, then right edge backwards (2Q, 2) of a lane with centre line (Q, 2)."""
    direction = np.gradient(centre, axis=0)
    direction /= np.maximum(np.linalg.norm(direction, axis=1, keepdims=True), 1e-9)
    normal = np.stack([-direction[:, 1], direction[:, 0]], -1) * width / 2
    return np.concatenate([centre + normal, (centre - normal)[::-1]])


def to_map_lanes(
    lanes: list[NetworkLane], first_road_id: int, offset: tuple[float, float]
) -> list[Lane]:
    """Turn network lanes into map lanes in the world frame.

    Args:
        lanes: lanes of one site.
        first_road_id: id of the site's first road; its edges count up from there.
        offset: the site's origin in the world frame, metres.

    Returns:
        One map lane a network lane. Ids are signed: -1 is the leftmost lane of a road.
    """
    roads: dict[str, int] = {}
    for lane in lanes:
        roads.setdefault(lane.edge_id, first_road_id + len(roads))
    names = {
        lane.lane_id: f'{roads[lane.edge_id]}_{lane.index - lane.lanes_in_edge}' for lane in lanes
    }
    entries: dict[str, list[str]] = {lane.lane_id: [] for lane in lanes}
    exits: dict[str, list[str]] = {lane.lane_id: [] for lane in lanes}
    for lane in lanes:
        for target in lane.successors:
            if target in names:
                exits[lane.lane_id].append(names[target])
                entries[target].append(names[lane.lane_id])
    shift = np.array(offset)

    def points(line: np.ndarray) -> list[MapPoint]:
        return [MapPoint(x, y, 0.0) for x, y in np.round(line + shift, 3).tolist()]

    result = []
    for lane in lanes:
        centre = resample_polyline(lane.centre, MAP_STEP)
        result.append(
            Lane(
                road_id=roads[lane.edge_id],
                lane_id=lane.index - lane.lanes_in_edge,
                type=lane.type,
                polyline=points(centre),
                entry_lanes=entries[lane.lane_id],
                exit_lanes=exits[lane.lane_id],
                boundary=points(_outline(centre, lane.width)) if lane.type == DRIVING else [],
            )
        )
    return result
