"""Compile torch's C++ headers once: ``python tools/mmcv_build/precompile_headers.py FOLDER``.

Writes ``FOLDER/torch.h`` and, where the compiler is GCC, its compiled form beside it. A compilation
with ``-include FOLDER/torch.h`` then takes a fifth of the time for a file such as mmcv's. GCC uses
the compiled form where the flags agree and reads the header itself where they don't.
"""

import shlex
import subprocess
import sys
from pathlib import Path

import torch
from setuptools._distutils.ccompiler import new_compiler
from setuptools._distutils.sysconfig import customize_compiler, get_python_inc
from torch.utils.cpp_extension import BuildExtension, get_cxx_compiler, include_paths


def main() -> None:
    header = Path(sys.argv[1]) / 'torch.h'
    header.write_text('#include <torch/types.h>\n')
    cxx = shlex.split(get_cxx_compiler())
    about = subprocess.run([*cxx, '--version'], capture_output=True, text=True).stdout
    if 'Free Software Foundation' not in about:
        return
    compiler = new_compiler()
    customize_compiler(compiler)  # reads CFLAGS
    # What follows CFLAGS is what mmcv and torch add.
    flags = [*compiler.compiler_so[1:], '-std=c++17', '-DTORCH_API_INCLUDE_EXTENSION_H']
    if hasattr(BuildExtension, '_add_gnu_cpp_abi_flag'):  # older torches have two kinds of builds
        flags.append(f'-D_GLIBCXX_USE_CXX11_ABI={int(torch.compiled_with_cxx11_abi())}')
    includes = [f'-I{path}' for path in [*include_paths(), get_python_inc()]]
    command = [*cxx, '-w', *flags, *includes, '-x', 'c++-header', header, '-o', f'{header}.gch']
    subprocess.run(command, check=True)


if __name__ == '__main__':
    main()
