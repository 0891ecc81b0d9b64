"""Files of any size."""

from tests.datasets.annotations import HEAD, OBJECT
from tests.datasets.attacks import MAP, text


def objects(kind: str, number: int) -> str:
    return HEAD + 'vehicles:\n' + ''.join(
        f'  {i}: {{obj_type: {kind}, {OBJECT.format(i)}}}\n' for i in range(number)
    )  # fmt: skip


def points(number: int) -> bytes:
    """A map with a lane of as many points, all of them one."""
    point = f'{MAP}MapPoint\n)\x81}}'.encode('latin1')
    point += b''.join(text(name) + b'K\x01s' for name in 'xyz') + b'bq\x00'
    line = b'](' + point + b'h\x00' * number + b'e'
    lane = f'{MAP}Lane\n)\x81}}'.encode('latin1') + text('type') + b'K\x01s'
    lane += text('boundary') + b']s' + text('polyline') + line + b'sb'
    return f'{MAP}Map\n)\x81}}'.encode('latin1') + text('map_features') + b']' + lane + b'asb.'
