"""What a training process remembers beside weights and optimiser: its random state."""

import random

import numpy as np
import torch

__all__ = ['random_state', 'restore_random_state']


def random_state() -> dict:
    """The state of Python's, NumPy's, torch's and the GPU's generators, in plain values."""
    version, numbers, gauss = random.getstate()
    # Of the legacy generator, which other libraries draw from.
    _, keys, *rest = np.random.get_state()  # noqa: NPY002
    state = dict(
        python=(version, torch.tensor(numbers), gauss),
        numpy=(torch.from_numpy(keys.astype(np.int64)), *rest),
        torch=torch.get_rng_state(),
    )
    if torch.cuda.is_available():
        state['cuda'] = torch.cuda.get_rng_state()
    return state


def restore_random_state(state: dict) -> None:
    """Go on from what :func:`random_state` returned; a GPU's only where there is one."""
    version, numbers, gauss = state['python']
    random.setstate((version, tuple(numbers.tolist()), gauss))
    keys, *rest = state['numpy']
    np.random.set_state(('MT19937', keys.cpu().numpy().astype(np.uint32), *rest))  # noqa: NPY002
    # A checkpoint's tensors may have been loaded onto a GPU.
    torch.set_rng_state(state['torch'].cpu())
    if 'cuda' in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state['cuda'].cpu())
