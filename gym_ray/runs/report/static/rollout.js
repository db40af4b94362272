// One rollout: its verdict and facts, then conversation, tokens, its group side by side, and the row's other fields.
const TABS = [
  ['conversation', 'Conversation'],
  ['tokens', 'Tokens'],
  ['group', 'Group'],
  ['row', 'Row'],
];
const SIDES = 8;

function rolloutPage(detail, tab, go) {
  const panel = h('div', { role: 'tabpanel', id: 'panel', tabindex: '-1', 'aria-labelledby': 'tab-' + tab });
  const tabs = h(
    'div',
    { class: 'tabs', role: 'tablist', 'aria-label': 'Views of this rollout' },
    TABS.map(([name, title], at) =>
      h(
        'button',
        {
          role: 'tab',
          id: 'tab-' + name,
          'aria-selected': String(name === tab),
          'aria-controls': 'panel',
          tabindex: name === tab ? '0' : '-1',
          onclick: () => go(detail, name, true),
          onkeydown: event => {
            const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
            if (by) {
              event.preventDefault();
              go(detail, TABS[(at + by + TABS.length) % TABS.length][0], true);
            }
          },
        },
        title,
      ),
    ),
  );
  const draw = {
    conversation: () => conversation(detail),
    tokens: () => tokenView(detail),
    group: () => groupView(detail, go),
    row: () => rowView(detail),
  };
  panel.append(draw[tab]());
  return h(
    'article',
    { class: 'rollout', 'aria-label': plain(detail.task_id + ' rollout ' + detail.index) },
    verdict(detail),
    facts(detail),
    tabs,
    panel,
  );
}

function verdict(detail) {
  const parts = Object.entries(detail.components);
  return h(
    'header',
    { class: 'verdict' },
    h('h2', null, detail.task_id, h('span', { class: 'row-index' }, ' #' + detail.index)),
    h(
      'p',
      null,
      h('span', { class: 'big' }, detail.outcome === 'scored' ? 'reward ' + reward(detail.reward) : null),
      ' ',
      outcomeMark(detail.outcome),
      detail.failure ? [' ', h('code', null, detail.failure)] : null,
      detail.outcome !== 'scored' && detail.reward !== null ? ' (verifier said ' + reward(detail.reward) + ')' : null,
    ),
    parts.length
      ? h(
          'p',
          { class: 'components' },
          parts.map(([name, value]) => h('span', null, name + ' ', h('b', null, reward(value)))),
        )
      : null,
  );
}

function facts(detail) {
  const usage = detail.usage,
    sampling = Object.entries(detail.sampling)
      .map(([name, value]) => name + ' ' + (typeof value === 'object' ? JSON.stringify(value) : value))
      .join(', ');
  const time = Object.entries(detail.timings)
    .filter(([name]) => name !== 'total')
    .map(([name, value]) => name + ' ' + seconds(value))
    .join(', ');
  const list = [
    ['environment', detail.environment],
    ['ended by', detail.finish_reason || DASH],
    ['turns', count(detail.turns)],
    [
      'tokens',
      usage.prompt_tokens === undefined
        ? DASH
        : count(usage.prompt_tokens) +
          ' in (' +
          count(usage.cached_tokens) +
          ' cached), ' +
          count(usage.completion_tokens) +
          ' sampled (' +
          count(usage.reasoning_tokens) +
          ' reasoning)',
    ],
    ['time', detail.timings.total === undefined ? DASH : seconds(detail.timings.total) + (time ? ': ' + time : '')],
    ['started', when(detail.started)],
    detail.model && [
      'model',
      detail.model + (detail.versions.length ? ', policy version ' + detail.versions.join(', ') : ''),
    ],
    sampling && ['sampling', sampling],
    detail.step_rewards.length > 0 && ['step rewards', detail.step_rewards.map(reward).join(', ')],
    detail.attempt > 0 && ['attempt', String(detail.attempt + 1)],
    detail.agent && ['agent', detail.agent],
  ];
  return h(
    'details',
    { class: 'facts-fold' },
    h(
      'summary',
      null,
      list
        .slice(0, 3)
        .map(one => one[1])
        .join(' · ') +
        (detail.turns === 1 ? ' turn' : ' turns') +
        ' · ' +
        count(usage.completion_tokens || 0) +
        ' tokens · ' +
        seconds(detail.timings.total),
    ),
    h(
      'dl',
      { class: 'facts' },
      list.filter(Boolean).map(([name, value]) => h('div', null, h('dt', null, name), h('dd', null, value))),
    ),
  );
}

function rowView(detail) {
  const names = Object.keys(detail.fields);
  if (!names.length) return h('p', { class: 'quiet' }, 'The row has no other fields.');
  return h(
    'div',
    null,
    h('p', { class: 'hint' }, "The task's and the verifier's own fields."),
    h(
      'dl',
      { class: 'fields' },
      names.map(name => h('div', null, h('dt', null, name), h('dd', null, longText(detail.fields[name], 'code')))),
    ),
  );
}

// All rollouts of the task, side by side.
function groupView(detail, go) {
  const place = h('div', { class: 'group' }, h('p', { class: 'quiet', role: 'status' }, 'Reading the group.'));
  (async () => {
    const { rows, total } = await source.page({ task: String(detail.task), sort: 'task' }, 0, 500);
    const sides = h('div', {
      class: 'sides',
      tabindex: '0',
      role: 'region',
      'aria-label': 'Rollouts of this task side by side',
    });
    async function show(begin) {
      const chosen = rows.slice(begin, begin + SIDES),
        found = await Promise.all(chosen.map(row => source.detail(row.task, row.index)));
      sides.append(...found.map(one => side(one, one.index === detail.index, go)));
      if (begin + SIDES < rows.length) {
        const button = h(
          'button',
          {
            onclick: () => {
              button.remove();
              show(begin + SIDES);
            },
          },
          'Show more of ' + count(rows.length),
        );
        sides.append(button);
      }
    }
    await show(0);
    place.replaceChildren(
      h(
        'p',
        { class: 'hint' },
        count(total) +
          ' rollouts of one task: ' +
          rows.map(row => (row.outcome === 'scored' ? reward(row.reward) : row.outcome)).join(', '),
      ),
      h(
        'div',
        { class: 'conversation' },
        detail.prompt
          .filter(item => item.kind === 'message' && item.role === 'user')
          .slice(-1)
          .map(item => saidItem(item, detail)),
      ),
      sides,
    );
  })().catch(error => place.replaceChildren(h('p', { class: 'failed' }, error.message)));
  return place;
}

function side(one, here, go) {
  return h(
    'section',
    { class: 'side' + (here ? ' here' : ''), 'aria-label': 'rollout ' + one.index },
    h(
      'header',
      null,
      h(
        'button',
        { class: 'link', 'aria-current': here ? 'true' : null, onclick: () => go(one, 'conversation', false) },
        '#' + one.index,
      ),
      ' ',
      one.outcome === 'scored' ? h('b', null, 'reward ' + reward(one.reward)) : outcomeMark(one.outcome),
      h('span', { class: 'quiet' }, ' ' + count(one.tokens) + ' tokens'),
    ),
    one.items.length
      ? one.items.map(item => saidItem(item, one))
      : h('p', { class: 'quiet' }, one.reason.text || 'The model said nothing.'),
  );
}
