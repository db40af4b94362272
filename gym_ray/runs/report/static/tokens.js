// Every token the model saw and sampled. Sampled ones are shaded by how unlikely they were; a readout says the rest.
const SHADES = [0.01, 0.1, 0.35, 0.7, 1.4, 2.5, 4.5];
const shadeOf = logprob => (logprob === null ? 'bad' : 's' + SHADES.filter(limit => -logprob >= limit).length);
const BATCH = 3000;

function tokenView(detail) {
  if (!detail.segments.length) return h('p', { class: 'quiet' }, 'The endpoint gave no token ids for this rollout.');
  const readout = h(
    'p',
    { class: 'readout', id: 'readout', 'aria-live': 'polite' },
    'Point at a token, or go through them with the arrow keys.',
  );
  const known = Object.keys(detail.vocabulary).length > 0;
  const legend = h(
    'p',
    { class: 'legend' },
    h('span', { class: 'token masked' }, 'masked'),
    ' not sampled: prompt, template, tool results',
    h(
      'span',
      { class: 'ramp' },
      'sampled, logprob 0 ',
      [0, 1, 2, 3, 4, 5, 6, 7].map(one => h('span', { class: 'token sampled s' + one, 'aria-hidden': 'true' }, '  ')),
      ' −4.5 or less',
    ),
    known ? null : h('span', { class: 'quiet' }, ' No tokenizer here: ids are shown.'),
  );
  const facts = detail.segments.map(unpack),
    parts = [];
  let active = null;
  const box = h('div', {
    class: 'tokens',
    tabindex: '0',
    role: 'group',
    'aria-label': 'Tokens; arrow keys go through them',
    'aria-describedby': 'readout',
    onkeydown: onkey,
    onmouseover: event => {
      const one = event.target.closest('.token');
      if (one) tell(one, false);
    },
    onclick: event => {
      const one = event.target.closest('.token');
      if (one) tell(one, true);
    },
  });

  facts.forEach((tokens, at) => {
    if (facts.length > 1)
      parts.push(
        h(
          'h4',
          null,
          'Segment ' + (at + 1) + ' of ' + facts.length,
          h(
            'span',
            { class: 'quiet' },
            ' ' + count(tokens.length) + ' tokens' + (at ? '; the history was rewritten before it' : ''),
          ),
        ),
      );
    const flow = h('div', { class: 'flow' });
    parts.push(flow);
    more(flow, tokens, at, 0);
  });
  box.append(...parts);
  const left = detail.tokens_left_out
    ? h(
        'p',
        { class: 'quiet' },
        count(detail.tokens_left_out) + ' more tokens are left out here',
        source.live ? '.' : '; gym-ray view shows more.',
      )
    : null;
  return h('div', { class: 'token-view' }, legend, readout, box, left);

  function unpack(segment) {
    const mask = segment.sampled.flatMap(([bit, many]) => Array(many).fill(bit)),
      versions = segment.versions.flatMap(([version, many]) => Array(many).fill(version));
    let sampled = 0,
      turn = 0;
    return segment.ids.map((id, at) => {
      if (!mask[at]) return { id, sampled: false };
      if (!at || !mask[at - 1]) turn++;
      const token = { id, sampled: true, logprob: segment.logprobs[sampled], version: versions[sampled], turn };
      sampled++;
      return token;
    });
  }

  function more(flow, tokens, segment, begin) {
    const end = Math.min(tokens.length, begin + BATCH);
    for (let at = begin; at < end; at++) flow.append(element(tokens[at], segment, at));
    if (end < tokens.length) {
      const button = h(
        'button',
        {
          class: 'link',
          onclick: () => {
            button.remove();
            more(flow, tokens, segment, end);
          },
        },
        'Show ' + count(Math.min(BATCH, tokens.length - end)) + ' more of ' + count(tokens.length - end),
      );
      flow.append(button);
    }
  }

  function element(token, segment, at) {
    const text = detail.vocabulary[token.id],
      shown = text === undefined ? token.id + ' ' : text.replace(/\n/g, '↵\n');
    const span = h(
      'span',
      { class: 'token ' + (token.sampled ? 'sampled ' + shadeOf(token.logprob) : 'masked') },
      shown,
    );
    span.fact = [token, segment, at];
    return span;
  }

  function tell(span, keep) {
    if (keep) {
      active?.classList.remove('at');
      span.classList.add('at');
      active = span;
    }
    const [token, segment, at] = span.fact,
      text = detail.vocabulary[token.id];
    const parts = [
      text === undefined ? null : h('code', null, JSON.stringify(text)),
      'id ' + token.id,
      (facts.length > 1 ? 'segment ' + (segment + 1) + ', ' : '') + 'position ' + at,
    ];
    if (token.sampled)
      parts.push(
        token.logprob === null
          ? 'logprob is no number'
          : 'logprob ' + decimal(token.logprob, 4) + ' (p ' + percent(Math.exp(token.logprob), 2) + ')',
        'sampled in turn ' + token.turn,
        'policy version ' + token.version,
      );
    else parts.push('masked: not sampled, not trained on');
    readout.replaceChildren(
      ...parts
        .filter(Boolean)
        .flatMap((part, place) => [place ? ' · ' : '', part])
        .map(part => (part instanceof Node ? part : visible(part))),
    );
  }

  function onkey(event) {
    const all = [...box.querySelectorAll('.token')],
      now = active ? all.indexOf(active) : -1;
    const to = {
      ArrowRight: now + 1,
      ArrowLeft: now - 1,
      Home: 0,
      End: all.length - 1,
      ArrowDown: lineFrom(all, now, 1),
      ArrowUp: lineFrom(all, now, -1),
    }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    const next = all[Math.min(all.length - 1, Math.max(0, to))];
    tell(next, true);
    next.scrollIntoView({ block: 'nearest' });
  }

  // The token below or above: the nearest one of the next line.
  function lineFrom(all, now, by) {
    if (now < 0) return 0;
    const from = all[now].getClientRects()[0] || all[now].getBoundingClientRect();
    let best = now,
      line = null;
    for (let at = now + by; at >= 0 && at < all.length; at += by) {
      const rect = all[at].getClientRects()[0];
      if (!rect || Math.abs(rect.top - from.top) < 4) continue;
      if (line === null) {
        line = rect.top;
        best = at;
      }
      if (Math.abs(rect.top - line) >= 4) break;
      if (Math.abs(rect.left - from.left) < Math.abs(all[best].getClientRects()[0].left - from.left)) best = at;
    }
    return best;
  }
}
