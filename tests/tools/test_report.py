"""The report: what it shows of what, what it says where something is missing, and the page."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import pytest
import torch
from mmdet3d.registry import MODELS
from mmengine.config import Config

from tests.scenes import write_scenario
from tests.tools.browser import CHROMIUM, Browser
from tests.tools.browser_checks import check_charts, check_players, check_tabs, visible_panels
from tests.tools.html_page import Page
from tests.tools.work_dirs import (
    write_data,
    write_reconstruction,
    write_robustness,
    write_test,
    write_training,
)
from turbotrain.datasets import build_infos, save_infos
from turbotrain.errors import UserError
from turbotrain.report import Options, read_runs, render_report
from turbotrain.report.scalars import read_scalars

ROOT = Path(__file__).resolve().parents[2]
EVIL = '<script>alert(1)<'  # as a directory; with another part it is a whole element
TABS = [
    'overview', 'training', 'metrics', 'detection', 'forecasts', 'robustness', 'pictures', 'setup',
]  # fmt: skip


@pytest.fixture(scope='module')
def folders(tmp_path_factory):
    """Two runs with everything, one of which has been interrupted; the data are still there."""
    root = tmp_path_factory.mktemp('runs')
    cfg = write_data(root / 'data')
    first, second = (root / name / 'script>' for name in ('plain', EVIL))
    write_training(first, cfg)
    write_test(first, cfg)
    changed = cfg.copy()
    changed.optim_wrapper.optimizer.lr = 4e-3
    changed.load_from = '<script>alert(2)</script>'
    changed.optim_wrapper.aggregator = dict(type='UPGrad<img src=x onerror=alert(3)>')
    write_training(second, changed, seed=1, steps=range(10, 410, 10), validations=2)
    write_training(second, changed, seed=1, steps=range(310, 610, 10), stamp='20261125_110000')
    write_test(second, changed, seed=1, noise=0.5)
    for seed, folder in enumerate((first, second)):
        write_robustness(folder, seed)
        write_reconstruction(folder, seed)
    return first, second


def run(*words, cwd, ok=True):
    done = subprocess.run(
        [sys.executable, ROOT / 'tools/report.py', *words], cwd=cwd, text=True, check=False,
        timeout=400, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        env=os.environ | dict(PYTHONPATH=''),
    )  # fmt: skip
    assert (done.returncode == 0) == ok, done.stdout[-4000:]
    return done.stdout


@pytest.fixture(scope='module')
def path(folders, tmp_path_factory):
    """The page, as the command writes it somewhere else."""
    out = tmp_path_factory.mktemp('out')
    output = run(*folders, '--out', 'new/report.html', '--stills', '4', cwd=out)
    assert 'report.html: 2 runs' in output
    return out / 'new/report.html'


@pytest.fixture(scope='module')
def page(path):
    return Page(path.read_text())


def test_the_page_is_whole_small_and_well_formed(path, page):
    assert page.mistakes == []
    assert page.panels == TABS
    assert path.stat().st_size < 5e6
    ids = [own['id'] for _, own in page.elements if 'id' in own]
    assert len(ids) == len(set(ids))
    controlled = [own['aria-controls'] for own in page.all('a', role='tab')]
    assert controlled == TABS
    assert all(own.get('scope') in ('row', 'col') for own in page.all('th'))
    assert all(own.get('alt') for own in page.all('img'))
    assert all(own.get('aria-label') for own in page.all('svg', role='img'))
    assert len(page.all('table')) == len(page.all('caption'))


def test_nothing_is_fetched(page):
    addresses = [own[key] for _, own in page.elements for key in ('src', 'href') if key in own]
    assert {address[0] if address[0] == '#' else address[:5] for address in addresses} == {
        '#', 'data:',
    }  # fmt: skip
    style = (ROOT / 'projects/TurboTrain/turbotrain/report/resources/style.css').read_text()
    assert 'url(' not in style and '@import' not in style
    (policy,) = page.all('meta', http_equiv='Content-Security-Policy')
    assert policy['content'].startswith("default-src 'none'; img-src data:;")


def test_what_files_say_is_shown_and_never_run(page):
    assert len(page.all('script')) == 1
    assert not any(key.startswith('on') for _, own in page.elements for key in own)
    for text in ('<script>alert(1)</script>', '<script>alert(2)</script>', 'onerror=alert(3)'):
        assert text in page.text


def test_curves_are_the_projects_own(page, folders):
    """The table beside the curves holds what tools/test.py printed."""
    metrics = json.loads((folders[0] / 'metrics.json').read_text())
    assert 0 < metrics['AP@0.5/vehicle'] < 100 and metrics['EPA'] > 0
    assert f'{metrics["AP@0.5/vehicle"]:.1f}' in page.text
    formula = f'{metrics["EPA_hits"]:.1f} − 0.5 × {metrics["EPA_false_alarms"]:.1f}'
    assert formula in page.text
    assert 'What is not here' not in page.text  # where files disagree, it would say so


@pytest.mark.parametrize(
    ('steps', 'of'),
    [
        ('train', range(10, 610, 10)),
        ('validation', [200, 370, 440, 510, 580]),
    ],
)
def test_a_resumed_run_is_one_curve(folders, steps, of):
    scalars = read_scalars(sorted(folders[1].glob('*/vis_data/scalars.json')))
    assert [entry['step'] for entry in getattr(scalars, steps)] == list(of)
    assert scalars.seconds == pytest.approx(0.4 * 600, rel=0.05)


def test_a_part_is_there_if_its_data_are(tmp_path, folders):
    shutil.copytree(folders[0], tmp_path / 'a', ignore=shutil.ignore_patterns('*'))
    shutil.copy(folders[0] / 'metrics.json', tmp_path / 'a')
    text = render_report(read_runs([tmp_path / 'a']), Options())
    assert Page(text).panels == ['overview', 'metrics', 'forecasts']
    write_robustness(tmp_path / 'a/robustness')
    text = render_report(read_runs([tmp_path / 'a']), Options())
    assert Page(text).panels == ['overview', 'metrics', 'forecasts', 'robustness']


def test_what_cannot_be_made_is_said(tmp_path, folders):
    """Predictions whose data are gone; the info file may be elsewhere."""
    root = folders[0].parents[1]
    folder = tmp_path / 'moved'
    shutil.copytree(folders[0], folder)
    config = next(folder.glob('*/vis_data/config.py'))
    config.write_text(config.read_text().replace(str(root / 'data'), '/nowhere'))
    page = Page(render_report(read_runs([folder]), Options(stills=2)))
    assert 'there is no info file /nowhere/v2xpnp_infos_test.npz' in page.text
    assert 'detection' not in page.panels
    write_scenario(tmp_path / 'other', 'test', 'another_scenario', frames=range(1))
    other = tmp_path / 'v2xpnp_infos_other.npz'
    save_infos(str(other), build_infos(str(tmp_path / 'other'), 'test'))
    page = Page(render_report(read_runs([folder]), Options(other, stills=2)))
    assert 'A: no precision-recall curves: ' in page.text
    assert 'v2xpnp_infos_other.npz: has no agent 1 that can be the ego' in page.text
    infos = root / 'data/v2xpnp_infos_test.npz'
    page = Page(render_report(read_runs([folder]), Options(infos, stills=0)))
    assert 'detection' in page.panels and 'pictures' not in page.panels


def test_pictures_do_without_clouds(tmp_path, folders):
    root = folders[0].parents[1] / 'data'
    infos = shutil.copy(root / 'v2xpnp_infos_test.npz', tmp_path)
    with pytest.warns(UserWarning, match='the cloud is left out'):
        page = Page(render_report(read_runs(folders[:1]), Options(Path(infos), stills=1)))
    (picture,) = [own for own in page.all('img') if 'detections' in own['alt']]
    assert picture['alt'].startswith('A: 2023-03-17-16-12-12_3_0')


def test_a_pretrained_run_shows_what_it_reconstructs(tmp_path):
    write_scenario(tmp_path / 'data', frames=range(0, 15, 5))
    save_infos(
        str(tmp_path / 'data/v2xpnp_infos_train.npz'), build_infos(str(tmp_path / 'data'), 'train')
    )
    cfg = Config.fromfile(ROOT / 'configs/turbotrain/mini/pretrain_mini_v2xpnp.py')
    cfg.train_dataloader.dataset.data_root = str(tmp_path / 'data')
    write_training(tmp_path / 'run', cfg, validations=0)
    model = MODELS.build(cfg.model)
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'run/epoch_1.pth')
    page = Page(render_report(read_runs([tmp_path / 'run']), Options(stills=2)))
    assert page.panels == ['overview', 'training', 'pictures', 'setup']
    assert [own['data-label'].split()[-1] for own in page.all('div', class_='frame')] == ['0', '10']
    assert all('reconstruction, truth' in own['alt'] for own in page.all('img'))


@pytest.mark.parametrize(
    ('content', 'words', 'expected'),
    [
        ({}, ['none'], 'there is no work dir'),
        ({'a/b.txt': ''}, ['a'], 'holds nothing to report; expected <timestamp>/vis_data/scalars'),
        ({'a/metrics.json': '{}'}, ['a', '../t/a'], 'is named twice'),
        ({'a/metrics.json': '{'}, ['a'], 'metrics.json: is no JSON'),
        ({'a/metrics.json': '[1]'}, ['a'], 'expected a JSON object of numbers'),
        ({'a/robustness.json': '{}'}, ['a'], 'expected the objects about and sweeps'),
        ({'a/t/vis_data/config.py': 'a = 1 /'}, ['a'], 'config.py: cannot be read as a config'),
        ({'a/predictions.jsonl': '{}'}, ['a', '--infos', 'b.npz'], '--infos: there is no file'),
        ({'a/reconstruction.png': 'a'}, ['a'], 'reconstruction.png: is no picture'),
    ],
)
def test_mistakes_end_with_a_sentence(tmp_path, monkeypatch, content, words, expected):
    from tools import report

    root = tmp_path / 't'
    root.mkdir()
    for name, text in content.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    monkeypatch.chdir(root)
    monkeypatch.setattr(sys, 'argv', ['report.py', *words])
    with pytest.raises(UserError, match=re.escape(expected)):
        report.main()


def test_the_command_itself_ends_with_a_sentence(tmp_path):
    output = run('nowhere', cwd=tmp_path, ok=False)
    assert output.strip().splitlines()[-1] == f'error: there is no work dir {tmp_path / "nowhere"}'


browser_test = pytest.mark.skipif(
    CHROMIUM is None, reason='there is no chromium on the PATH; Debian has it'
)


@browser_test
@pytest.mark.parametrize(('width', 'height'), [(1280, 800), (390, 844)])
@pytest.mark.parametrize('scheme', ['light', 'dark'])
def test_in_a_browser(path, tmp_path, width, height, scheme):
    """Tabs, charts and pictures by keys and pointer, on a laptop and a phone."""
    with Browser(tmp_path / 'profile', width, height, scheme) as browser:
        browser.open(path)
        check_tabs(browser)
        check_charts(browser)
        check_players(browser)
        for tab in TABS:
            browser.open(path, f'#{tab}')
            assert visible_panels(browser) == [tab]
            browser.run("document.querySelectorAll('details').forEach(d => {d.open = true})")
            fits = browser.run('document.documentElement.scrollWidth <= innerWidth')
            assert fits, f'{tab} is wider than the window'
        picture = cv2.imread(str(browser.screenshot(tmp_path / 'shot.png')))
        assert picture.shape[:2] == (height, width)
        assert (picture.mean() > 200) if scheme == 'light' else (picture.mean() < 60)
        assert picture.std() > 5
        assert browser.troubles == []
        assert all(url.startswith(('data:', 'file:', 'about:')) for url in browser.requests)


@browser_test
def test_without_scripts_all_parts_are_there(path, tmp_path):
    with Browser(tmp_path / 'profile', 1280, 800) as browser:
        browser.call('Emulation.setScriptExecutionDisabled', value=True)
        browser.open(path)
        picture = cv2.imread(str(browser.screenshot(tmp_path / 'whole.png', whole=True)))
        assert picture.shape[0] > 5000


def test_script_and_style_end_where_they_should():
    resources = ROOT / 'projects/TurboTrain/turbotrain/report/resources'
    assert '</' not in (resources / 'script.js').read_text()
    assert '</' not in (resources / 'style.css').read_text()
