"""The parts of a report: what is read, charts, tables and pictures."""

import json
import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tests.tools.work_dirs import write_robustness
from turbotrain.errors import UserError
from turbotrain.evaluation import average_precision, precision_recall
from turbotrain.report import Options, read_runs, render_report
from turbotrain.report.charts import Curve, letter, line_chart, short
from turbotrain.report.curves import (
    precision_charts,
    robustness_charts,
    training_groups,
)
from turbotrain.report.images import Still, embed
from turbotrain.report.scalars import Scalars, read_scalars
from turbotrain.report.scoring import Scores
from turbotrain.report.tables import config_differences, metric_groups


def test_an_entry_cut_off_at_the_end_is_left_out_and_a_broken_one_is_named(tmp_path):
    path = tmp_path / 'scalars.json'
    path.write_text('{"lr": 1, "step": 10}\n{"lr": NaN, "step": 20}\n{"lr": 3, "st')
    (series,) = read_scalars([path]).training_series().values()
    assert series.steps.tolist() == [10, 20] and math.isnan(series.values[1])
    path.write_text('{"lr": 1, "step": 10}\n{"lr": \n{"lr": 3, "step": 30}\n')
    with pytest.raises(UserError, match='scalars.json, line 2'):
        read_scalars([path])


def write_log(path: Path, *entries: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text('\n'.join(entries) + '\n')
    return path


def test_clocks_that_are_set_back_lose_nothing(tmp_path):
    def log(name: str, steps: range) -> Path:
        lines = [f'{{"lr": {name[-1]}, "step": {step}}}' for step in steps]
        return write_log(tmp_path / name, *lines)

    first, second, third = range(10, 60, 10), range(50, 120, 10), range(80, 100, 10)
    in_time = [log('at_1', first), log('at_2', second), log('at_3', third)]
    set_back = [log('a_2', second), log('b_1', first), log('c_3', third)]
    anew = [log('at_1', first), log('at_4', first)]
    for paths, expected in (
        (in_time, [1] * 4 + [2] * 3 + [3] * 2), (set_back, [1] * 4 + [2] * 3 + [3] * 2),
        (anew, [4] * 5),
    ):  # fmt: skip
        (series,) = read_scalars(paths).training_series().values()
        assert series.values.tolist() == expected
        assert series.steps.tolist() == [*range(10, 10 * len(expected) + 10, 10)]


VALIDATED = '{"EPA": 40.5, "time": %s, "step": 0}'


@pytest.mark.parametrize('names', [('at_1', 'at_2', 'at_3'), ('at_3', 'at_2', 'at_1')])
def test_a_log_without_training_comes_after_it(names, tmp_path):
    """Of a run that went on to make up for its last validation; and one that was repeated."""
    first = write_log(tmp_path / names[0], '{"lr": 1, "step": 10}', '{"lr": 1, "step": 20}')
    second = write_log(tmp_path / names[1], VALIDATED % 1)
    third = write_log(tmp_path / names[2], VALIDATED % 2)
    found = read_scalars(sorted([first, second, third])).validation
    assert [(entry['step'], entry['EPA']) for entry in found] == [(20, 40.5)]
    alone = read_scalars([second]).validation
    assert [entry['step'] for entry in alone] == [0]


HUGE = '1' + '0' * 400
ODD_ENTRIES = [
    f'{{"loss": {HUGE}, "iter": 2, "step": 2}}', f'{{"loss": {"9" * 5000}, "iter": 2, "step": 2}}',
    '{"loss_\\ud800": 1, "iter": 2, "step": 2}', '{"loss": -Infinity, "iter": 2, "step": 2}',
]  # fmt: skip


@pytest.mark.parametrize('odd', ODD_ENTRIES, ids=range(len(ODD_ENTRIES)))
def test_odd_values_are_drawn(odd, tmp_path):
    good = '{"loss": 1.5, "iter": 1, "step": 1}'
    write_log(tmp_path / 'a/vis_data/scalars.json', good, odd, good.replace('1,', '3,'))
    write_log(tmp_path / 'metrics.json', f'{{"ap": {HUGE}, "\\udfff": 1}}')
    page = render_report(read_runs([tmp_path]), Options(None, 0, 0.3))
    assert page.encode()


@pytest.mark.parametrize(
    ('file', 'content', 'word'),
    [
        ('a/vis_data/scalars.json', '[' * 50_000 + '\n{}', 'line 1: it is nested too deep'),
        ('a/vis_data/scalars.json', f'{{"lr": 1, "step": {HUGE}}}\n{{}}', "number 'step'"),
        ('metrics.json', '{"a":' * 50_000, 'is no JSON .*nested too deep'),
        ('robustness.json', '{"about": {}, "sweeps": {"delay": 3}}', 'objects about and sweeps'),
        ('robustness.json', '{"about": {}, "sweeps": {"a": {"x": {}}}}', 'about and sweeps'),
        ('robustness.json', '{"about": {}, "sweeps": {"a": {"1": {"b": "c"}}}}', 'about and'),
    ],
)
def test_what_cannot_be_drawn_is_named(file, content, word, tmp_path):
    write_log(tmp_path / file, content)
    with pytest.raises(UserError, match=f'{Path(file).name}.*{word}'):
        read_runs([tmp_path])


def test_robustness_is_found_where_the_sweep_puts_it(tmp_path):
    folder = tmp_path / 'finetune'
    folder.mkdir()
    (folder / 'epoch_1.pth').write_bytes(b'123')
    stamp = int((folder / 'epoch_1.pth').stat().st_mtime)
    (folder / 'metrics.json').write_text('{}')
    for name, size in (('a', 4), ('b', 3)):
        write_robustness(tmp_path / 'robustness' / name)
        kept = tmp_path / 'robustness' / name / 'robustness.json'
        content = json.loads(kept.read_text())
        content['about'] = dict(config=name, checkpoint=f'epoch_1.pth, {size} bytes, {stamp}')
        kept.write_text(json.dumps(content))
    (found,) = read_runs([folder])
    assert found.robustness['about']['config'] == 'b'


def test_runs_get_the_shortest_names_that_differ(tmp_path):
    for name in ('a/x/run', 'b/x/run'):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / 'metrics.json').write_text('{}')
    assert [r.name for r in read_runs([tmp_path / 'a/x/run'])] == ['run']
    names = [r.name for r in read_runs([tmp_path / 'a/x/run', tmp_path / 'b/x/run'])]
    assert names == ['a/x/run', 'b/x/run']


