// One cell: its scores, config, label report, loss curve and cost.

let details = null;

function showCell(place) {
  details ??= given('given-details');
  const [cell, known] = [page.cells[place], details[place]];
  element('cell').value = String(place);
  element('cell-before').disabled = place === 0;
  element('cell-after').disabled = place === page.cells.length - 1;
  const cards = ingested(cell) ? sourceCards(cell, known) : trainingCards(cell, known);
  element('cell-shown').replaceChildren(make('h2', {}, names[place]), card('Scores', scoreTable(cell, place)), ...cards, leaves(cell, known.scores));
  remember('cells', [cell.cell]);
}

function trainingCards(cell, known) {
  const whole = cell.epoch === null ? '' : ', of the whole training';
  return [
    card(`Loss curve${whole}`, known.curve.length ? curve(known.curve) : absent(cell, 'loss curve')),
    card('Label report', known.labels ? labelReport(known.labels) : absent(cell, 'label report')),
    card(`Cost${whole}`, facts(costFacts(known.cost))),
    card('Config', facts([...ownFacts(cell), ...known.config], 'code')),
  ];
}

/** Of scores that were ingested: the files they are from, and what judging answers of files has cost. */
function sourceCards(cell, known) {
  const judged = Object.keys(cell.items).length > 0;
  const what = judged ? 'The answers of this model were given in a file and judged here' : 'The scores of this model were ingested';
  const said = make('p', { class: 'hint' }, `${what}; what it was trained on, and how, is not told.`);
  const cost = costFacts(known.cost).filter(([, value]) => value !== MISSING);
  const sources = cell.sources.map((source) => ['from', source]);
  return [card('Source', said, facts([...sources, ...ownFacts(cell)], 'code')), ...(cost.length ? [card('Cost', facts(cost))] : [])];
}

const card = (heading, ...content) => make('section', { class: 'card' }, make('h3', {}, heading), ...content);

function absent(cell, what) {
  const why = cell.dataset === null ? 'it was not trained' : 'its training step is not in the store, or keeps none';
  return make('p', { class: 'hint' }, `This cell has no ${what}: ${why}.`);
}

function facts(pairs, look = null) {
  const listed = pairs.flatMap(([name, value]) => [make('dt', {}, name), make('dd', {}, String(value))]);
  return make('dl', { class: look }, listed);
}

function ownFacts(cell) {
  const own = ['cell', 'model', 'dataset', 'subset', 'loss', 'seed', 'epoch', 'examples', 'ratio'];
  return own.filter((name) => cell[name] !== null).map((name) => [name, name === 'ratio' ? brief(cell[name]) : cell[name]]);
}

function costFacts(cost) {
  const trained = [
    ['training', duration(cost.training_seconds)],
    ['optimiser steps', brief(cost.training_steps)],
    ['tokens', brief(cost.training_tokens)],
    ['tokens in the loss', brief(cost.training_supervised_tokens)],
    ['floating-point operations', brief(cost.training_flops)],
    ['device', cost.training_device === null ? MISSING : `${cost.training_processes} \u00d7 ${cost.training_device}`],
  ];
  const dollars = cost.judge_cost === null ? MISSING : `$${cost.judge_cost.toFixed(2)}`;
  const judged = [['judge read, tokens', brief(cost.judge_prompt_tokens)], ['judge wrote, tokens', brief(cost.judge_answer_tokens)], ['judge, US dollars', dollars]];
  return [...trained, ['scoring', duration(cost.scoring_seconds)], ...judged];
}

const COUNTS = {
  conversations: 'conversations', kept: 'kept', truncated: 'truncated', dropped_rows: 'dropped', skipped_rows: 'skipped',
  supervised_tokens: 'tokens in the loss', ends_outside: 'ends of turn outside the loss', instruction_output_ratio: 'instruction / output tokens',
};

