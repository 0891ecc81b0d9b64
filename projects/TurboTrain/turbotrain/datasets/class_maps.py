"""Which raw class names make up which class that is trained and evaluated."""

from ..errors import SettingError

__all__ = ['CLASS_MAPS', 'resolve_class_map']

_VEHICLE = ('LongVehicle', 'Car', 'PoliceCar')
_PEDESTRIAN = (
    'Child', 'RoadWorker', 'Pedestrian', 'Scooter', 'ScooterRider', 'Motorcycle', 'MotorcyleRider',
    'MotorcycleRider', 'BicycleRider',
)  # fmt: skip
_TRUCK = ('Truck', 'Van', 'TrashCan', 'ConcreteTruck', 'Bus')

CLASS_MAPS: dict[str, dict[str, tuple[str, ...]]] = {
    # V2X-Real's merge. Its one change: both spellings of MotorcycleRider count (our choice).
    'v2xreal3': dict(vehicle=_VEHICLE, pedestrian=_PEDESTRIAN, truck=_TRUCK),
    # One class of everything with four wheels or more (our choice for V2XPnP's single AP).
    'vehicle1': dict(vehicle=(*_VEHICLE, 'Truck', 'Van', 'ConcreteTruck', 'Bus')),
}


def resolve_class_map(class_map: str | dict[str, list[str]]) -> dict[str, tuple[str, ...]]:
    """A class map by its name, or as written in a config.

    Returns:
        class name -> raw class names, in the order of the labels.

    Raises:
        SettingError: the name is unknown, or a raw class belongs to two classes.
    """
    if isinstance(class_map, str):
        if class_map not in CLASS_MAPS:
            raise SettingError(f'class_map {class_map!r} is unknown; known: {sorted(CLASS_MAPS)}')
        return CLASS_MAPS[class_map]
    owner: dict[str, str] = {}
    for name, members in class_map.items():
        for member in members:
            if owner.setdefault(member, name) != name:
                raise SettingError(
                    f'class_map puts {member!r} into both {owner[member]!r} and {name!r}'
                )
    return {name: tuple(members) for name, members in class_map.items()}