def test_the_curve_has_the_area_of_average_precision():
    rng = np.random.default_rng(0)
    for num in (1, 7, 60):
        hits = rng.random(num) < 0.5
        recall, precision = precision_recall(hits, num)
        area = float((np.diff(recall, prepend=0.0) * precision).sum())
        assert area == pytest.approx(average_precision(hits, num), abs=1e-12)
        assert (np.diff(precision) <= 0).all() and (np.diff(recall) > 0).all()
    assert np.isnan(precision_recall(np.array([True]), 0)[0]).all()


def test_differences_say_what_is_better():
    names = 'mAP@0.5', 'ADE', 'EPA_stationary', 'x'
    rows = (50.0, 2.0, 1.0, math.nan), (48.0, 1.5, 2.0, 1.0)
    found = metric_groups([dict(zip(names, row, strict=True)) for row in rows])
    ap, ade = found['Headline']
    assert (ap.cells[1].difference, ap.cells[1].verdict, ap.cells[0].best) == (
        '−2.0',
        'worse',
        True,
    )
    assert (ade.cells[1].difference, ade.cells[1].verdict, ade.unit) == ('−0.50', 'better', 'm')
    still, unknown = found['Forecasts']
    assert still.cells[1].verdict == '' and not any(cell.best for cell in still.cells)
    assert [cell.text for cell in unknown.cells] == ['–', '1.0']


def test_config_differences_are_paths_and_values():
    found = config_differences([
        dict(a=1, b=dict(c=[1, 2], d=[dict(e='x')]), same=()),
        dict(a=1, b=dict(c=[1, 3], d=[dict(e='y'), dict(e='z')]), same=()),
    ])  # fmt: skip
    assert found == [
        ('b.c', ['[1, 2]', '[1, 3]']), ('b.d[0].e', ["'x'", "'y'"]), ('b.d[1].e', ['–', "'z'"]),
    ]  # fmt: skip


