"""The benchmarks of pyperformance 1.14: what of them is run, and how often, for about 0.1 s a value.

Read off its MANIFEST and the metadata of each. `loops` are fixed here, so that every interpreter, environment
and host does the same work. A value is the time of one loop, or of one of the turns that some have in a loop.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

VERSION = "1.14.0"


@dataclass(frozen=True, slots=True)
class Script:
    """How a benchmark is run."""

    folder: str
    """Its script is bm_FOLDER/run_benchmark.py."""
    reported: str
    """The name that its report has."""
    loops: int
    loop_s: float
    """About the time of one loop on a small machine."""
    options: tuple[str, ...] = ()


# Name, folder, reported name (=: the same), loops, seconds of a loop, options.
_TABLE = """
2to3 2to3 = 1 0.81
argparse argparse many_optionals 128 0.00046 many_optionals
argparse_subparsers argparse subparsers 1 0.22 subparsers
async_generators async_generators = 1 0.79
async_tree async_tree async_tree_none 1 1.7 none
async_tree_cpu_io_mixed async_tree = 1 2.3 cpu_io_mixed
async_tree_io async_tree = 1 4.8 io
async_tree_memoization async_tree = 1 2.4 memoization
async_tree_eager async_tree = 1 2.1 eager
async_tree_eager_cpu_io_mixed async_tree = 1 3.7 eager_cpu_io_mixed
async_tree_eager_io async_tree = 1 3.9 eager_io
async_tree_eager_memoization async_tree = 1 1.6 eager_memoization
async_tree_tg async_tree async_tree_none_tg 1 1.1 none --task-groups
async_tree_cpu_io_mixed_tg async_tree = 1 1.4 cpu_io_mixed --task-groups
async_tree_io_tg async_tree = 1 2.4 io --task-groups
async_tree_memoization_tg async_tree = 1 1.5 memoization --task-groups
async_tree_eager_tg async_tree = 1 0.83 eager --task-groups
async_tree_eager_cpu_io_mixed_tg async_tree = 1 1.2 eager_cpu_io_mixed --task-groups
async_tree_eager_io_tg async_tree = 1 2.9 eager_io --task-groups
async_tree_eager_memoization_tg async_tree = 1 1.2 eager_memoization --task-groups
asyncio_tcp asyncio_tcp = 1 3.8
asyncio_tcp_ssl asyncio_tcp = 1 10 --ssl
bpe_tokeniser bpe_tokeniser = 1 16
coroutines coroutines = 1 0.065
gc_traversal gc_traversal = 4 0.016
gc_collect gc_collect create_gc_cycles 8 0.01
generators generators = 1 0.19
chaos chaos = 1 0.2
comprehensions comprehensions = 4096 1.5e-05
deltablue deltablue = 8 0.0086
fannkuch fannkuch = 1 1.1
float float = 1 0.29
go go = 1 0.6
hexiom hexiom = 4 0.02
json_dumps json_dumps = 2 0.041
json_loads json_loads = 64 0.0012
mdp mdp = 1 9.3
meteor_contest meteor_contest = 1 0.17
nbody nbody = 1 0.055
nqueens nqueens = 1 0.14
pathlib pathlib = 1 0.051
pickle pickle = 512 0.00011 pickle
pickle_dict pickle = 1024 6.6e-05 pickle_dict
pickle_list pickle = 4096 1.8e-05 pickle_list
pickle_pure_python pickle = 4 0.016 --pure-python pickle
pidigits pidigits = 1 0.3
pyflate pyflate = 1 0.87
python_startup python_startup = 1 0.051
python_startup_no_site python_startup = 2 0.03 --no-site
raytrace raytrace = 1 0.52
regex_compile regex_compile = 1 0.16
regex_dna regex_dna = 1 0.23
regex_effbot regex_effbot = 1 0.084
regex_v8 regex_v8 = 2 0.042
richards richards = 1 0.11
richards_super richards_super = 1 0.15
spectral_norm spectral_norm = 1 0.18
sqlite_synth sqlite_synth = 2048 2.7e-05
telco telco = 4 0.014
typing_runtime_protocols typing_runtime_protocols = 64 0.001
unpack_sequence unpack_sequence = 4096 1.9e-05
unpickle pickle = 512 0.00016 unpickle
unpickle_list pickle = 2048 2.5e-05 unpickle_list
unpickle_pure_python pickle = 8 0.012 --pure-python unpickle
"""


def _script(line: str) -> tuple[str, Script]:
    name, folder, reported, loops, loop_s, *options = line.split()
    reported = name if reported == "=" else reported
    return name, Script(folder, reported, int(loops), float(loop_s), tuple(options))


SCRIPTS: Mapping[str, Script] = MappingProxyType(dict(map(_script, _TABLE.strip().splitlines())))
"""Those of the standard library alone that report one figure, by their names in pyperformance."""

SEVERAL = frozenset(("base64", "concurrent_imap", "deepcopy", "logging", "pprint", "scimark", "xml_etree"))
"""Those whose script reports several figures, which perfctl does not read."""

_NEEDS = """
asyncio_websockets websockets
coverage coverage
chameleon Chameleon
crypto_pyaes pyaes
dask dask
django_template django legacy-cgi
dulwich_log dulwich
docutils docutils
fastapi fastapi httpx uvicorn
genshi Genshi
html5lib html5lib
mako Mako
networkx networkx
networkx_connected_components networkx
networkx_k_core networkx
sphinx sphinx
sqlalchemy_declarative SQLAlchemy
sqlalchemy_imperative SQLAlchemy
sqlglot_v2 sqlglot_v2
sqlglot_v2_parse sqlglot_v2
sqlglot_v2_transpile sqlglot_v2
sqlglot_v2_optimize sqlglot_v2
sympy sympy
tomli_loads tomli
tornado_http tornado
xdsl xdsl
"""

NEEDS: Mapping[str, str] = MappingProxyType({
    line.partition(" ")[0]: line.partition(" ")[2] for line in _NEEDS.strip().splitlines()
})  # fmt: skip
"""The packages that the others need, which the layer `python` does not have."""
