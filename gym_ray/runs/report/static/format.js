// Numbers as people read them. A number that does not exist is a dash.
const DASH = '–';
const whole = new Intl.NumberFormat('en-US', { maximumFractionDigits: 0 });

function count(value) {
  return value === null || value === undefined ? DASH : whole.format(value);
}

function decimal(value, digits = 3) {
  if (value === null || value === undefined) return DASH;
  const text = value.toFixed(digits);
  return text.replace('-', '−');
}

// A reward as it is: 1, 0.5, −0.333.
function reward(value) {
  if (value === null || value === undefined) return DASH;
  return String(Number(value.toFixed(3))).replace('-', '−');
}

function percent(value, digits = 1) {
  return value === null || value === undefined ? DASH : decimal(100 * value, digits) + ' %';
}

function seconds(value) {
  if (value === null || value === undefined) return DASH;
  if (value === 0) return '0';
  if (value < 0.001) return decimal(value * 1e6, 0) + ' µs';
  if (value < 1) return decimal(value * 1e3, value < 0.01 ? 1 : 0) + ' ms';
  if (value < 120) return decimal(value, value < 10 ? 2 : 1) + ' s';
  const minutes = Math.floor(value / 60);
  return minutes < 120 ? minutes + ' min ' + Math.floor(value % 60) + ' s' : decimal(value / 3600, 1) + ' h';
}

function rate(value) {
  return value >= 100 ? count(value) : decimal(value, value >= 10 ? 1 : 2);
}

function when(unix) {
  return unix ? new Date(unix * 1000).toISOString().replace('T', ' ').slice(0, 19) + ' UTC' : DASH;
}

function interval(estimate, digits = 3) {
  if (!estimate) return DASH;
  if (estimate.low === null) return decimal(estimate.mean, digits);
  return [
    decimal(estimate.mean, digits) + ' ',
    h('span', { class: 'quiet' }, '[' + decimal(estimate.low, digits) + ', ' + decimal(estimate.high, digits) + ']'),
  ];
}

function intervalText(estimate) {
  if (!estimate) return 'none';
  return (
    decimal(estimate.mean) +
    (estimate.low === null ? '' : ' [' + decimal(estimate.low) + ', ' + decimal(estimate.high) + ']')
  );
}

// The outcome as a sign and a word: never by colour alone.
const SIGNS = { scored: '●', masked: '◐', failed: '✕' };
function outcomeMark(outcome, word = true) {
  return h(
    'span',
    { class: 'outcome ' + outcome },
    h('span', { 'aria-hidden': 'true' }, SIGNS[outcome] || '?'),
    word ? ' ' + outcome : null,
  );
}
