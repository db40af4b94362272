// The run as a whole. Every number was computed by the run reader; here they are laid out.
function overviewPage(made, open) {
  if (!made) return h('p', { class: 'note', role: 'status' }, 'Counting the run. Rollouts can be looked at meanwhile.');
  const environments = Object.entries(made.environments);
  if (!environments.length) return h('p', { class: 'note', role: 'status' }, 'No rollout has ended yet.');
  return h(
    'div',
    { class: 'overview' },
    made.notes.map(note => h('p', { class: 'note' }, note)),
    section('Environments', null, outcomeTable(made, environments, open)),
    section(
      'Rewards and success',
      'Success is a reward of the threshold or more. Means are over tasks, each with its scored rollouts; bands and brackets are 95 % intervals.',
      h(
        'div',
        { class: 'facets' },
        environments.map(([name, its]) => facet(name, its, made.rewards[name])),
      ),
      skillNumbers(environments),
    ),
    made.timeline &&
      section(
        'Over time',
        'From ' + when(made.timeline.start) + '. In flight: mean of each interval; rollouts that never ended (running, or lost) count to the end of the line.',
        timeline(made.timeline),
      ),
    section(
      'Where time went',
      'Mean seconds of a rollout by phase; other is waiting and bookkeeping. One scale for all.',
      phases(made.seconds),
    ),
    section('Failed and masked', null, failures(made.failures, open)),
    section(
      'Shape',
      'Over scored and masked rollouts; duplicates and correlations over scored ones.',
      shape(environments),
      suspicions(environments),
    ),
    section(
      'Run',
      null,
      h(
        'dl',
        { class: 'facts' },
        made.about.map(([name, value]) => h('div', null, h('dt', null, name), h('dd', null, value))),
      ),
    ),
  );
}

function section(title, hint, ...parts) {
  const id = 'part-' + title.toLowerCase().replace(/[^a-z]+/g, '-');
  return h(
    'section',
    { 'aria-labelledby': id },
    h('h2', { id }, title),
    hint && h('p', { class: 'hint' }, hint),
    parts,
  );
}

function outcomeTable(made, environments, open) {
  // The axis is the rewards' own: an interval of few tasks may reach far beyond.
  const all = Object.values(made.rewards).flatMap(one => one.bins.map(bin => bin[0]));
  const low = Math.min(0, ...all);
  const high = Math.max(1, ...all);
  const columns = [
    { title: 'Environment' },
    { title: 'Tasks', number: true },
    { title: 'Scored', number: true },
    { title: 'Masked', number: true, hint: 'kept, not trained on' },
    { title: 'Failed', number: true, hint: 'no usable trajectory' },
    { title: 'Missing', number: true, hint: 'planned and not there' },
    { title: 'Unscored tasks', number: true, hint: 'tasks without any scored rollout: in no mean' },
    { title: 'Mean reward [95 %]', number: true },
    { title: reward(low) + ' … ' + reward(high) },
    { title: 'Success [95 %]', number: true },
    { title: 'From', number: true, hint: 'a reward of this or more is a success' },
  ];
  const link = (value, name, outcome) =>
    !value
      ? count(value)
      : h(
          'button',
          { class: 'link ' + outcome, title: 'show them', onclick: () => open({ environment: name, outcome }) },
          count(value),
        );
  return table(
    'Outcomes and rewards by environment',
    columns,
    environments.map(([name, its]) => [
      h('button', { class: 'link name', title: 'show its rollouts', onclick: () => open({ environment: name }) }, name),
      count(its.tasks),
      link(its.scored, name, 'scored'),
      link(its.masked, name, 'masked'),
      link(its.failed, name, 'failed'),
      count(its.missing),
      count(its.unscored_tasks),
      interval(its.reward),
      whisker(its.reward, low, high),
      interval(its.success),
      reward(its.threshold),
    ]),
  );
}

function facet(name, its, distribution) {
  const none = h('p', { class: 'quiet' }, 'nothing scored');
  const part = (title, chart) => h('div', { class: 'facet-part' }, h('h4', null, title), chart);
  return h(
    'div',
    { class: 'facet' },
    h('h3', null, name, h('span', { class: 'quiet' }, '  ' + count(its.tasks) + ' tasks')),
    part('Rollouts by reward', distribution ? rewardChart(name, distribution, its.scored) : none),
    part('Tasks by pass rate', its.success ? difficultyChart(name, its.difficulty) : none),
    part('Success over k rollouts', its.success ? skillChart(name, its.k) : none),
  );
}

function skillNumbers(environments) {
  const columns = [
    { title: 'Environment' },
    { title: 'k', number: true },
    { title: 'pass@k', number: true, hint: 'one of k rollouts succeeds' },
    { title: 'pass^k', number: true, hint: 'all k succeed' },
    { title: 'majority@k', number: true, hint: 'the answer that most of k give' },
    { title: 'No answer', number: true },
    {
      title: 'Tasks with fewer',
      number: true,
      hint: 'tasks with fewer than k scored rollouts: there pass@k is a lower bound',
    },
  ];
  const rows = environments.flatMap(([name, its]) =>
    its.k.map(at => [
      name,
      count(at.k),
      interval(at.pass_at),
      interval(at.pass_all),
      interval(at.majority),
      at.no_answer ? percent(at.no_answer.mean) : DASH,
      count(at.short_tasks),
    ]),
  );
  return h(
    'details',
    null,
    h('summary', null, 'These numbers as a table'),
    table('pass@k by environment', columns, rows),
  );
}

