from dataclasses import replace

import pytest

from tests.pretraining.masks import records


@pytest.mark.parametrize('kind', [-1, 2])
def test_kinds_without_weights_are_refused(kind):
    """Counted from behind, -1 would be infrastructure."""
    (agents,) = records(2)
    kinds = agents.kinds.copy()
    kinds[1] = kind
    with pytest.raises(ValueError, match=rf'kinds: expected 0 .* or 1 .*, got \[0, {kind}\]'):
        replace(agents, kinds=kinds)
