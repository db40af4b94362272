// Charts: inline SVG, each an image with a title and a sentence of what is on it; marks tell their numbers on hover.
function picture(width, height, title, said, ...marks) {
  return svg(
    'svg',
    { width, height, viewBox: '0 0 ' + width + ' ' + height, role: 'img', 'aria-label': title + '. ' + said },
    marks,
  );
}

function label(x, y, text, anchor = 'start', kind = 'axis') {
  return svg('text', { x, y, 'text-anchor': anchor, class: kind }, text);
}

function line(x1, y1, x2, y2, kind = 'rule') {
  return svg('line', { x1, y1, x2, y2, class: kind });
}

function marked(element, text) {
  element.append(svg('title', null, text));
  return element;
}

function niceMax(value) {
  if (value <= 0) return 1;
  const power = Math.pow(10, Math.floor(Math.log10(value)));
  return power * [1, 1.5, 2, 3, 4, 5, 7.5, 10].find(one => one * power >= value * 0.999);
}

// Rollouts by reward. Bins of no width are single values, drawn at even distances.
function rewardChart(name, distribution, scored) {
  return responsive('chart', width => {
    const height = 132,
      base = 108,
      top = 16;
    const { width: wide, bins } = distribution;
    const most = Math.max(...bins.map(one => one[1]));
    const first = bins[0][0],
      span = wide ? (bins[bins.length - 1][0] - first) / wide + 1 : bins.length;
    const step = Math.min(width / span, wide ? 48 : 56),
      left = 0;
    const marks = bins.map(([low, many], at) => {
      const place = left + (wide ? (low - first) / wide : at) * step;
      const tall = Math.max(1.5, ((base - top) * many) / most);
      const says =
        (wide ? reward(low) + ' to ' + reward(low + wide) : 'reward ' + reward(low)) +
        ': ' +
        count(many) +
        ' rollouts (' +
        percent(many / scored) +
        ')';
      const bar = marked(
        svg('rect', { x: place + 1, y: base - tall, width: Math.max(1, step - 2), height: tall, class: 'bar' }),
        says,
      );
      const roomy = step >= 26;
      return [
        bar,
        roomy && label(place + step / 2, base - tall - 4, count(many), 'middle', 'value'),
        !wide && roomy && label(place + step / 2, base + 14, reward(low), 'middle'),
      ];
    });
    const ends =
      wide || step < 26
        ? [
            label(left, base + 14, reward(first)),
            label(left + span * step, base + 14, reward(bins[bins.length - 1][0] + wide), 'end'),
          ]
        : [];
    const said =
      count(scored) + ' scored rollouts; the most frequent reward is ' + reward(bins.find(one => one[1] === most)[0]);
    return picture(width, height, 'Rewards of ' + name, said, marks, line(0, base, span * step, base), ends);
  });
}

// Tasks by pass rate. Objects put keys that look like numbers first, so the order is said here.
const DIFFICULTIES = ['0', '<0.2', '<0.4', '<0.6', '<0.8', '<1', '1'];
function difficultyChart(name, bins) {
  return responsive('chart', width => {
    const height = 132,
      base = 108,
      top = 16,
      names = DIFFICULTIES,
      values = names.map(one => bins[one]);
    const most = Math.max(1, ...values),
      step = Math.min(44, width / names.length);
    const shown = { 0: 'none', 1: 'all' };
    const marks = names.map((one, at) => {
      const tall = values[at] ? Math.max(1.5, ((base - top) * values[at]) / most) : 0,
        middle = at * step + step / 2;
      const says = 'pass rate ' + one + ': ' + count(values[at]) + ' tasks';
      return [
        marked(
          svg('rect', { x: at * step + 1, y: base - tall, width: step - 2, height: tall, class: 'bar second' }),
          says,
        ),
        values[at] > 0 && label(middle, base - tall - 4, count(values[at]), 'middle', 'value'),
        label(middle, base + 14, shown[one] || one, 'middle'),
      ];
    });
    const said = names.map((one, at) => one + ': ' + values[at]).join(', ');
    return picture(
      width,
      height,
      'Tasks of ' + name + ' by pass rate',
      said,
      marks,
      line(0, base, names.length * step, base),
    );
  });
}

const CURVES = [
  ['pass_at', 'pass@k', 'curve'],
  ['majority', 'majority@k', 'curve dotted'],
  ['pass_all', 'pass^k', 'curve dashed'],
];

