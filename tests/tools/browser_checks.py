"""What a person does with a report, by keys and pointer, and what must happen then."""


def visible_panels(browser):
    return browser.run("[...document.querySelectorAll('.panel')].filter(p => !p.hidden)"
                       '.map(p => p.id)')  # fmt: skip


def check_tabs(browser):
    browser.press('Tab', 'Tab', 'Tab')  # past the link to the content and the theme
    assert browser.run('document.activeElement.id') == 'tab-overview'
    ring = browser.run('getComputedStyle(document.activeElement).outlineStyle')
    assert ring == 'solid', 'the focus is seen'
    browser.press('ArrowRight')
    assert visible_panels(browser) == ['training']
    assert browser.run("document.activeElement.getAttribute('aria-selected')") == 'true'
    assert browser.run('location.hash') == '#training'
    browser.press('End')
    assert visible_panels(browser) == ['setup']
    browser.press('ArrowRight')
    assert visible_panels(browser) == ['overview']
    browser.press('ArrowLeft', 'Home')
    assert visible_panels(browser) == ['overview']
    browser.click('#tab-training')
    assert visible_panels(browser) == ['training']


def check_charts(browser):
    chart = '#training .chart'
    reading = f"document.querySelector('{chart} .reading').textContent"
    at_rest = browser.run(reading)
    browser.point(f'{chart} svg', across=0.5)
    assert browser.run(reading).startswith('iteration 2')
    browser.run(f"document.querySelector('{chart} svg').focus()")
    browser.press('Home')
    assert browser.run(reading).startswith('iteration 10:')
    browser.press('ArrowRight')
    assert not browser.run(reading).startswith('iteration 10:')
    browser.press('Escape')
    assert browser.run(reading) == at_rest
    browser.click('#tab-detection')
    browser.point('#detection .chart svg', across=0.97)  # the end of the longest curve
    values = browser.run("document.querySelector('#detection .reading').textContent")
    assert values.count('·') == 4 and 3 <= values.count('–') < 6, 'others have ended'
    browser.click('#tab-training')
    drawn = browser.run("[...document.querySelectorAll('#training .curve')]"
                        '.map(c => c.getBBox().width)')  # fmt: skip
    assert len(drawn) > 20 and min(drawn) > 100


def check_players(browser):
    browser.click('#tab-pictures')
    undrawn = browser.run("[...document.querySelectorAll('img')].filter(i => !i.naturalWidth)"
                          '.map(i => i.alt)')  # fmt: skip
    assert undrawn == []
    shown = ("[...document.querySelectorAll('.player')[0].querySelectorAll('.frame')]"
             '.findIndex(f => !f.hidden)')  # fmt: skip
    assert browser.run(shown) == 0
    browser.run("document.querySelector('.player input').focus()")
    browser.press('ArrowRight', 'ArrowRight')
    assert browser.run(shown) == 2
    assert 'frame' in browser.run("document.querySelector('.player input').ariaValueText")
    browser.click('.player .on')
    assert browser.run(shown) == 3
    browser.press('ArrowRight')
    assert browser.run(shown) == 0, 'after the last comes the first'
    if browser.run("getComputedStyle(document.querySelector('.stack')).display") != 'none':
        width = "document.querySelector('.player img').getBoundingClientRect().width"
        before = browser.run(width)
        browser.click('.player .stack')
        assert browser.run(width) > 1.5 * before, 'below each other, pictures are larger'
    browser.click('.player .play')
    assert browser.run("document.querySelector('.player .play').ariaPressed") == 'true'
    browser.click('.player .back')
    assert browser.run("document.querySelector('.player .play').ariaPressed") == 'false'
