"""The picture in the docs shows what it says."""

import runpy
from pathlib import Path

import pytest

TOOL = Path(__file__).resolve().parents[2] / 'docs/figures/pareto_toy.py'


def test_suppression_ends_on_the_pareto_front_and_the_sum_far_from_it(tmp_path):
    toy = runpy.run_path(str(TOOL))
    paths = {
        name: [toy['optimise'](toy['STARTS'][1], toy['SETTINGS'][name], 300)]
        for name in ('sum', 'PCGrad, every step')
    }
    ends = {name: toy['distance_to_front'](path[-1]) for name, (path,) in paths.items()}
    assert ends['sum'] > 1
    assert ends['PCGrad, every step'] == pytest.approx(0, abs=0.05)
    toy['draw'](paths, tmp_path / 'toy.png')
    assert (tmp_path / 'toy.png').read_bytes()[:4] == b'\x89PNG'