// pass@k with its interval, pass^k and majority@k, over k on a logarithmic axis.
function skillChart(name, ks) {
  return responsive('chart', width => {
    const height = 132,
      base = 108,
      top = 10,
      left = 26,
      right = Math.min(width, 320) - 78;
    const last = ks[ks.length - 1].k;
    const x = k => (last === 1 ? (left + right) / 2 : left + ((right - left) * Math.log2(k)) / Math.log2(last));
    const y = value => base - (base - top) * Math.min(1, Math.max(0, value));
    const grid = [0, 0.5, 1].map(one => [
      line(left, y(one), right, y(one), one ? 'rule faint' : 'rule'),
      label(left - 5, y(one) + 4, String(one), 'end'),
    ]);
    const lines = [],
      ends = [];
    for (const [key, word, kind] of CURVES) {
      const points = ks.filter(one => one[key]).map(one => [x(one.k), y(one[key].mean), one]);
      if (!points.length) continue;
      if (key === 'pass_at' && points.every(([, , one]) => one[key].low !== null)) {
        const edge = [
          ...points.map(([px, , one]) => px + ',' + y(one[key].high)),
          ...points
            .slice()
            .reverse()
            .map(([px, , one]) => px + ',' + y(one[key].low)),
        ];
        lines.push(
          points.length > 1
            ? svg('polygon', { points: edge.join(' '), class: 'band' })
            : line(points[0][0], y(ks[0][key].low), points[0][0], y(ks[0][key].high), 'whisker'),
        );
      }
      lines.push(svg('polyline', { points: points.map(([px, py]) => px + ',' + py).join(' '), class: kind }));
      lines.push(
        points.map(([px, py, one]) =>
          marked(
            svg('circle', { cx: px, cy: py, r: 2.6, class: 'point' }),
            word.replace('k', one.k) + ' ' + intervalText(one[key]),
          ),
        ),
      );
      ends.push([points[points.length - 1][1], word]);
    }
    ends.sort((one, other) => one[0] - other[0]);
    let lowest = 0;
    const words = ends.map(([at, word]) => {
      lowest = Math.max(at + 4, lowest + 12);
      return label(right + 7, lowest, word, 'start', 'value');
    });
    const ticks = ks.map(one => label(x(one.k), base + 14, String(one.k), 'middle'));
    const said = ks.map(one => 'pass@' + one.k + ' ' + intervalText(one.pass_at)).join('; ');
    return picture(width, height, 'Chance of success of ' + name + ' over k rollouts', said, grid, lines, words, ticks);
  });
}

// One quantity over time, as a filled line.
function timeChart(title, unit, timeline, values, axis) {
  return responsive('chart', width => {
    const height = axis ? 116 : 96,
      base = 84,
      top = 16,
      left = 44,
      right = width - 10;
    const most = niceMax(Math.max(...values)),
      span = values.length * timeline.width;
    const x = at => left + ((right - left) * at) / values.length,
      y = value => base - ((base - top) * value) / most;
    const points = values.flatMap((value, at) => [x(at) + ',' + y(value), x(at + 1) + ',' + y(value)]);
    const grid = [0, most / 2, most].map(one => [
      line(left, y(one), right, y(one), one ? 'rule faint' : 'rule'),
      label(left - 6, y(one) + 4, most >= 8 ? count(one) : String(Number(one.toPrecision(3))), 'end'),
    ]);
    const marks = values.map((value, at) =>
      marked(
        svg('rect', { x: x(at), y: top, width: x(at + 1) - x(at), height: base - top, class: 'sensor' }),
        'from ' + seconds(at * timeline.width) + ' on: ' + rate(value) + ' ' + unit,
      ),
    );
    const ticks = axis
      ? [0, 0.25, 0.5, 0.75, 1].map(one =>
          label(
            left + (right - left) * one,
            base + 16,
            seconds(one * span),
            one === 0 ? 'start' : one === 1 ? 'end' : 'middle',
          ),
        )
      : [];
    return picture(
      width,
      height,
      title,
      'Over ' + seconds(span) + ', at most ' + rate(Math.max(...values)) + ' ' + unit,
      grid,
      svg('polygon', {
        points: [x(0) + ',' + base, ...points, x(values.length) + ',' + base].join(' '),
        class: 'area',
      }),
      svg('polyline', { points: points.join(' '), class: 'curve thin' }),
      marks,
      label(left, 10, title + ', ' + unit, 'start', 'value'),
      ticks,
    );
  });
}

// An interval as a whisker on the axis from low to high.
function whisker(estimate, low, high) {
  if (!estimate) return null;
  const width = 110,
    x = value => 3 + (width - 6) * Math.min(1, Math.max(0, (value - low) / (high - low || 1)));
  const reach = estimate.low === null ? null : line(x(estimate.low), 8, x(estimate.high), 8, 'whisker');
  return svg(
    'svg',
    { width, height: 16, class: 'whisker-box', 'aria-hidden': 'true' },
    line(3, 8, width - 3, 8, 'rule faint'),
    reach,
    svg('circle', { cx: x(estimate.mean), cy: 8, r: 3, class: 'point' }),
  );
}

// Mean seconds of a rollout, phase after phase, on one scale for all environments.
function phaseBar(name, phases, most) {
  return responsive('phase-bar', width => {
    let at = 0;
    const marks = Object.entries(phases)
      .filter(([phase]) => phase !== 'total')
      .map(([phase, its]) => {
        const wide = ((width - 2) * its.mean) / most,
          mark = svg('rect', { x: at, y: 1, width: Math.max(0, wide), height: 16, class: 'phase ' + phase });
        at += wide;
        return marked(mark, phase + ': ' + seconds(its.mean));
      });
    return picture(
      width,
      18,
      'Where time went in ' + name,
      Object.entries(phases)
        .map(([phase, its]) => phase + ' ' + seconds(its.mean))
        .join(', '),
      marks,
    );
  });
}
