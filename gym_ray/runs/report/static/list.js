// The list of rollouts: what to show of them, and which one is looked at. Arrow keys go through it.
const PAGE = 50;
const FILTERS = ['text', 'environment', 'outcome', 'failure', 'reward_min', 'reward_max', 'task', 'sort', 'descending'];

function rolloutList(status, given, onopen) {
  const filter = Object.fromEntries(FILTERS.map(name => [name, given[name] || '']));
  if (!filter.sort && source.live && status.live) filter.sort = 'newest';
  const state = { rows: [], offset: 0, total: 0, searched: null, at: -1, asked: 0, selected: null };
  const box = h('div', {
    class: 'rows',
    role: 'listbox',
    tabindex: '0',
    id: 'rows',
    'aria-label': 'Rollouts; arrow keys choose',
    onkeydown: onkey,
  });
  const summary = h('p', { class: 'list-summary', role: 'status' }),
    pager = h('div', { class: 'pager' });
  const controls = form();
  const element = h('section', { class: 'list', 'aria-label': 'List of rollouts' }, controls, summary, box, pager);

  function form() {
    const change = name => event => {
      filter[name] = event.target.value;
      load(0);
    };
    const select = (name, title, options) =>
      h(
        'label',
        null,
        h('span', null, title),
        h(
          'select',
          { name, onchange: change(name) },
          options.map(([value, text]) => h('option', { value, selected: filter[name] === value }, plain(text))),
        ),
      );
    const names = (list, any) => [['', any], ...list.map(one => [one, one])];
    const field = (name, title, type) =>
      h(
        'label',
        { class: type },
        h('span', null, title),
        h('input', {
          name,
          type: 'search',
          inputmode: type === 'wide' ? null : 'decimal',
          value: filter[name],
          autocomplete: 'off',
          spellcheck: 'false',
          oninput: later(change(name)),
        }),
      );
    const sorts = [
      ['task', 'task'],
      ['reward', 'reward'],
      ['tokens', 'tokens'],
      ['turns', 'turns'],
      ...(source.live ? [['newest', 'newest']] : []),
    ];
    return h(
      'form',
      { class: 'filters', role: 'search', 'aria-label': 'Filter rollouts', onsubmit: event => event.preventDefault() },
      field('text', 'Text', 'wide'),
      select('environment', 'Environment', names(status.environments, 'all')),
      select('outcome', 'Outcome', names(['scored', 'masked', 'failed'], 'all')),
      select('failure', 'Failure', names(status.failures, 'any')),
      h(
        'div',
        { class: 'pair', role: 'group', 'aria-label': 'Reward' },
        field('reward_min', 'Reward from', 'small'),
        field('reward_max', 'to', 'small'),
      ),
      field('task', 'Task number', 'third'),
      h('div', { class: 'third' }, select('sort', 'Sort by', sorts)),
      h(
        'div',
        { class: 'third' },
        select('descending', 'Order', [
          ['', 'ascending'],
          ['1', 'descending'],
        ]),
      ),
    );
  }

  function later(work) {
    let timer = 0;
    return event => {
      clearTimeout(timer);
      timer = setTimeout(() => work(event), 250);
    };
  }

  async function load(offset, keep) {
    const turn = ++state.asked,
      { text, ...rest } = filter;
    try {
      if (text) await find(turn, rest, text, 0, []);
      else {
        const found = await source.page(rest, offset, PAGE);
        if (turn !== state.asked) return;
        Object.assign(state, { rows: found.rows, offset: found.offset, total: found.total, searched: null });
      }
      if (turn === state.asked) draw(keep);
    } catch (error) {
      if (turn === state.asked) summary.replaceChildren(h('span', { class: 'failed' }, error.message));
    }
  }

  // A search may take several answers: each says how far it came.
  async function find(turn, rest, text, begin, rows) {
    for (;;) {
      const found = await source.search(rest, text, begin, PAGE - (rows.length % PAGE || 0));
      if (turn !== state.asked) return;
      rows = rows.concat(found.rows);
      begin = found.searched;
      Object.assign(state, { rows, offset: 0, total: found.total, searched: begin });
      draw(true);
      if (begin >= found.total || (rows.length && rows.length % PAGE === 0)) return;
    }
  }

  function draw(keep) {
    const options = state.rows.map((row, at) =>
      h(
        'div',
        {
          class: 'row',
          role: 'option',
          id: 'row-' + at,
          'aria-selected': String(keyOf(row) === state.selected),
          onclick: () => choose(at, true),
        },
        h(
          'span',
          { class: 'row-reward' },
          row.outcome === 'scored' ? reward(row.reward) : outcomeMark(row.outcome, false),
        ),
        h(
          'span',
          { class: 'row-name' },
          h('span', { class: 'row-task' }, row.task_id),
          h('span', { class: 'row-index' }, ' #' + row.index),
        ),
        h(
          'span',
          { class: 'row-more' },
          row.environment,
          ' · ',
          row.failure || row.turns + (row.turns === 1 ? ' turn' : ' turns'),
          ' · ',
          count(row.tokens) + ' tok',
        ),
      ),
    );
    const at = box.scrollTop;
    box.replaceChildren(...options);
    if (keep) box.scrollTop = at;
    state.at = state.rows.findIndex(row => keyOf(row) === state.selected);
    box.setAttribute('aria-activedescendant', state.at >= 0 ? 'row-' + state.at : '');
    summary.replaceChildren(said());
    pager.replaceChildren(...pages());
    element.dispatchEvent(new CustomEvent('drawn'));
  }

  function said() {
    if (state.searched !== null)
      return visible(
        count(state.rows.length) +
          ' found in ' +
          count(state.searched) +
          ' of ' +
          count(state.total) +
          (state.searched < state.total ? ' looked through' : ''),
      );
    if (!state.total) return visible('No rollout passes this filter.');
    const held =
      source.sample && source.sample.of > source.sample.rows.length
        ? ' (of the ' + count(source.sample.rows.length) + ' held here)'
        : '';
    return visible(
      count(state.offset + 1) + '–' + count(state.offset + state.rows.length) + ' of ' + count(state.total) + held,
    );
  }

  function pages() {
    if (state.searched !== null) {
      const { text, ...rest } = filter;
      return state.searched < state.total
        ? [h('button', { onclick: () => find(++state.asked, rest, text, state.searched, state.rows) }, 'Search on')]
        : [];
    }
    if (state.total <= PAGE) return [];
    const last = Math.floor((state.total - 1) / PAGE) * PAGE;
    const to = (words, sign, offset, off) =>
      h('button', { 'aria-label': words, disabled: off, onclick: () => load(offset) }, sign);
    const jump = h('input', {
      type: 'text',
      inputmode: 'numeric',
      'aria-label': 'Page number',
      value: String(state.offset / PAGE + 1),
      onchange: event => {
        const page = Math.min(last / PAGE + 1, Math.max(1, Math.floor(Number(event.target.value)) || 1));
        load((page - 1) * PAGE);
      },
    });
    return [
      to('First page', '«', 0, !state.offset),
      to('Previous page', '‹', state.offset - PAGE, !state.offset),
      jump,
      h('span', { class: 'quiet' }, ' of ' + count(last / PAGE + 1) + ' '),
      to('Next page', '›', state.offset + PAGE, state.offset >= last),
      to('Last page', '»', last, state.offset >= last),
    ];
  }

  function onkey(event) {
    const steps = { ArrowDown: 1, ArrowUp: -1, j: 1, k: -1, Home: -Infinity, End: Infinity };
    if (event.key in steps && !event.ctrlKey && !event.metaKey && !event.altKey) {
      event.preventDefault();
      step(steps[event.key]);
    } else if (event.key === 'PageDown' && state.offset + PAGE < state.total && state.searched === null) {
      event.preventDefault();
      load(state.offset + PAGE);
    } else if (event.key === 'PageUp' && state.offset && state.searched === null) {
      event.preventDefault();
      load(state.offset - PAGE);
    } else if (event.key === 'Enter' && state.at >= 0) {
      event.preventDefault();
      choose(state.at, true);
    }
  }

  function step(by) {
    if (!state.rows.length) return;
    choose(Math.min(state.rows.length - 1, Math.max(0, state.at < 0 ? 0 : state.at + by)), false);
  }

  function choose(at, byHand) {
    state.selected = keyOf(state.rows[at]);
    for (const [place, row] of [...box.children].entries()) row.setAttribute('aria-selected', String(place === at));
    state.at = at;
    box.setAttribute('aria-activedescendant', 'row-' + at);
    const row = box.children[at];
    if (row.offsetTop < box.scrollTop) box.scrollTop = row.offsetTop;
    else if (row.offsetTop + row.offsetHeight > box.scrollTop + box.clientHeight)
      box.scrollTop = row.offsetTop + row.offsetHeight - box.clientHeight;
    onopen(state.rows[at], byHand);
  }

  return {
    element,
    filter,
    load,
    step,
    select: key => {
      state.selected = key;
      draw(true);
    },
    first: () => state.rows[0],
    // What a live run brings is shown while the beginning of the list is.
    refresh: () => {
      if (!state.offset && state.searched === null) load(0, true);
    },
  };
}
