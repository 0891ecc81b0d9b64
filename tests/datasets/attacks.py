"""Files that attack whoever reads them."""

import io
import os
import pickle
import struct

import numpy as np

MAP = 'copencood.data_utils.datasets.map.map_types\n'


def text(value: str) -> bytes:
    return b'X' + struct.pack('<I', len(value)) + value.encode()


def routes(command: str) -> dict[str, bytes]:
    """A pickle that calls os.system(command), by every road there is."""
    argument = text(command)
    posix, system = text('posix'), text('system')
    plain = b'\x80\x02'
    return {
        'GLOBAL and REDUCE': plain + b'cposix\nsystem\n' + argument + b'\x85R.',
        'STACK_GLOBAL': b'\x80\x04' + posix + system + b'\x93' + argument + b'\x85R.',
        'builtins.eval': plain + b'c__builtin__\neval\n' + argument + b'\x85R.',
        'getattr': plain + b'c__builtin__\ngetattr\ncposix\n__dict__\n' + system + b'\x86R.',
        'INST': b'(S' + repr(command).encode() + b'\niposix\nsystem\n.',
        'OBJ': b'(cposix\nsystem\n' + argument + b'o.',
        'NEWOBJ': plain + b'csubprocess\nPopen\n' + argument + b'\x85\x81.',
        'NEWOBJ_EX': b'\x80\x04csubprocess\nPopen\n' + argument + b'\x85}\x92.',
        'EXT1': plain + b'\x82\xf0' + argument + b'\x85R.',
        'EXT2': plain + b'\x83\xf0\x00' + argument + b'\x85R.',
        'EXT4': plain + b'\x84\xf0\x00\x00\x00' + argument + b'\x85R.',
        'BUILD of a class': plain
        + f'{MAP}Map\n'.encode()
        + b'N}'
        + text('__init__')
        + b'cposix\nsystem\ns\x86b.',
        'BUILD __setstate__': plain
        + f'{MAP}Map\n)\x81'.encode('latin1')
        + b'}'
        + text('__setstate__')
        + b'cposix\nsystem\nsb'
        + argument
        + b'b.',
        'nested': plain + b'}' + text('a') + b']}' + text('b') + b'cposix\nsystem\n' + argument
        + b'\x85Rsas.',
        'before the end is missing': plain + b'cposix\nsystem\n' + argument + b'\x85R',
        'PERSID': b'Pposix.system\n.',
        'numpy': pickle.dumps(np.array([_Calls(command)], dtype=object)),
        'loads': plain + b'c_pickle\nloads\nC\x02N.\x85R.',
    }  # fmt: skip


class _Calls:
    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


def npy(values: np.ndarray, **header) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array(file, values, allow_pickle=True)
    if header:
        file = io.BytesIO()
        kept = dict(shape=values.shape, fortran_order=False, descr=values.dtype.str)
        np.lib.format.write_array_header_1_0(file, kept | header)
        file.write(values.tobytes())
    return file.getvalue()
