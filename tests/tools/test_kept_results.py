"""Results of studies: what is kept beside what, and how it can be measured again."""

import argparse
import json
import shlex
import sys
from pathlib import Path

import pytest

from tools.benchmark import results
from tools.studies import label_efficiency
from tools.studies.figure1_drawing import epa_over_time
from turbotrain.commands import ROOT
from turbotrain.errors import UserError
from turbotrain.recipes.settings import add_comparison_arguments


def comparison(out: Path, *words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_comparison_arguments(parser)
    return argparse.Namespace(**vars(parser.parse_args(words)), out=out)


def type_command(monkeypatch: pytest.MonkeyPatch, *words: str) -> None:
    """Have a study run as if it had been typed so."""
    tool = str(ROOT / 'tools/studies' / Path(words[0]).name)
    monkeypatch.setattr(sys.modules['__main__'], '__file__', tool, raising=False)
    monkeypatch.setattr(sys, 'argv', list(words))


def test_rows_of_earlier_runs_stay_where_they_can_stand_beside_new_ones(tmp_path, monkeypatch):
    type_command(monkeypatch, 'fragility.py', '--choices', "prediction's weight 1")
    args = comparison(tmp_path / 'found.json')
    results.save('fragility', {'ours': {'a': 1}, 'no warm-up': {'a': 2}}, '', args)
    assert results.earlier('fragility', ['no warm-up'], args) == {'ours': {'a': 1}}
    assert results.earlier('aggregators', ['PCGrad'], args) == {}
    about = json.loads(args.out.read_text())['fragility_about']
    assert shlex.split(about['command'])[-1] == "prediction's weight 1"
    for words in (['--seeds', '0'], ['--split', 'val'], ['--epoch-iters', '1'], ['--amp']):
        other = comparison(args.out, *words)
        with pytest.raises(UserError, match=r"has \['ours'\] of fragility, measured with"):
            results.earlier('fragility', ['no warm-up'], other)
        assert results.earlier('fragility', ['no warm-up', 'ours'], other) == {}
    # Told before hours of training.
    with pytest.raises(UserError, match='has no place for recipes_20'):
        results.earlier('recipes_20', [], comparison(results.RESULTS))


@pytest.mark.parametrize(
    'words', [['--lengthen', '2'], ['--epoch-iters', '1'], ['--cfg-options', 'a.b=1'], ['--amp']]
)
def test_all_of_a_curve_is_measured_at_the_same_settings(words, monkeypatch):
    def settings_by(*more: str) -> dict:
        monkeypatch.setattr(sys, 'argv', ['a', *more])
        return label_efficiency.settings_of_runs(label_efficiency.parse_args())

    usual, other, less = settings_by(), settings_by(*words), settings_by('--seeds', '0', '1')
    row = dict(values=[50.0, 60.0])
    kept = dict(
        split='val',
        metrics={m: dict(scratch={'one': row, '5': row}) for m in label_efficiency.METRICS},
        cost={share: dict(scratch=usual) for share in ('one', '5')},
    )
    asked = [('pretrained', 'one')]
    found, cost = label_efficiency.earlier(kept, asked, 'val', usual)
    assert found.keys() == {('scratch', 'one'), ('scratch', '5')} and cost.keys() == {'one', '5'}
    both = [*asked, ('scratch', 'one')]
    with pytest.raises(UserError, match='--out has scratch, one, with'):
        label_efficiency.earlier(kept, asked, 'val', less)
    # A share of its own may have fewer seeds.
    assert label_efficiency.earlier(kept, both, 'val', less)[0].keys() == {('scratch', '5')}
    with pytest.raises(UserError, match='--out has scratch, 5, with'):
        label_efficiency.earlier(kept, both, 'val', other)
    # Of the whole trunk, before the fusion neck started anew.
    kept['cost']['5'] = dict(scratch={k: v for k, v in usual.items() if k != 'anew'})
    with pytest.raises(UserError, match='--out has scratch, 5, with'):
        label_efficiency.earlier(kept, asked, 'val', usual)


def test_a_validation_that_one_seed_lacks_is_told_by_the_others():
    stage = dict(step_seconds=2.0, samples=20, curves=[[[10, 1.0], [20, 3.0]], [[10, 2.0]]])
    row = dict(stages=dict(S1=stage, S2=stage))
    assert epa_over_time(row) == ([20.0, 40.0, 60.0, 80.0], [1.5, 3.0, 1.5, 3.0])


def test_results_name_their_command_wherever_it_was_typed(tmp_path, monkeypatch):
    """The working directory is another one by the time that they are kept."""
    type_command(monkeypatch, '../elsewhere/figure1.py', '--seeds', '0')
    results.save('recipes', {}, '', comparison(tmp_path / 'found.json'))
    about = json.loads((tmp_path / 'found.json').read_text())['recipes_about']
    assert about['command'] == 'python tools/studies/figure1.py --seeds 0'


def test_what_another_command_writes_meanwhile_stays(tmp_path, monkeypatch):
    """Two methods' curves are measured side by side, for hours, and kept in one file."""
    out, metrics = tmp_path / 'curve.json', dict.fromkeys(label_efficiency.METRICS, 50.0)

    def measure(runs, settings):
        out.write_text(json.dumps(dict(methods={'f-cooper': dict(kept=1)})))
        stages = dict(finetuning=dict(iterations=1, train_seconds=1.0, metrics=metrics))
        return {(run.name, run.seed): stages for run in runs}

    monkeypatch.setattr(label_efficiency, 'run_all', measure)
    words = f'label_efficiency.py --shares 5 --seeds 0 1 --arms scratch --method v2vnet --out {out}'
    type_command(monkeypatch, *words.split())
    monkeypatch.chdir(ROOT)
    label_efficiency.main()
    methods = json.loads(out.read_text())['methods']
    assert methods['f-cooper'] == dict(kept=1)
    assert methods['v2vnet']['metrics']['EPA']['scratch']['5']['values'] == [50.0, 50.0]
