import platform
import resource
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / 'projects/TurboTrain/turbotrain/engine/freed_memory.py'
# The page faults of a second pass over 64 MiB, the first of which was freed.
FAULTS = f"""
import resource, runpy, sys

functions = runpy.run_path({str(FILE)!r})
if sys.argv[1] != 'as ever':
    functions['keep_freed_memory']()
for _ in range(2):
    if sys.argv[1] == 'give back':
        functions['give_back_freed_memory']()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    bytearray(b'x') * 2**26
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != 'glibc', reason='for the C library glibc alone')
def test_memory_that_was_freed_needs_no_new_pages():
    faults = {}
    for way in ('keep', 'give back', 'as ever'):
        words = [sys.executable, '-c', FAULTS, way]
        faults[way] = int(subprocess.run(words, stdout=subprocess.PIPE, check=True).stdout)
    pages = 2**26 // resource.getpagesize()
    assert faults['keep'] < pages / 100 < min(faults['give back'], faults['as ever'])
