"""Messages: as the page says byte by byte, and refused in little time when they are damaged."""

import gc
import os
import resource
import struct
import time
import zlib
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from tests.fuzzing import CHANGES, NUMBER, damaged
from tests.online.recordings import untrained
from turbotrain.errors import SettingError
from turbotrain.online import Ego, MapMessage, MessageError, OnlineModel
from turbotrain.online.message import HEADER_BYTES, PRECISIONS, pack, unpack
from turbotrain.structures import pose_to_matrix

SHAPE, LIMITS = (3, 6, 5), np.float32([-10, -8, -3, 10, 8, 1])
MOST = 50


def message(**changes: object) -> MapMessage:
    rng = np.random.default_rng(0)
    found = MapMessage(
        model=0xA1B2C3D4, kind='infrastructure', id=7, time=1234.5,
        world_from_agent=pose_to_matrix([3.0, -4.0, 5.0, 1.0, 30.0, -2.0]), limits=LIMITS,
        values=rng.normal(size=SHAPE).astype(np.float32), cells=None,
        points=rng.uniform(-50, 50, (20, 3)).astype(np.float32),
    )  # fmt: skip
    return replace(found, **changes)


def sparse() -> MapMessage:
    cells = np.random.default_rng(1).random(SHAPE[1:]) < 0.4
    return message(values=message().values * cells, cells=cells)


def read(data: bytes) -> MapMessage:
    return unpack(data, 0xA1B2C3D4, SHAPE, LIMITS, MOST)


@pytest.mark.parametrize('compress', [False, True])
@pytest.mark.parametrize('precision', PRECISIONS)
@pytest.mark.parametrize('sent', [message(), sparse(), message(points=np.zeros((0, 3), 'f4'))])
def test_what_is_sent_arrives(sent, precision, compress):
    data = pack(sent, precision, compress)
    found = read(data)
    assert pack(sent, precision, compress) == data
    for key in ('model', 'kind', 'id', 'time'):
        assert getattr(found, key) == getattr(sent, key)
    assert np.array_equal(found.world_from_agent, sent.world_from_agent)
    assert np.array_equal(found.limits, LIMITS)
    assert (found.cells is None) == (sent.cells is None)
    assert sent.cells is None or np.array_equal(found.cells, sent.cells)
    spread = np.ptp(sent.values)
    bound = dict(float32=0.0, float16=1e-3 * spread, int8=0.501 * spread / 255)[precision]
    assert np.abs(found.values - sent.values).max() <= bound
    assert np.abs(found.points - sent.points).max(initial=0) <= 0.0051 * (precision != 'float32')


def test_the_layout_is_that_of_the_page():
    sent = sparse()
    data = pack(sent, 'float16')
    assert HEADER_BYTES == 168
    assert data[:8] == b'TTmp' + bytes([1, 1, 1, 2])
    assert struct.unpack_from('<IId', data, 8) == (0xA1B2C3D4, 7, 1234.5)
    pose = np.frombuffer(data, '<f8', 12, 24).reshape(3, 4)
    assert np.array_equal(pose, sent.world_from_agent[:3])
    assert np.array_equal(np.frombuffer(data, '<f4', 6, 120), LIMITS)
    count = int(sent.cells.sum())
    payload = 4 + 2 * 3 * count + 6 * 20
    assert struct.unpack_from('<4H3I', data, 144) == (*SHAPE, 0, count, 20, payload)
    (checked,) = struct.unpack_from('<I', data, 164)
    assert checked == zlib.crc32(data[:164] + data[168:])
    assert len(data) == 168 + payload
    bits = np.unpackbits(np.frombuffer(data, 'u1', 4, 168))[:30]
    assert np.array_equal(bits.reshape(6, 5), sent.cells)
    values = np.frombuffer(data, '<f2', 3 * count, 172).reshape(3, count)
    np.testing.assert_allclose(values, sent.values[:, sent.cells], atol=2e-3)
    points = np.frombuffer(data, '<i2', 60, 172 + 6 * count).reshape(20, 3)
    np.testing.assert_allclose(points / 100, sent.points, atol=0.0051)


def sealed(data: bytes) -> bytes:
    """With a check sum that is right, so that what follows is looked at."""
    head = data[:164]
    return head + struct.pack('<I', zlib.crc32(data[168:], zlib.crc32(head))) + data[168:]


def changed(data: bytes, place: int, kind: str, *values: object) -> bytes:
    new = struct.pack(f'<{kind}', *values)
    return sealed(data[:place] + new + data[place + len(new) :])


def bomb(size: int) -> bytes:
    """A small payload that grows to ``size`` bytes."""
    data = pack(message(), compress=True)
    raw = struct.unpack_from('<I', data, 160)[0]
    return changed(data[:168] + zlib.compress(bytes(size), 9), 160, 'I', raw)


GOOD = pack(message())


