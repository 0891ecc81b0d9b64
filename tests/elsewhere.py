"""A second device for machines that have none: tensors there are apart from the CPU's.

They hold CPU tensors, so that all numbers are real. Torch's dispatcher keeps them apart: what mixes
both devices fails, as with a GPU, and what the CPU would have to wait for is noted, of the
operations that :data:`WAITING` and the functions below know. To torch it is the device ``'lazy'``:
one without kernels here, whose backward passes run in the same thread. This stands on inner parts
of torch as they are in 2.13. With another one the device is the CPU.
"""

import contextlib
import functools
import re
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from mmcv.ops import box_iou_rotated, nms
from mmengine.structures import instance_data
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_flatten, tree_map

THERE = torch.__version__.startswith('2.13.')
needs_second_device = pytest.mark.skipif(not THERE, reason='tensors of two devices want torch 2.13')
HERE = torch.device('cpu')
DEVICE = torch.device('lazy') if THERE else HERE
PACKAGES = re.compile(r'(?<=/)(turbotrain|mmdet3d|mmdet|mmengine)/.*')
# Their results' shapes depend on values or go to Python, or torch looks whether there are any.
WAITING = (
    '_linalg_check_errors', '_linalg_eigh', '_linalg_svd', '_local_scalar_dense', '_unique',
    '_unique2', 'allclose', 'bincount', 'equal', 'is_nonzero', 'masked_select', 'nonzero',
    'unique_consecutive', 'unique_dim',
)  # fmt: skip
JOINING = ('cat', 'stack')


class Elsewhere(Tensor):
    """A tensor of the second device."""

    here: Tensor
    waits: list[str]
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, here: Tensor, waits: list[str]) -> 'Elsewhere':
        made = Tensor._make_wrapper_subclass(
            cls, here.size(), strides=here.stride(), storage_offset=here.storage_offset(),
            dtype=here.dtype, device=DEVICE,
        )  # fmt: skip
        made.here, made.waits = here, waits
        return made

    @classmethod
    def __torch_dispatch__(cls, op, types, args=(), kwargs=None):
        waits = next(a.waits for a in tree_flatten((args, kwargs))[0] if isinstance(a, Elsewhere))
        return _dispatch(waits, op, args, kwargs or {})

    def tolist(self) -> list:  # which torch has for its own tensors alone
        self.waits.append(_place())
        return self.here.tolist()

    def numpy(self, *args: Any, **kwargs: Any) -> None:
        raise TypeError(f'a tensor of {DEVICE} has no numpy array')

    __array__ = numpy


class _Mask(type):
    """Of what is a mask, as torch.BoolTensor tells of the CPU's."""

    def __instancecheck__(cls, value: object) -> bool:
        return isinstance(value, Elsewhere) and value.dtype is torch.bool


class _Masks(metaclass=_Mask):
    pass


class _Dispatch(TorchDispatchMode):
    """Sees what makes tensors of no others."""

    def __init__(self, waits: list[str]) -> None:
        super().__init__()
        self.waits = waits

    def __torch_dispatch__(self, op, types, args=(), kwargs=None):
        return _dispatch(self.waits, op, args, kwargs or {})


def _dispatch(waits: list[str], op: Any, args: tuple, kwargs: dict) -> Any:
    name = op.overloadpacket.__name__.removesuffix('_')
    given = [a for a in tree_flatten((args, kwargs))[0] if isinstance(a, Tensor)]
    there = [a for a in given if isinstance(a, Elsewhere)]
    device = kwargs.get('device')
    result_there = bool(there) if device is None else device.type == DEVICE.type
    copies = name in ('_to_copy', 'copy')
    if there and not copies:
        indices = [*map(id, args[1])] if name in ('index', 'index_put') else []
        others = [a for a in given if not isinstance(a, Elsewhere)]
        # As with a GPU: indices may be of the CPU, and numbers, where they are not put together.
        strange = [a for a in others if id(a) not in indices and (a.dim() or name in JOINING)]
        if strange:
            shapes = [tuple(a.shape) for a in strange]
            raise RuntimeError(f'{op} has tensors of two devices, of the CPU those of {shapes}')
        if any(id(a) in indices for a in others) or _waits(name, args, kwargs):
            waits.append(_place())
    if copies and _blocks(name, args, kwargs, result_there):
        waits.append(_place())
    if device is not None:
        kwargs = kwargs | dict(device=HERE)
    found = op(*tree_map(_here, args), **tree_map(_here, kwargs))
    assert all(a.here.shape == a.shape for a in there), f'{op} changes a shape in place'
    if not result_there:
        return found
    changed = {id(a.here): a for a in there}

    def bring(value: Any) -> Any:
        if not isinstance(value, Tensor) or isinstance(value, Elsewhere):
            return value
        return changed[id(value)] if id(value) in changed else Elsewhere(value, waits)

    return tree_map(bring, found)


