"""On a machine that does other work, training costs its share and no more."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ADD = """
import os, subprocess, sys, time
sys.path.insert(0, 'projects/TurboTrain')
if sys.argv[1] == 'ours':
    import turbotrain.commands
import torch
torch.set_num_threads(2)
spin = [sys.executable, '-c', 'while True: pass']
neighbours = [subprocess.Popen(spin) for _ in range(2 * os.cpu_count())]
try:
    numbers, count = torch.zeros(100_000), 0
    begin, end = time.process_time(), time.perf_counter() + 1.5
    while time.perf_counter() < end:
        numbers.add_(1)
        count += 1
    print((time.process_time() - begin) / count)
finally:
    for neighbour in neighbours:
        neighbour.kill()
"""


def seconds_of_an_addition(whose: str) -> float:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(('OMP_', 'GOMP_'))}
    command = [sys.executable, '-c', ADD, whose]
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=True
    )
    return float(done.stdout)


def test_threads_sleep_while_neighbours_work():
    """Spinning, two threads take up to hundreds of times the processor time for the same.

    How much it is depends on when the machine's other work lets them run: one of three tries tells.
    """
    assert any(
        seconds_of_an_addition('ours') < 0.8 * seconds_of_an_addition('stock') for _ in range(3)
    )


@pytest.mark.parametrize(
    ('tool', 'given'), [('train', None), ('train', 'ACTIVE'), ('test', None), ('visualize', None)]
)
def test_commands_decide_before_torch_is_loaded(tool, given):
    environment = {k: v for k, v in os.environ.items() if not k.startswith(('OMP_', 'GOMP_'))}
    environment |= dict(OMP_DISPLAY_ENV='TRUE') | (dict(OMP_WAIT_POLICY=given) if given else {})
    command = [sys.executable, f'tools/{tool}.py', '--help']
    told = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=True
    ).stderr
    if 'OMP_WAIT_POLICY' not in told:
        pytest.skip('this OpenMP does not say how its threads wait')
    assert f"OMP_WAIT_POLICY = '{given or 'PASSIVE'}'" in told