def test_charts_keep_gaps_ends_and_order():
    y = np.array([1.0, 2.0, np.nan, 4.0, np.nan, 5.0, 6.0] + [7.0] * 6)
    x = np.arange(len(y)) * 10
    curves = [Curve(0, 'a', x, y), Curve(1, 'b', x, y)]
    chart = line_chart('t', curves, 'iteration')
    left, top, right, bottom = chart.box
    first, second = chart.lines
    assert [len(piece.split()) for piece in first.pieces] == [2, 8]
    assert len(first.dots) == 1
    assert abs(first.end[1] - second.end[1]) >= 10, 'letters do not cover each other'
    places = [pair.split(',') for piece in first.pieces for pair in piece.split()]
    assert all(left <= float(px) <= right and top <= float(py) <= bottom for px, py in places)
    assert chart.text == 't over iteration. A, a: 1 to 7 at 120; B, b: 1 to 7 at 120.'


def test_long_curves_are_averaged_and_end_where_they_end():
    x = np.arange(10_000)
    (line,) = line_chart('t', [Curve(0, 'a', x, np.sin(x))], 'iteration').lines
    assert len(line.curve.x) == 200
    assert (line.curve.x[-1], line.curve.y[-1]) == (9999, np.sin(9999))


@pytest.mark.parametrize('values', [[0.0, 0.0], [1e-9, 3e-9], [5.0, 5.0 + 1e-15], [1e5, 2e7]])
@pytest.mark.parametrize('log', [False, True])
def test_axes_have_ticks_at_any_scale(values, log):
    chart = line_chart('t', [Curve(0, 'a', np.array([1, 2]), np.array(values))], 'x', log=log)
    assert 1 <= len(chart.y_ticks) <= 12
    assert chart.x_ticks


def test_numbers_are_short():
    values = (0.0, 1.23456, -1234.5, 12_345.6, 3.2e6, math.nan)
    assert [short(v) for v in values] == ['0', '1.235', '-1234', '12.35k', '3.2M', '–']
    assert letter(1) == 'B'


def test_pictures_become_as_small_as_they_must():
    rng = np.random.default_rng(0)
    still = Still(rng.integers(0, 255, (400, 800, 3), dtype=np.uint8), 'noise')
    large, small = embed(still, 10**7), embed(still, 30_000)
    assert (large.width, large.height) == (800, 400)
    assert len(small.source) < 30_100 and small.width < 800


def test_precision_charts_say_where_nothing_is_found():
    nothing = np.zeros(0), np.zeros(0)
    found = np.array([10.0, 20.0, 30.0]), np.array([90.0, 90.0, 40.0])
    scores = {
        i: Scores({}, dict(car={0.5: curve}, bus={0.5: nothing}), {}, 0.5, 1)
        for i, curve in ((0, found), (2, nothing))
    }
    car, bus = precision_charts(scores, [])
    assert (car.title, bus.title) == ('car', 'bus: nothing found')
    shown, faint = sorted((line.curve for line in car.lines), key=lambda curve: curve.faint)
    assert shown.x.tolist() == [0, 20, 20, 30, 30] and shown.y.tolist() == [90, 90, 40, 40, 0]
    assert faint.run == 2 and [line.end for line in bus.lines] == [None, None]


def test_a_sweep_that_doubles_is_drawn_by_its_exponent():
    by_value = {'1': {'EPA': 3.0}, '4': {'EPA': None}, '16': {'EPA': 2.0}}
    runs = [SimpleNamespace(name='a', robustness=dict(sweeps=dict(compression=by_value)))]
    (group,) = robustness_charts(runs)
    (chart,) = group.charts
    assert group.title == 'Compression' and chart.named
    assert [text for _, text in chart.x_ticks] == ['1', '4', '16']
    first, middle, last = (x for x, _ in chart.x_ticks)
    assert middle - first == pytest.approx(last - middle)
    assert len(chart.lines[0].dots) == 2, 'what is unknown leaves a gap'


def test_long_curves_are_smoothed_in_front_of_what_was_logged():
    steps = np.arange(10, 2010, 10)
    entries = tuple(dict(step=int(s), loss=float(s % 20), lr=float(s)) for s in steps)
    runs = [SimpleNamespace(name='a', scalars=Scalars(entries))]
    losses, rates = training_groups(runs)
    logged, smooth = losses.charts[0].lines
    assert logged.curve.faint and not smooth.curve.faint
    assert np.ptp(smooth.curve.y[10:-10]) < 0.2 * np.ptp(logged.curve.y)
    assert len(rates.charts[0].lines) == 1
