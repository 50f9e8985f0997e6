// A loss curve that tells its values to a pointer and to the arrow keys.

const BOX = { width: 640, height: 230, left: 46, right: 12, top: 10, bottom: 26 };

function curve(points) {
  const { across, down, ticks } = scales(points);
  const at = draw('line', { class: 'at', y1: BOX.top, y2: BOX.height - BOX.bottom });
  const dot = draw('circle', { r: 3.5 });
  const [first, last] = [points[0], points[points.length - 1]];
  const told = make('output', { class: 'hint' });
  const drawn = draw(
    'svg',
    { class: 'curve', viewBox: `0 0 ${BOX.width} ${BOX.height}`, tabindex: 0, role: 'img', 'aria-label': `Training loss: ${brief(first[1])} at step ${first[0]}, ${brief(last[1])} at step ${last[0]}. Arrow keys tell the steps between.` },
    ticks.map((loss) => draw('line', { class: 'grid', x1: BOX.left, x2: BOX.width - BOX.right, y1: down(loss), y2: down(loss) })),
    ticks.map((loss) => draw('text', { x: BOX.left - 6, y: down(loss) + 4, 'text-anchor': 'end' }, brief(loss))),
    [first, last].map(([step], end) => draw('text', { x: across(step), y: BOX.height - 8, 'text-anchor': end ? 'end' : 'start' }, end ? `step ${whole.format(step)}` : whole.format(step))),
    draw('polyline', { class: 'line', points: points.map(([step, loss]) => `${across(step).toFixed(1)},${down(loss).toFixed(1)}`).join(' ') }),
    at,
    dot,
  );
  let here = points.length - 1;
  const tell = (place) => {
    here = Math.max(0, Math.min(points.length - 1, place));
    const [step, loss] = points[here];
    for (const end of ['x1', 'x2']) at.setAttribute(end, across(step));
    dot.setAttribute('cx', across(step));
    dot.setAttribute('cy', down(loss));
    told.textContent = `step ${whole.format(step)}: loss ${brief(loss)}`;
  };
  tell(here);
  drawn.addEventListener('pointermove', (event) => {
    const box = drawn.getBoundingClientRect();
    tell(nearest(points, ((event.clientX - box.left) / box.width) * BOX.width, across));
  });
  drawn.addEventListener('keydown', (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1, Home: -points.length, End: points.length }[event.key];
    if (step === undefined) return;
    event.preventDefault();
    tell(here + step);
  });
  return [drawn, told];
}

function scales(points) {
  const [low, high] = [points[0][0], points[points.length - 1][0]];
  const losses = points.map(([, loss]) => loss);
  const ticks = rounds(Math.min(0, ...losses), Math.max(...losses, 1e-9));
  const [bottom, top] = [ticks[0], Math.max(ticks[ticks.length - 1], ...losses)];
  const wide = BOX.width - BOX.left - BOX.right;
  const tall = BOX.height - BOX.top - BOX.bottom;
  return {
    across: (step) => BOX.left + (high > low ? ((step - low) / (high - low)) * wide : wide / 2),
    down: (loss) => BOX.top + (1 - (loss - bottom) / (top - bottom)) * tall,
    ticks,
  };
}

/** About four round numbers from `low` to `high`. */
function rounds(low, high) {
  const rough = (high - low) / 4;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].find((times) => times * power >= rough) * power;
  const from = Math.floor(low / step);
  return Array.from({ length: Math.ceil(high / step) - from + 1 }, (unused, place) => (from + place) * step);
}

function nearest(points, x, across) {
  let best = 0;
  points.forEach(([step], place) => {
    if (Math.abs(across(step) - x) < Math.abs(across(points[best][0]) - x)) best = place;
  });
  return best;
}
