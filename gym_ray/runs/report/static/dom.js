// Elements. Text becomes text nodes and nothing else: no markup is ever parsed. What would act on a reader unseen
// (control characters, terminal escapes, bidirectional and invisible ones) is shown by its code point.
const HIDDEN = new RegExp(
  '[\\u0000-\\u0008\\u000b-\\u001f\\u007f-\\u009f\\u00ad\\u034f\\u061c\\u115f\\u1160\\u17b4\\u17b5\\u180b-\\u180f' +
    '\\u200b-\\u200f\\u2028-\\u202e\\u2060-\\u206f\\u3164\\ufe00-\\ufe0e\\ufeff\\uffa0\\ufff0-\\ufffb' +
    '\\ud800-\\udfff\\u{e0000}-\\u{e0fff}]',
  'u',
);
const NAMES = {
  0: 'NUL',
  7: 'BEL',
  8: 'BS',
  11: 'VT',
  12: 'FF',
  13: 'CR',
  27: 'ESC',
  127: 'DEL',
  0x200b: 'ZWSP',
  0x200d: 'ZWJ',
  0x200e: 'LRM',
  0x200f: 'RLM',
  0x202a: 'LRE',
  0x202b: 'RLE',
  0x202c: 'PDF',
  0x202d: 'LRO',
  0x202e: 'RLO',
  0x2066: 'LRI',
  0x2067: 'RLI',
  0x2068: 'FSI',
  0x2069: 'PDI',
  0xfeff: 'BOM',
};

function codeName(character) {
  const code = character.codePointAt(0);
  return NAMES[code] || 'U+' + code.toString(16).toUpperCase().padStart(4, '0');
}

// Text for places that hold no elements: attributes, titles, options.
function plain(text) {
  const given = String(text);
  return HIDDEN.test(given) ? given.replace(new RegExp(HIDDEN, 'gu'), one => '⟨' + codeName(one) + '⟩') : given;
}

function visible(text) {
  const given = String(text);
  if (!HIDDEN.test(given)) return document.createTextNode(given);
  const whole = document.createDocumentFragment();
  for (const part of given.split(new RegExp('(' + HIDDEN.source + ')', 'u'))) {
    if (!part) continue;
    if (HIDDEN.test(part)) {
      const mark = document.createElement('span');
      mark.className = 'hidden-character';
      mark.textContent = codeName(part);
      whole.append(mark);
    } else whole.append(part);
  }
  return whole;
}

const SVG = 'http://www.w3.org/2000/svg';

function build(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else if (name === 'value') element.value = value;
    else element.setAttribute(name, value === true ? '' : plain(value));
  }
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    element.append(child instanceof Node ? child : visible(child));
  }
  return element;
}

// h('p', {class: 'note', onclick: ...}, 'text', node, [more])
function h(tag, attributes, ...children) {
  return build(document.createElement(tag), attributes, children);
}
function svg(tag, attributes, ...children) {
  return build(document.createElementNS(SVG, tag), attributes, children);
}

// A table: columns are {title, number, hint}; rows are lists of cells (text or nodes), the first one a row's heading.
function table(label, columns, rows) {
  const head = columns.map(one =>
    h('th', { scope: 'col', class: one.number ? 'number' : null, title: one.hint }, one.title),
  );
  const body = rows.map(row =>
    h(
      'tr',
      null,
      row.map((cell, at) =>
        h(at ? 'td' : 'th', { scope: at ? null : 'row', class: columns[at].number ? 'number' : null }, cell),
      ),
    ),
  );
  return h(
    'div',
    { class: 'scroll', tabindex: '0', role: 'region', 'aria-label': label },
    h('table', null, h('thead', null, h('tr', null, head)), h('tbody', null, body)),
  );
}

// Draws what depends on the width of its place, again whenever that changes.
function responsive(className, draw) {
  const place = h('div', { class: className });
  let drawn = 0;
  new ResizeObserver(() => {
    const width = Math.floor(place.clientWidth);
    if (!width || width === drawn) return;
    drawn = width;
    place.replaceChildren(draw(width));
  }).observe(place);
  return place;
}
