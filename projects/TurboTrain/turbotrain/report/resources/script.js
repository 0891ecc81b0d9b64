// Tabs, charts that are read by pointer or arrow keys, players of pictures, and the theme.
// The page is whole without it: then all parts are below each other.
'use strict';

const all = (selector, within = document) => [...within.querySelectorAll(selector)];

function startTabs() {
  const tabs = all('[role=tab]');
  const panels = tabs.map((tab) => document.getElementById(tab.getAttribute('aria-controls')));

  // The address follows clicks and keys, not the start: browsers would take the focus there.
  function show(chosen, asked) {
    tabs.forEach((tab, i) => {
      tab.setAttribute('aria-selected', String(i === chosen));
      tab.tabIndex = i === chosen ? 0 : -1;
      panels[i].hidden = i !== chosen;
    });
    const strip = tabs[chosen].parentElement;
    strip.scrollLeft = tabs[chosen].offsetLeft - (strip.clientWidth - tabs[chosen].offsetWidth) / 2;
    if (asked) {
      tabs[chosen].focus();
      history.replaceState(null, '', `#${panels[chosen].id}`);
    }
  }

  const steps = {ArrowRight: 1, ArrowLeft: -1};
  tabs.forEach((tab, i) => {
    tab.addEventListener('click', (event) => {
      event.preventDefault();
      show(i, true);
      window.scrollTo(0, 0);
    });
    tab.addEventListener('keydown', (event) => {
      let next = null;
      if (event.key in steps) {
        next = (i + steps[event.key] + tabs.length) % tabs.length;
      } else if (event.key === 'Home' || event.key === 'End') {
        next = event.key === 'Home' ? 0 : tabs.length - 1;
      } else if (event.key === ' ') {
        next = i;
      }
      if (next !== null) {
        event.preventDefault();
        show(next, true);
      }
    });
  });
  const named = panels.findIndex((panel) => `#${panel.id}` === location.hash);
  show(Math.max(named, 0), false);
  window.addEventListener('hashchange', () => {
    const found = panels.findIndex((panel) => `#${panel.id}` === location.hash);
    if (found >= 0) {
      show(found, false);
    }
  });
}

function shortNumber(value) {
  const size = Math.abs(value);
  if (size >= 1e4) {
    return value.toLocaleString('en', {notation: 'compact', maximumFractionDigits: 1});
  }
  return String(Number(value.toPrecision(size >= 1 || size === 0 ? 4 : 3)));
}

