// Where rollouts come from: the data in the file, or the server. Both answer the same questions.
const embedded = JSON.parse(document.getElementById('data').textContent);
const SORTED = { task: row => row.task, reward: row => row.reward, tokens: row => row.tokens, turns: row => row.turns };
const keyOf = row => row.task + '-' + row.index;

function reportSource({ status, overview, sample }) {
  const texts = new Map();
  function said(row) {
    // What can be searched, made when it is first looked for.
    const key = keyOf(row);
    if (!texts.has(key)) {
      const { prompt, items, fields, reason } = sample.details[key];
      const parts = [
        row.task_id,
        reason.text,
        ...[...prompt, ...items].flatMap(one => [one.name || '', one.text]),
        ...Object.values(fields).map(one => one.text),
      ];
      texts.set(key, parts.join('\n').toLowerCase());
    }
    return texts.get(key);
  }
  function passes(row, filter) {
    const low = filter.reward_min,
      high = filter.reward_max;
    return (
      (!filter.environment || row.environment === filter.environment) &&
      (!filter.outcome || row.outcome === filter.outcome) &&
      (!filter.failure || row.failure === filter.failure) &&
      (!filter.task || row.task === Number(filter.task)) &&
      (!low || (row.reward !== null && row.reward >= Number(low))) &&
      (!high || (row.reward !== null && row.reward <= Number(high)))
    );
  }
  function chosen(filter) {
    const rows = sample.rows.filter(row => passes(row, filter)),
      by = SORTED[filter.sort] || SORTED.task;
    const sign = filter.descending === '1' ? -1 : 1;
    // Who has no reward stands at the end, whatever the direction.
    return rows.sort(
      (one, other) =>
        (by(one) === null) - (by(other) === null) ||
        sign * (by(one) - by(other)) ||
        one.task - other.task ||
        one.index - other.index,
    );
  }
  return {
    live: false,
    sample,
    status: async () => status,
    overview: async () => overview,
    page: async (filter, offset, limit) => {
      const rows = chosen(filter);
      return { total: rows.length, offset, rows: rows.slice(offset, offset + limit) };
    },
    search: async (filter, text, begin, limit) => {
      const rows = chosen({ ...filter, sort: 'task', descending: '' }),
        found = [];
      let at = begin;
      while (at < rows.length && found.length < limit) {
        if (said(rows[at]).includes(text.toLowerCase())) found.push(rows[at]);
        at++;
      }
      return { total: rows.length, searched: at, rows: found };
    },
    detail: async (task, index) => {
      const found = sample.details[task + '-' + index];
      if (!found) throw new Error('this rollout is not among those that the report holds');
      return { ...found, vocabulary: sample.vocabulary };
    },
  };
}

function liveSource() {
  async function ask(path, given) {
    const words = new URLSearchParams(
      Object.entries(given || {}).filter(one => one[1] !== '' && one[1] !== null && one[1] !== undefined),
    );
    const reply = await fetch(path + (words.size ? '?' + words : ''), { headers: { accept: 'application/json' } });
    const value = await reply.json();
    if (!reply.ok) throw new Error(value.error || 'the server said ' + reply.status);
    return value;
  }
  return {
    live: true,
    sample: null,
    status: () => ask('/api/status'),
    overview: () => ask('/api/overview'),
    page: (filter, offset, limit) => ask('/api/rollouts', { ...filter, offset, limit }),
    search: (filter, text, begin, limit) => ask('/api/rollouts', { ...filter, text, offset: begin, limit }),
    detail: (task, index) => ask('/api/rollouts/' + task + '/' + index),
  };
}

const source = embedded ? reportSource(embedded) : liveSource();