def _waits(name: str, args: tuple, kwargs: dict) -> bool:
    """Whether a GPU's result is needed for the next line to run."""
    if name in ('index', 'index_put'):
        masks = [i for i in args[1] if i is not None and i.dtype in (torch.bool, torch.uint8)]
        # A number is filled in without a wait. A tensor of one value looks the same here.
        fills = name == 'index_put' and len(args[1]) == 1 and not args[2].dim()
        return bool(masks) and not fills
    if name == 'repeat_interleave':
        return kwargs.get('output_size') is None
    return name in WAITING


def _blocks(name: str, args: tuple, kwargs: dict, result_there: bool) -> bool:
    """Whether it copies between the devices, and waits for it."""
    if kwargs.get('non_blocking') or (name == 'copy' and len(args) > 2 and args[2]):
        return False
    ends = args[:2] if name == 'copy' else args[:1]
    sides = {isinstance(a, Elsewhere) for a in ends} | ({result_there} if name != 'copy' else set())
    return len(sides) > 1


def _here(value: Any) -> Any:
    return value.here if isinstance(value, Elsewhere) else value


def _place() -> str:
    """The innermost line of the project, or of a package that it builds on."""
    frame = sys._getframe(2)
    while frame is not None:
        if match := PACKAGES.search(frame.f_code.co_filename):
            return f'{match[0]}:{frame.f_lineno}'
        frame = frame.f_back
    return ''


def _kernel(waits: list[str], function: Callable, *args: Any, **kwargs: Any) -> Any:
    """One of mmcv's, which reads memory, and has one for GPUs, too."""
    given = [a for a in tree_flatten((args, kwargs))[0] if isinstance(a, Tensor)]
    there = [isinstance(a, Elsewhere) for a in given]
    assert all(there) or not any(there), f'{function} has tensors of two devices'
    with _disable_current_modes():  # of which it would ask for each number it reads
        found = function(*tree_map(_here, args), **tree_map(_here, kwargs))
    if not any(there):
        return found
    if 'nms' in function.__name__:  # how many it keeps
        waits.append(_place())
    return tree_map(lambda a: Elsewhere(a, waits) if isinstance(a, Tensor) else a, found)


class _Kernels:
    """mmcv's compiled functions."""

    def __init__(self, module: Any, waits: list[str]) -> None:
        self.module, self.waits = module, waits

    def __getattr__(self, name: str) -> Callable:
        return functools.partial(_kernel, self.waits, getattr(self.module, name))


class _Autocast(torch.autocast):
    """Torch's, which asks devices whether they know it."""

    def __init__(self, device_type: str, *args: Any, **kwargs: Any) -> None:
        super().__init__(HERE.type if device_type == DEVICE.type else device_type, *args, **kwargs)


@contextlib.contextmanager
def second_device(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Have :data:`DEVICE` in the block; a list of places that waited for it, in their order."""
    waits: list[str] = []
    if not THERE:
        yield waits
        return
    with monkeypatch.context() as patches, _Dispatch(waits):
        patches.setattr(torch, 'autocast', _Autocast)
        for module in (nms, box_iou_rotated):
            module = sys.modules[module.__module__]
            patches.setattr(module, 'ext_module', _Kernels(module.ext_module, waits))
        # mmengine lists the devices whose tensors may be indices.
        patches.setattr(instance_data, 'IndexType', instance_data.IndexType | Elsewhere)
        patches.setattr(instance_data, 'BoolTypeTensor', instance_data.BoolTypeTensor | _Masks)
        before = torch._C._only_lift_cpu_tensors()
        torch._C._set_only_lift_cpu_tensors(True)
        try:
            yield waits
        finally:
            torch._C._set_only_lift_cpu_tensors(before)