function startChart(figure) {
  const svg = figure.querySelector('svg[role=img]');
  const reading = figure.querySelector('.reading');
  const atRest = [...reading.childNodes];
  const cursor = svg.querySelector('.cursor');
  const [left, top, right, bottom] = svg.dataset.box.split(' ').map(Number);
  const xSpan = svg.dataset.x.split(' ').map(Number);
  const ySpan = svg.dataset.y.split(' ').map(Number);
  const curves = all('.curve:not(.faint)', svg).map((curve) => ({
    run: curve.dataset.run,
    style: [...curve.classList].find((name) => name.startsWith('run-')),
    points: [
      ...all('polyline', curve).flatMap((line) =>
        line.getAttribute('points').split(' ').map((point) => point.split(',').map(Number))),
      ...all('circle', curve).map((dot) => [dot.cx.baseVal.value, dot.cy.baseVal.value]),
    ],
  })).filter((curve) => curve.points.length);
  const stops = [...new Set(curves.flatMap((curve) => curve.points.map(([x]) => x)))];
  if (!stops.length) {
    return; // nothing to read
  }
  stops.sort((a, b) => a - b);
  const runs = [...new Set(curves.map((curve) => curve.run))];
  let at = null;

  const valueOf = (x, y) => {
    const height = ySpan[0] + (bottom - y) / (bottom - top) * (ySpan[1] - ySpan[0]);
    return [
      xSpan[0] + (x - left) / (right - left) * (xSpan[1] - xSpan[0]),
      svg.dataset.log === 'yes' ? 10 ** height : height,
    ];
  };
  const names = all('.below', svg).map((tick) => [tick.x.baseVal[0].value, tick.textContent]);
  const nameOf = (x) => svg.dataset.named === 'yes'
    ? nearest(names, x)[1] : shortNumber(valueOf(x, bottom)[0]);
  const nearest = (points, x) =>
    points.reduce((best, point) => (Math.abs(point[0] - x) < Math.abs(best[0] - x) ? point : best));

  function read(x) {
    at = x;
    cursor.setAttribute('x1', x);
    cursor.setAttribute('x2', x);
    cursor.setAttribute('visibility', 'visible');
    const spans = runs.map((run) => {
      const values = curves.filter((curve) => curve.run === run).map(({points}) => {
        const inside = Math.min(...points.map(([x0]) => x0)) <= x + 0.5 &&
          x - 0.5 <= Math.max(...points.map(([x0]) => x0));
        return inside ? shortNumber(valueOf(...nearest(points, x))[1]) : '–';
      });
      const badge = document.createElement('span');
      badge.className = `badge ${curves.find((curve) => curve.run === run).style}`;
      badge.textContent = run;
      const item = document.createElement('span');
      item.append(badge, ` ${values.join(' · ')}`);
      return item;
    });
    const where = document.createElement('span');
    where.textContent = `${svg.dataset.xLabel} ${nameOf(x)}:`;
    reading.replaceChildren(where, ...spans.flatMap((span) => [' ', span]));
  }

  function rest() {
    at = null;
    cursor.setAttribute('visibility', 'hidden');
    reading.replaceChildren(...atRest);
  }

  const snap = (x) => stops.reduce((a, b) => (Math.abs(b - x) < Math.abs(a - x) ? b : a));
  svg.addEventListener('pointermove', (event) => {
    const point = new DOMPoint(event.clientX, event.clientY).matrixTransform(
      svg.getScreenCTM().inverse());
    read(snap(point.x));
  });
  svg.addEventListener('pointerleave', rest);
  svg.addEventListener('blur', rest);
  svg.addEventListener('keydown', (event) => {
    const last = stops.length - 1;
    const now = at === null ? last : stops.indexOf(at);
    const stride = Math.max(1, Math.round(stops.length / 40));
    const goals = {ArrowLeft: now - stride, ArrowRight: now + stride, Home: 0, End: last};
    if (event.key in goals) {
      event.preventDefault();
      read(stops[Math.min(Math.max(goals[event.key], 0), last)]);
    } else if (event.key === 'Escape') {
      rest();
    }
  });
}

function startPlayer(player) {
  const frames = all('.frame', player);
  const controls = player.querySelector('.controls');
  if (!controls) {
    return;
  }
  const slider = controls.querySelector('input');
  const play = controls.querySelector('.play');
  const where = controls.querySelector('.where');
  let timer = null;

  function show(number) {
    const chosen = (number + frames.length) % frames.length;
    frames.forEach((frame, i) => {
      frame.hidden = i !== chosen;
    });
    slider.value = chosen;
    slider.setAttribute('aria-valuetext', frames[chosen].dataset.label);
    where.textContent = `${chosen + 1} / ${frames.length}`;
  }

  function stop() {
    clearInterval(timer);
    timer = null;
    play.setAttribute('aria-pressed', 'false');
    play.firstElementChild.textContent = '▶';
  }

  const go = (step) => {
    stop();
    show(Number(slider.value) + step);
  };
  controls.querySelector('.back').addEventListener('click', () => go(-1));
  controls.querySelector('.on').addEventListener('click', () => go(1));
  slider.addEventListener('input', () => go(0));
  play.addEventListener('click', () => {
    if (timer) {
      stop();
      return;
    }
    timer = setInterval(() => show(Number(slider.value) + 1), 700);
    play.setAttribute('aria-pressed', 'true');
    play.firstElementChild.textContent = '❚❚';
  });
  const stack = controls.querySelector('.stack');
  stack?.addEventListener('click', () => {
    stack.setAttribute('aria-pressed', String(player.classList.toggle('wide')));
  });
  // The slider has arrow keys of its own; here they work on the pictures and buttons, too.
  player.addEventListener('keydown', (event) => {
    const step = {ArrowLeft: -1, ArrowRight: 1}[event.key];
    if (step && event.target !== slider) {
      event.preventDefault();
      go(step);
    }
  });
  controls.hidden = false;
  show(0);
}

function startTheme() {
  const button = document.querySelector('.theme');
  const system = matchMedia('(prefers-color-scheme: dark)');
  button.hidden = false;
  button.addEventListener('click', () => {
    const style = document.documentElement.style;
    const dark = style.colorScheme ? style.colorScheme === 'dark' : system.matches;
    style.colorScheme = dark ? 'light' : 'dark';
  });
}

document.documentElement.classList.add('js');
startTheme();
all('.chart').forEach(startChart);
all('.player').forEach(startPlayer);
startTabs();
