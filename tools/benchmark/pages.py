"""Tables of the benchmark as text: pure functions of what was measured."""

import textwrap
from collections.abc import Iterable, Sequence

FIGURES = {
    'AP@0.3': 'AP@0.3/vehicle', 'AP@0.5': 'AP@0.5/vehicle', 'AP@0.7': 'AP@0.7/vehicle',
    'mAP@0.3': 'mAP@0.3', 'mAP@0.5': 'mAP@0.5', 'mAP@0.7': 'mAP@0.7',
    'ADE (m)': 'ADE', 'FDE (m)': 'FDE', 'MR': 'MR', 'EPA': 'EPA',
    'EPA, stationary': 'EPA_stationary',
}  # fmt: skip
ALONE = ('no-fusion', 'faf')  # what cooperation has to beat
BOXES_OR_POINTS = ('early-fusion', 'late-fusion')  # are sent there; feature maps by all others
BUDGET = (
    'Every method is trained from scratch for the same number of iterations of one sample each, '
    'with the same seed and learning rate schedule; nothing is pretrained or shared. A method that '
    'needs the weights of another (a teacher) gets those of this run. Minutes of training show '
    'what is learnt quickly, not what a method can reach, and one seed does not tell methods apart '
    'that lie within a few points of each other.'
)
VELOCITY_HEAD = '2026-11-29'  # when models got it
BEFORE_IT = (
    "These models are from before the velocity head: today's have 1.5 to 2 times the parameters "
    'and send more, and [two of them](../weights/README.md), trained for 960 iterations, reach '
    'much more.'
)
LEGEND = (
    'AP, MR and EPA in %; AP of vehicles, mAP the mean over vehicle, pedestrian and truck; `EPA, '
    'stationary`: the same detections forecast not to move. `message`: mean of what an agent '
    'sends for one sample. `ms a sample`: detecting and forecasting at test, without loading; `ms '
    'an iteration`: training, with loading. With `--jobs`, these times are of trainings side by '
    'side.\n'
)


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; all columns but the first are aligned to the right."""
    lines = [head, ('---', *['---:'] * (len(head) - 1)), *rows]
    return ''.join(f'| {" | ".join(line)} |\n' for line in lines)


def replace_table(text: str, name: str, table: str, writer: str = '') -> str:
    """A page with the table between two marks of its name made anew.

    Args:
        text: the page.
        name: of the table: it lies between ``<!-- name ... -->`` and ``<!-- end of name ... -->``.
        table: the new one.
        writer: what the marks say after the name.

    Raises:
        ValueError: a mark is missing.
    """
    before, start, rest = text.partition(f'<!-- {name}{writer} -->\n')
    _, end, after = rest.partition(f'<!-- end of {name}{writer} -->\n')
    if not start or not end:
        raise ValueError(f'the marks of the table {name!r} are missing on its page')
    return f'{before}{start}\n{table}\n{end}{after}'


def number(value: float | None, digits: int = 1) -> str:
    """A figure; a dash where there is none."""
    return '–' if value is None else f'{value:.{digits}f}'


def message(size: float | None) -> str:
    """Bytes as kB."""
    return '–' if size is None else f'{size / 1e3:.1f} kB'


def results_table(methods: dict[str, dict]) -> str:
    """One row a method."""
    rows = []
    for method, figures in methods.items():
        values = [number(figures.get(k), 2 if k in ('ADE', 'FDE') else 1) for k in FIGURES.values()]
        rows.append((
            method, *values, message(figures.get('message_bytes')),
            f'{figures["parameters"] / 1e3:.0f} k',
            number(1e3 * figures['seconds_per_sample'], 0),
            number(1e3 * figures['seconds_per_iteration'], 0),
        ))  # fmt: skip
    head = ('method', *FIGURES, 'message', 'parameters', 'ms a sample', 'ms an iteration')
    return markdown_table(head, rows)


def gains(methods: dict[str, dict], alone: str) -> dict[str, float]:
    """Points of AP@0.5 of vehicles that methods have over one without cooperation, if it was run.

    Args:
        methods: figures by method.
        alone: one of :data:`ALONE`.
    """
    values = {m: f.get('AP@0.5/vehicle') for m, f in methods.items()}
    base = values.get(alone)
    if base is None:
        return {}
    return {
        m: round(value - base, 2)
        for m, value in values.items()
        if value is not None and m not in ALONE
    }


def gains_sentences(methods: dict[str, dict]) -> str:
    """How far feature maps from others beat the ego alone."""
    text = ''
    for alone in ALONE:
        gained = gains(methods, alone)
        gained = {m: gain for m, gain in gained.items() if m not in BOXES_OR_POINTS}
        if gained:
            worst, best = min(gained, key=gained.get), max(gained, key=gained.get)
            text += (
                f'Intermediate fusion over {alone}, AP@0.5 of vehicles: {gained[worst]:+.1f} '
                f'({worst}) to {gained[best]:+.1f} points ({best}).\n\n'
            )
    return text


def costs_tables(profile: dict) -> str:
    """One table a method: milliseconds and MB of each module."""
    text = ''
    for method, rows in profile['methods'].items():
        modules = list(rows[0]['modules'])
        body = [
            (
                f'{row["agents"]} x {row["frames"]}',
                *(f'{c["ms"]:.0f} / {c["MB"]:.0f}' for c in map(row['modules'].get, modules)),
            )
            for row in rows
        ]
        text += f'\n{method}:\n\n{markdown_table(("agents x frames", *modules), body)}'
    return text


def benchmark_page(results: dict) -> str:
    """``docs/benchmark.md``."""
    text = f'# Benchmark on the mini dataset\n\nWritten by `tools/benchmark/models.py`. {BUDGET}\n'
    for mode, run in sorted(results['modes'].items(), key=lambda item: item[0] != 'vc'):
        text += (
            f'\n## Mode {mode}\n\n```bash\n{run["command"]}\n```\n\n'
            f'{run["iterations"]} iterations, seed {run["seed"]}; {setting(run)}.'
            f'{" " + BEFORE_IT if run["date"] < VELOCITY_HEAD else ""}\n\n'
            f'{results_table(run["methods"])}\n{gains_sentences(run["methods"])}{LEGEND}'
        )
    if not results['modes']:
        text += '\nNot run yet.\n'
    if results['profile']:
        profile = results['profile']
        text += (
            f'\n## What the modules cost\n\n```bash\n{profile["command"]}\n```\n\n'
            f'{profile["points"]} points a cloud, {profile["objects"]} objects, one sample, mini '
            'sizes; forward and backward of each module alone, on the inputs it gets in the whole '
            'detector. Milliseconds (the fastest) / MB allocated at the peak beyond what was there '
            f'before; {setting(profile)}.\n{costs_tables(profile)}'
        )
    return '\n'.join(map(_filled, text.split('\n')))


def _filled(line: str) -> str:
    """A line of a page as lines of at most 100 characters; rows of tables stay."""
    if line.startswith('|'):
        return line
    return textwrap.fill(line, 100, break_long_words=False, break_on_hyphens=False)


def setting(run: dict) -> str:
    """Versions, hardware and date of a run."""
    versions = ', '.join(f'{name} {version}' for name, version in run['versions'].items())
    return f'{versions}; {run["hardware"]}; {run["date"]}'