@pytest.mark.parametrize(
    ('data', 'reason'),
    [
        (b'', 'damaged'),
        (b'TTmp', 'damaged'),
        (b'hello world' * 20, 'foreign'),
        (GOOD[:-1], 'damaged'),
        (GOOD + b'\0', 'damaged'),
        (sealed(GOOD + b'\0'), 'damaged'),
        (GOOD[:200] + b'\1' + GOOD[201:], 'damaged'),
        (bytes(10_000), 'oversized'),
        (changed(GOOD, 4, 'B', 2), 'version'),
        (changed(GOOD, 5, 'B', 2), 'damaged'),
        (changed(GOOD, 6, 'B', 3), 'damaged'),
        (changed(GOOD, 7, 'B', 4), 'damaged'),
        (changed(GOOD, 7, 'B', 1), 'damaged'),
        (changed(GOOD, 8, 'I', 1), 'model'),
        (changed(GOOD, 12, 'I', 0), 'damaged'),
        (changed(GOOD, 16, 'd', np.nan), 'damaged'),
        (changed(GOOD, 24, 'd', np.inf), 'damaged'),
        (changed(GOOD, 24, 'd', 9.0), 'damaged'),
        (changed(GOOD, 120, 'f', -9.0), 'model'),
        (changed(GOOD, 144, 'H', 4), 'model'),
        (changed(GOOD, 150, 'H', 4), 'damaged'),
        (changed(GOOD, 152, 'I', 1), 'oversized'),
        (changed(GOOD, 156, 'I', 2**31), 'oversized'),
        (changed(GOOD, 156, 'I', 21), 'damaged'),
        (changed(GOOD, 160, 'I', 2**31), 'damaged'),
        (changed(GOOD, 168, 'f', np.nan), 'damaged'),
        (changed(GOOD, len(GOOD) - 4, 'f', 1e6), 'damaged'),
        (changed(pack(sparse()), 168, 'I', 0), 'damaged'),
        (bomb(100), 'damaged'),
        (bomb(500_000), 'damaged'),
    ],
)
def test_what_is_not_right_is_refused_with_a_reason(data, reason):
    with pytest.raises(MessageError) as error:
        read(data)
    assert error.value.reason == reason and len(str(error.value)) < 300


def test_pack_refuses_another_precision():
    with pytest.raises(SettingError, match="expected one of .* got 'int4'"):
        pack(message(), 'int4')


@pytest.mark.parametrize('seal', [False, True])
def test_damage_by_chance(seal):
    kinds = [
        pack(one, precision, compress)
        for one in (message(), sparse())
        for precision in PRECISIONS
        for compress in (False, True)
    ]

    @settings(
        max_examples=NUMBER, deadline=None, derandomize='FUZZ' not in os.environ, database=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(CHANGES)
    def read_or_refuse(changes) -> None:
        data = damaged(kinds[changes[0][2] % len(kinds)], changes)
        data = sealed(data) if seal and len(data) >= 168 else data
        gc.disable()
        begin, highest = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        try:
            found = read(data)
            assert np.isfinite(found.values).all() and found.values.shape == SHAPE
        except MessageError as error:
            assert len(str(error)) < 300
        finally:
            took = time.process_time() - begin
            gc.enable()
        assert took < 0.05
        # Of each message, as Hypothesis itself grows by 15 kB an example.
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - highest < 100_000  # kB

    read_or_refuse()


@pytest.fixture(scope='module')
def model(tmp_path_factory) -> OnlineModel:
    cfg, path = untrained('f-cooper', tmp_path_factory.mktemp('weights'))
    return OnlineModel(cfg, path, 'cpu')


def test_the_ego_counts_what_it_refuses(model):
    ego = Ego(model, id=1, max_agents=2)

    def of(time: float, id: int = 2, kind: str = 'vehicle', **changes: object) -> bytes:
        values = np.zeros(model.shape, np.float32)
        own = message(
            model=model.number, kind=kind, id=id, time=time, values=values, limits=model.limits
        )
        return pack(replace(own, **changes))

    ego.see(np.zeros((3, 4), np.float32), [0.0] * 6, 10.0)
    for data, reason in (
        (of(10.0), None),
        (of(10.0), 'replayed'),
        (of(9.9), 'replayed'),
        (of(10.02), 'frequent'),
        (of(10.05), None),
        (of(10.6), 'future'),
        (of(9.4, id=3), 'late'),
        (of(10.0, id=1), 'own'),
        (of(10.0, id=1, kind='infrastructure'), None),
        (of(10.0, id=4), 'crowded'),
        (of(10.1, model=1), 'model'),
        (b'', 'damaged'),
        (b'x' * 300, 'foreign'),
        (bytes(10**8), 'oversized'),
    ):
        before = ego.refused.copy()
        assert ego.receive(data) == (reason is None)
        assert ego.refused - before == ({} if reason is None else {reason: 1})
        assert reason is None or ego.last_refusal.startswith(f'{reason}: ')
    found = ego.detect()
    assert found['agents'] == ['vehicle 1', 'vehicle 2', 'infrastructure 1']
