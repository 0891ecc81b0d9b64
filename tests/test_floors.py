"""No import runs upwards in the house, and none in a circle."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / 'projects/TurboTrain/turbotrain'
# From the ground up; what lies on one floor knows nothing of each other.
FLOORS = (
    {'', 'errors', 'patches', 'compilation'},
    {'workers'},
    {'whole_file'},
    {'structures'},
    {'datasets', 'evaluation', 'balancing', 'simulation'},
    {'models', 'visualization', 'export'},
    {'pretraining'},
    {'engine'},
    {'plugin', 'report'},
    {'commands'},
    {'recipes', 'online'},
)


def name_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix('').parts
    return '.'.join(parts[:-1] if parts[-1] == '__init__' else parts)


def imports_of(path: Path, modules: set[str]) -> set[str]:
    """Modules of the package that a file names, wherever in it."""
    package, found = path.relative_to(PACKAGE).parts[:-1], set()
    for node in ast.walk(ast.parse(path.read_text())):
        assert not isinstance(node, ast.Import) or 'turbotrain' not in node.names[0].name
        if isinstance(node, ast.ImportFrom) and node.level:
            base = [*package[: len(package) - node.level + 1], *(node.module or '').split('.')]
            base = '.'.join(filter(None, base))
            inner = {f'{base}.{alias.name}'.strip('.') for alias in node.names} & modules
            found |= inner or {base}
    return found


def graph() -> dict[str, set[str]]:
    files = {name_of(path): path for path in PACKAGE.rglob('*.py')}
    found = {name: imports_of(path, {*files}) for name, path in files.items()}
    assert sum(map(len, found.values())) > 300
    assert {name for names in found.values() for name in names} <= files.keys()
    return found


def test_rooms_know_those_below_only():
    floor = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
    for name, names in graph().items():
        room = name.partition('.')[0]
        for other in {each.partition('.')[0] for each in names} - {room}:
            assert floor[other] < floor[room], f'{name} imports from {other}'


def test_no_module_needs_itself():
    """Packages' own files gather what is in them; nothing inside asks them for a neighbour."""
    TopologicalSorter(graph()).prepare()


def test_tests_take_nothing_from_each_other():
    """What several of them need lies in files of its own."""
    for path in Path(__file__).parent.rglob('*.py'):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or '').startswith('tests'):
                last = node.module.split('.')[-1]
                assert not last.startswith('test_'), f'{path.name} imports from {last}'