function timeline(its) {
  return [
    timeChart('Finished', 'rollouts/s', its, its.finished, false),
    timeChart('Sampled', 'tokens/s', its, its.tokens, false),
    timeChart('In flight', 'rollouts', its, its.in_flight, true),
  ];
}

function phases(all) {
  const environments = Object.entries(all).filter(([, its]) => its.total);
  if (!environments.length) return h('p', { class: 'quiet' }, 'The rollouts do not say.');
  const names = ['seed', 'model', 'tools', 'verify', 'other'],
    most = Math.max(...environments.map(([, its]) => its.total.mean)) || 1;
  const legend = h(
    'p',
    { class: 'legend' },
    names.map(one => h('span', null, h('span', { class: 'swatch phase ' + one, 'aria-hidden': 'true' }), ' ' + one)),
  );
  const cell = its =>
    its ? h('span', { title: 'median ' + seconds(its.p50) + ', p95 ' + seconds(its.p95) }, seconds(its.mean)) : DASH;
  return [
    legend,
    table(
      'Seconds by phase and environment',
      [
        { title: 'Environment' },
        { title: 'Mean rollout' },
        ...[...names, 'total', 'total p95'].map(one => ({ title: one, number: true })),
      ],
      environments.map(([name, its]) => [
        name,
        phaseBar(name, its, most),
        ...[...names, 'total'].map(one => cell(its[one])),
        seconds(its.total.p95),
      ]),
    ),
  ];
}

function failures(list, open) {
  if (!list.length) return h('p', { class: 'quiet' }, 'None: every rollout was scored.');
  const found = table(
    'Failed and masked rollouts by reason',
    [
      { title: 'Environment' },
      { title: 'Outcome' },
      { title: 'Kind' },
      { title: 'Stage' },
      { title: 'Rollouts', number: true },
      { title: 'Reasons' },
    ],
    list.map(one => [
      one.environment,
      outcomeMark(one.outcome),
      h('code', null, one.kind),
      one.stage || DASH,
      h(
        'button',
        {
          class: 'link',
          title: 'show them',
          onclick: () => open({ environment: one.environment, outcome: one.outcome, failure: one.kind }),
        },
        count(one.count),
      ),
      reasons(one),
    ]),
  );
  return h('div', { class: 'failures' }, found);
}

function reasons(one) {
  const told = one.reasons.reduce((sum, its) => sum + its.count, 0);
  const lines = one.reasons.map(its =>
    h('li', null, h('span', { class: 'quiet' }, count(its.count) + ' × '), its.reason || '(none given)'),
  );
  if (told < one.count) lines.push(h('li', { class: 'quiet' }, count(one.count - told) + ' × other reasons'));
  return lines.length > 2
    ? h(
        'details',
        null,
        h('summary', null, one.reasons[0].reason || '(none given)'),
        h('ul', { class: 'reasons' }, lines),
      )
    : h('ul', { class: 'reasons' }, lines);
}

function shape(environments) {
  const columns = [
    { title: 'Environment' },
    { title: 'Tokens', number: true, hint: 'sampled, mean' },
    { title: 'p95', number: true },
    { title: 'Turns', number: true },
    { title: 'Tool calls', number: true },
    { title: 'Call errors', number: true },
    { title: 'Truncated', number: true },
    {
      title: 'Duplicates',
      number: true,
      hint: 'scored rollouts that repeat an earlier one of their task word for word',
    },
    {
      title: 'No spread',
      number: true,
      hint: 'tasks whose rollouts all have the same reward: a group baseline learns nothing there',
    },
    { title: 'Unanswered', number: true },
    { title: 'Reward ~ length', number: true, hint: "Pearson's correlation within tasks" },
  ];
  return table(
    'Lengths, turns, tools',
    columns,
    environments.map(([name, its]) => [
      name,
      count(its.sampled_tokens.mean),
      count(its.sampled_tokens.p95),
      decimal(its.turns.mean, 1),
      decimal(its.tool_calls.mean, 1),
      percent(its.tool_error_rate),
      percent(its.truncated),
      count(its.duplicates),
      count(its.tasks_without_spread),
      percent(its.unanswered),
      decimal(its.reward_length_correlation.within_tasks, 2),
    ]),
  );
}

function suspicions(environments) {
  const found = environments
    .flatMap(([name, its]) => [
      its.suspected.empty_successes &&
        h(
          'li',
          null,
          name + ': ' + count(its.suspected.empty_successes) + ' rollouts succeeded without saying or calling anything',
        ),
      ...its.suspected.repeated.map(one =>
        h(
          'li',
          null,
          name +
            ': one output solves ' +
            count(one.tasks) +
            ' tasks ' +
            (one.expected === 'different' ? 'that expect different answers' : '(that name no expected answer)') +
            ': ',
          h('code', null, one.output),
        ),
      ),
    ])
    .filter(Boolean);
  return found.length
    ? h(
        'div',
        null,
        h('h3', null, 'Worth a second look'),
        h('p', { class: 'hint' }, 'Signs that a verifier may have been fooled.'),
        h('ul', null, found),
      )
    : null;
}
