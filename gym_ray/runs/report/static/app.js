// The page: its head, which of its two parts is shown, and what a live run brings.
const main = document.getElementById('main'),
  top_ = document.getElementById('top');
const LOOK_MS = 2000;
const app = { status: null, made: null, list: null, pane: null, shown: '', summarised: null, found: null, error: '' };

// #overview, or #rollouts/TASK/INDEX/TAB?environment=...
function place() {
  const [path, words] = location.hash.slice(1).split('?'),
    [part, task, index, tab] = path.split('/');
  const chosen = TABS.some(one => one[0] === tab) ? tab : 'conversation';
  return {
    part: part === 'rollouts' ? 'rollouts' : 'overview',
    task,
    index,
    tab: chosen,
    given: Object.fromEntries(new URLSearchParams(words || '')),
  };
}

function address(row, tab) {
  const filter = app.list ? Object.entries(app.list.filter).filter(one => one[1]) : [],
    words = new URLSearchParams(filter);
  return '#rollouts' + (row ? '/' + row.task + '/' + row.index + '/' + tab : '') + (words.size ? '?' + words : '');
}

function theme() {
  const names = { auto: 'system', light: 'light', dark: 'dark' };
  let now = 'auto';
  try {
    now = localStorage.getItem('gym-ray-theme') || 'auto';
  } catch {
    /* a file may not be allowed to keep anything */
  }
  const button = h('button', {
    class: 'theme',
    onclick: () => {
      now = { auto: 'light', light: 'dark', dark: 'auto' }[now];
      apply();
    },
  });
  function apply() {
    document.documentElement.dataset.theme = now;
    button.textContent = 'colours: ' + names[now];
    button.setAttribute('aria-label', 'Colours: ' + names[now] + '. Change');
    try {
      localStorage.setItem('gym-ray-theme', now);
    } catch {
      /* see above */
    }
  }
  apply();
  return button;
}

function head() {
  const links = [
    ['overview', 'Overview'],
    ['rollouts', 'Rollouts'],
  ].map(([name, title]) => h('a', { href: '#' + name, id: 'to-' + name }, title));
  top_.replaceChildren(
    h(
      'div',
      { class: 'bar' },
      h('h1', null, h('span', { class: 'brand' }, 'gym_ray'), ' ', h('span', { id: 'run' })),
      h('nav', { 'aria-label': 'Parts' }, links),
      theme(),
    ),
    h('p', { id: 'state', role: 'status' }),
  );
}

function drawState() {
  const its = app.status,
    name = its.run.replace(/\/+$/, '').split('/').pop();
  document.title = plain(name) + ' · gym_ray';
  document.getElementById('run').replaceChildren(visible(name));
  const share = its.expected ? Math.min(1, its.found / its.expected) : 0;
  const progress = its.live ? h('progress', { max: '1', value: share, 'aria-label': 'Progress' }) : null;
  const parts = [
    h('span', { class: 'state-word ' + its.state }, its.live ? 'in progress' : its.state),
    count(its.found) + ' of ' + count(its.expected) + ' rollouts',
    its.live && its.in_flight !== null ? count(its.in_flight) + ' in flight' : null,
    source.live && its.summarised < its.found && its.counted < its.found ? 'counted ' + count(its.counted) : null,
    source.sample && source.sample.of > source.sample.rows.length
      ? h('span', { title: source.sample.how }, count(source.sample.rows.length) + ' held in full; numbers are of all')
      : null,
    its.error || app.error ? h('span', { class: 'failed' }, app.error || its.error) : null,
  ].filter(Boolean);
  document
    .getElementById('state')
    .replaceChildren(
      ...parts
        .flatMap((part, at) => [at ? ' · ' : '', part])
        .map(part => (part instanceof Node ? part : visible(part))),
      progress || '',
    );
  for (const one of ['overview', 'rollouts']) {
    const link = document.getElementById('to-' + one);
    if (one === place().part) link.setAttribute('aria-current', 'page');
    else link.removeAttribute('aria-current');
  }
}

function route() {
  drawState();
  const now = place();
  if (now.part === 'overview') {
    app.list = app.pane = null;
    showOverview();
  } else showRollouts(now);
}

function showOverview() {
  document.body.className = 'on-overview';
  const open = filter => {
    location.hash = '#rollouts?' + new URLSearchParams(filter);
  };
  const { rows, of, how } = source.sample || { rows: [] };
  const held = source.sample
    ? h('p', { class: 'hint' }, `Held in full: ${count(rows.length)} of ${count(of)} rollouts, ${how}.`)
    : null;
  const draw = () => main.replaceChildren(h('div', { class: 'page' }, overviewPage(app.made, open), held));
  if (app.shown === 'overview') keepingPlace(draw);
  else {
    draw();
    window.scrollTo(0, 0);
  }
  app.shown = 'overview';
}