function labelReport({ tokens, supervised, counts }) {
  const rows = Object.keys(tokens).map((part) => {
    const share = tokens[part] ? `${((100 * (supervised[part] ?? 0)) / tokens[part]).toFixed(0)} %` : MISSING;
    return [part, number(tokens[part]), number(supervised[part] ?? 0), share];
  });
  const counted = Object.entries(counts).map(([name, value]) => [COUNTS[name], brief(value)]);
  return [facts(counted), simpleTable('Tokens by part', ['Part', 'Tokens', 'In the loss', 'Share'], rows)];
}

function simpleTable(caption, heads, rows) {
  const head = make('tr', {}, heads.map((text, place) => make('th', { scope: 'col', class: place ? null : 'text' }, text)));
  const body = rows.map(([first, ...others]) => make('tr', {}, make('th', { scope: 'row' }, first), others.map((text) => make('td', {}, text))));
  const made = make('table', {}, make('caption', { class: 'unseen' }, caption), make('thead', {}, head), make('tbody', {}, body));
  return make('div', { class: 'scroll' }, made);
}

/** The cell's line of every table but that of means, without what it was not asked. */
function scoreTable(cell, place) {
  const { categories, ...others } = page.tables;
  const entries = Object.values(others).flatMap(({ columns, lines }) => {
    const line = lines.find((each) => each.cell === place);
    return line ? line.numbers.map((entry, column) => [entry, columns[column]]) : [];
  });
  const asked = entries.filter(([entry]) => entry[FIELD.value] !== null || entry[FIELD.total] > 0);
  if (!asked.length) return make('p', { class: 'hint' }, 'No table has a score of this cell.');
  const rows = asked.map(([entry, column]) => scoreRow(cell, place, entry, column));
  const differs = rows.some((row) => row[DIFFERENCE]);
  const kept = (row) => row.filter((text, column) => differs || column !== DIFFERENCE);
  return simpleTable('Scores', kept(['Benchmark', 'Score', 'Error', `To ${page.baseline}`, 'Items']), rows.map(kept));
}

const DIFFERENCE = 3;

function scoreRow(cell, place, entry, { id, heading, digits }) {
  const name = cell.items[id] ? make('a', { href: itemsLink(id, place) }, heading) : heading;
  const value = entry[FIELD.value] === null ? MISSING : entry[FIELD.value].toFixed(digits);
  const error = entry[FIELD.stderr] === null ? '' : `\u00b1${entry[FIELD.stderr].toFixed(digits)}`;
  const difference = entry[FIELD.difference] === null ? '' : `${signed(entry[FIELD.difference], digits)} ${entry[FIELD.stars]}`;
  return [name, value, error, difference, number(entry[FIELD.count])];
}

/** Every row of the ledger, made when it is opened. */
function leaves(cell, scores) {
  const opened = make('details', {}, make('summary', {}, `All ${scores.length} rows of the ledger`));
  opened.addEventListener('toggle', () => {
    if (opened.childElementCount > 1) return;
    const rows = scores.map(([benchmark, task, metric, value, stderr, count, total, judge, source]) => [task, benchmark, metric, brief(value), stderr === null ? '' : brief(stderr), `${number(count)} of ${number(total)}`, judge ?? '', ...(ingested(cell) ? [source] : [])]);
    opened.append(simpleTable('Rows of the ledger', ['Task', 'Benchmark', 'Metric', 'Value', 'Error', 'Items', 'Judge', ...(ingested(cell) ? ['Source'] : [])], rows));
  });
  return make('section', { class: 'card wide' }, make('h3', {}, 'Ledger'), opened);
}

views.cells = {
  show([name]) {
    showCell(Math.max(0, placeOf(name)));
  },
};

function startCells() {
  options(element('cell'), names.map((name, place) => [String(place), name]));
  const move = (by) => showCell(Number(element('cell').value) + by);
  element('cell').addEventListener('change', () => move(0));
  element('cell-before').addEventListener('click', () => move(-1));
  element('cell-after').addEventListener('click', () => move(1));
}
