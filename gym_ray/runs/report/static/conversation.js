// What was said and done, in order. Reasoning is folded; long texts are cut and can be opened.
const LONG = 6000;

function longText(its, kind = 'text') {
  const cut =
    its.more > 0
      ? h(
          'p',
          { class: 'quiet' },
          count(its.more) + ' more characters are left out here',
          source.live ? '.' : '; gym-ray view shows more.',
        )
      : null;
  if (its.text.length <= LONG) return [h('pre', { class: kind }, its.text), cut];
  const pre = h('pre', { class: kind }, its.text.slice(0, LONG));
  const button = h(
    'button',
    {
      class: 'link',
      onclick: () => {
        pre.replaceChildren(visible(its.text));
        button.remove();
      },
    },
    'Show all ' + count(its.text.length) + ' characters',
  );
  return [pre, button, cut];
}

function saidItem(item, detail) {
  const turn = item.turn
    ? h(
        'span',
        { class: 'turn' },
        'turn ' +
          item.turn +
          (detail.turn_seconds[item.turn - 1] !== undefined ? ' · ' + seconds(detail.turn_seconds[item.turn - 1]) : ''),
      )
    : null;
  const card = (kind, name, ...body) =>
    h(
      'article',
      { class: 'said ' + kind, 'aria-label': plain(name) },
      h('header', null, h('span', { class: 'who' }, name), turn),
      body,
    );
  if (item.kind === 'reasoning')
    return h(
      'details',
      { class: 'said reasoning' },
      h(
        'summary',
        null,
        h('span', { class: 'who' }, 'reasoning'),
        h('span', { class: 'quiet' }, ' ' + count(item.text.length + item.more) + ' characters'),
        turn,
      ),
      longText(item),
    );
  if (item.kind === 'call') return card('call', 'calls ' + item.name, longText(item, 'code'));
  if (item.kind === 'result')
    return card(
      item.error ? 'result error' : 'result',
      item.error ? 'tool error' : 'tool result',
      longText(item, 'code'),
    );
  if (item.kind === 'message')
    return card(
      'message ' + (item.role === 'assistant' ? 'assistant' : 'other'),
      item.role,
      item.text ? longText(item) : h('p', { class: 'quiet' }, '(empty)'),
    );
  return card('message other', item.name, longText(item, 'code'));
}

function conversation(detail) {
  const tools = detail.tools.length
    ? h(
        'details',
        { class: 'said tools' },
        h(
          'summary',
          null,
          h('span', { class: 'who' }, 'tools'),
          h('span', { class: 'quiet' }, ' ' + count(detail.tools.length) + ' offered'),
        ),
        detail.tools.map(one => longText(one, 'code')),
      )
    : null;
  return h(
    'div',
    { class: 'conversation' },
    tools,
    detail.prompt.map(item => saidItem(item, detail)),
    detail.items.map(item => saidItem(item, detail)),
    detail.reason.text
      ? h(
          'article',
          { class: 'said verdict ' + detail.outcome, 'aria-label': 'why there is no reward' },
          h(
            'header',
            null,
            h(
              'span',
              { class: 'who' },
              detail.outcome + ': ' + (detail.failure || '') + (detail.stage ? ' at ' + detail.stage : ''),
            ),
          ),
          longText(detail.reason),
        )
      : null,
    !detail.items.length && !detail.reason.text ? h('p', { class: 'quiet' }, 'The model said nothing.') : null,
  );
}