// What is unfolded stays so, and focus and scrolling stay where they are, when numbers change under a reader.
// Rows may have come in between, so things are known by what they say.
function keepingPlace(draw) {
  const all = what => [...main.querySelectorAll(what)];
  const stops = 'a, button, summary, [tabindex]';
  const named = one => one.tagName + (one.getAttribute('aria-label') || one.textContent);
  const focused = main.contains(document.activeElement) ? named(document.activeElement) : null;
  const unfolded = new Set(all('details[open] > summary').map(named));
  const scrolled = window.scrollY;
  draw();
  for (const one of all('details > summary')) one.parentElement.open = unfolded.has(named(one));
  window.scrollTo(0, scrolled);
  if (focused)
    all(stops)
      .find(one => named(one) === focused)
      ?.focus({ preventScroll: true });
}

function showRollouts(now) {
  document.body.className = 'on-rollouts';
  if (!app.list) {
    app.list = rolloutList(app.status, now.given, (row, byHand) =>
      openRollout(row, place().task !== undefined ? place().tab : 'conversation', byHand),
    );
    app.pane = h(
      'section',
      { class: 'pane', 'aria-label': 'Rollout', 'aria-live': 'off' },
      h('p', { class: 'quiet empty' }, 'Choose a rollout: click one, or go through the list with the arrow keys.'),
    );
    main.replaceChildren(h('div', { class: 'split' }, app.list.element, app.pane));
    app.shown = '';
    app.list.load(0).then(() => {
      if (now.task !== undefined) app.list?.select(now.task + '-' + now.index);
    });
  }
  if (now.task !== undefined) showRollout(now);
  else {
    main.firstChild.classList.remove('open');
  }
}

// The list and the address are one step apart, so that each rollout has a link and "back" works.
function openRollout(row, tab, byHand) {
  const to = address(row, tab);
  if (byHand) location.hash = to;
  else {
    history.replaceState(null, '', to);
    showRollout(place());
  }
}

async function showRollout({ task, index, tab }) {
  const wanted = task + '-' + index,
    name = wanted + '/' + tab,
    pane = app.pane;
  if (app.shown === name) {
    main.firstChild.classList.add('open');
    return;
  }
  const focusTab = app.shown.startsWith(wanted + '/');
  app.shown = name;
  try {
    if (!app.detail || app.detail.key !== wanted) app.detail = { key: wanted, its: await source.detail(task, index) };
    if (app.shown !== name || app.pane !== pane) return;
    const go = (row, other, sameRow) => {
      if (sameRow) {
        history.replaceState(null, '', address(row, other));
        showRollout(place());
      } else {
        location.hash = address(row, other);
      }
    };
    const back = h(
      'a',
      {
        class: 'back',
        href: address(null),
        onclick: event => {
          event.preventDefault();
          history.replaceState(null, '', address(null));
          main.firstChild.classList.remove('open');
          app.shown = '';
          document.getElementById('rows').focus();
        },
      },
      '‹ list',
    );
    const step = (by, sign, word) =>
      h('button', { 'aria-label': word, title: word, onclick: () => app.list.step(by) }, sign);
    pane.replaceChildren(
      h('div', { class: 'pane-bar' }, back, step(-1, '↑', 'Previous rollout'), step(1, '↓', 'Next rollout')),
      rolloutPage(app.detail.its, tab, go),
    );
    main.firstChild.classList.add('open');
    app.list.select(wanted);
    if (focusTab) document.getElementById('tab-' + tab).focus();
    else pane.scrollTop = 0;
  } catch (error) {
    if (app.shown === name) pane.replaceChildren(h('p', { class: 'failed', role: 'alert' }, error.message));
  }
}

async function look() {
  try {
    const status = await source.status(),
      more = app.found !== null && status.found !== app.found,
      counted = status.summarised !== app.summarised;
    app.status = status;
    app.found = status.found;
    app.error = '';
    if (counted || !app.made) {
      app.summarised = status.summarised;
      app.made = await source.overview();
      if (app.shown === 'overview') showOverview();
    }
    if (more && app.list) app.list.refresh();
  } catch (error) {
    app.error = error instanceof TypeError ? 'the server does not answer' : error.message;
  }
  if (app.status) drawState();
}

async function start() {
  head();
  await look();
  if (!app.status) {
    main.replaceChildren(h('p', { class: 'failed', role: 'alert' }, app.error));
    return;
  }
  window.addEventListener('hashchange', route);
  route();
  if (source.live) {
    const again = async () => {
      await look();
      setTimeout(again, LOOK_MS);
    };
    setTimeout(again, LOOK_MS);
  }
}

start();
