// The main table: sorted, filtered, as values or as differences.

const usualTable = Object.keys(page.tables)[0];
const table = { columns: usualTable, numbers: 'values', sort: '', direction: -1, filters: {}, text: '' };
const shownFilters = ['model', 'dataset', 'subset', 'loss', 'seed', 'epoch'].filter((kind) => filterValues(kind).length > 1);

function filterValues(kind) {
  return [...new Set(page.cells.map((cell) => word(cell, kind)))].filter((value) => value !== '').sort(byWords);
}

const grid = () => page.tables[table.columns];
const labelled = (kind) => `${kind[0].toUpperCase()}${kind.slice(1)}`;
const labels = ['loss', ...telling];
const firstHeading = ours.length ? (ours.length < page.cells.length ? 'Loss or model' : 'Loss') : 'Model';
const compared = Object.values(page.tables).some(({ lines }) => lines.some(({ numbers }) => numbers.some((entry) => entry[FIELD.difference] !== null)));
const field = () => (table.numbers === 'values' ? FIELD.value : FIELD.difference);

function makeFilters() {
  const filters = shownFilters.map((kind) => {
    const select = make('select', { id: `filter-${kind}`, onchange: () => setFilter(kind, select.value) });
    options(select, [['', 'all'], ...filterValues(kind).map((value) => [value, value])], '');
    return make('label', { class: 'field' }, labelled(kind), select);
  });
  element('filters').replaceChildren(...filters);
}

function setFilter(kind, value) {
  table.filters[kind] = value;
  renderBody();
}

function renderHead() {
  const heads = [
    ...labels.map((kind, place) => sortable(kind, place ? labelled(kind) : firstHeading, place ? 'text' : 'text first')),
    ...grid().columns.map((column) => sortable(`=${column.id}`, column.heading, '', column.short)),
  ];
  element('table').tHead.replaceChildren(make('tr', {}, heads));
}

function sortable(key, heading, look, short) {
  const arrow = make('span', { class: 'arrow', 'aria-hidden': 'true' });
  const button = make('button', { type: 'button', onclick: () => sortBy(key) }, grid().columns.length > 10 && short ? short : heading, arrow);
  if (short && short !== heading) button.title = heading;
  return make('th', { scope: 'col', class: look || null, 'data-key': key }, button);
}

/** The first click sorts (numbers from the largest), the second the other way, the third as it was. */
function sortBy(key) {
  const first = key.startsWith('=') ? -1 : 1;
  if (table.sort !== key) Object.assign(table, { sort: key, direction: first });
  else if (table.direction === first) table.direction = -first;
  else table.sort = '';
  renderBody();
}

function sortValue(line, key) {
  const column = grid().columns.findIndex((each) => `=${each.id}` === key);
  if (column >= 0) return line.numbers[column][field()];
  const cell = page.cells[line.cell];
  if (key === 'loss') return called(cell);
  return typeof cell[key] === 'number' ? cell[key] : word(cell, key);
}

function chosenLines() {
  const wanted = table.text.toLowerCase().split(/\s+/).filter(Boolean);
  const fits = ({ cell }) => {
    const own = page.cells[cell];
    const said = `${names[cell]} ${own.model} ${own.subset ?? ''} ${own.cell}`.toLowerCase();
    return wanted.every((each) => said.includes(each)) && shownFilters.every((kind) => !table.filters[kind] || word(own, kind) === table.filters[kind]);
  };
  const lines = grid().lines.filter(fits);
  if (!table.sort) return lines;
  return lines.sort((one, other) => compare(sortValue(one, table.sort), sortValue(other, table.sort), table.direction));
}

function renderBody() {
  hideTip();
  const lines = chosenLines();
  const rows = lines.map((line, place) => tableRow(line, place > 0 && !table.sort && groupOf(line) !== groupOf(lines[place - 1])));
  element('table').tBodies[0].replaceChildren(...rows);
  const first = element('table').querySelector('td[tabindex]');
  if (first) first.tabIndex = 0;
  for (const head of element('table').querySelectorAll('th[data-key]')) markSorted(head);
  element('cell-count').textContent = `${lines.length} of ${grid().lines.length} cells`;
  const what = table.numbers === 'values' ? 'scores' : `differences to loss ${page.baseline}`;
  element('table-name').textContent = `${page.sweep}: ${table.columns}, ${what}`;
  element('said').replaceChildren(...grid().caption.map((sentence) => make('li', {}, sentence)));
  keepOverview();
}

const groupOf = (line) => labels.slice(1).map((kind) => word(page.cells[line.cell], kind)).join('\n');

function markSorted(head) {
  const sorted = head.dataset.key === table.sort;
  const order = table.direction > 0 ? 'ascending' : 'descending';
  if (sorted) head.setAttribute('aria-sort', order);
  else head.removeAttribute('aria-sort');
  head.querySelector('.arrow').textContent = sorted ? (table.direction > 0 ? '\u25b4' : '\u25be') : '';
}

function tableRow(line, begins) {
  const cell = page.cells[line.cell];
  const link = make('a', { href: `#cells/${encodeURIComponent(cell.cell)}`, 'aria-label': names[line.cell] }, called(cell));
  return make(
    'tr',
    { class: begins ? 'begins' : null, 'data-cell': line.cell },
    make('th', { scope: 'row', class: 'first' }, link),
    labels.slice(1).map((kind) => make('td', { class: 'text' }, word(cell, kind))),
    line.numbers.map((entry, column) => tableNumber(entry, column)),
  );
}

function tableNumber(entry, column) {
  const { digits, better } = grid().columns[column];
  if (table.numbers === 'values') {
    const partial = entry[FIELD.value] !== null && entry[FIELD.count] < entry[FIELD.total] ? '\u2020' : '';
    const value = entry[FIELD.value] === null ? MISSING : entry[FIELD.value].toFixed(digits);
    const spread = entry[FIELD.stderr] === null || grid().columns.length > 10 ? '' : make('span', { class: 'stderr' }, ` \u00b1${entry[FIELD.stderr].toFixed(digits)}`);
    return make('td', { tabindex: -1, 'data-column': column }, value + partial, spread);
  }
  const difference = entry[FIELD.difference];
  if (difference === null) return make('td', { tabindex: -1, 'data-column': column }, '\u2013', make('span', { class: 'stars' }));
  const none = Number(difference.toFixed(digits)) === 0 || better === 'neither';
  const way = none ? '' : (difference > 0) === (better === 'higher') ? 'up' : 'down';
  const look = `${way} ${entry[FIELD.stars] ? 'sure' : ''}`.trim();
  return make('td', { tabindex: -1, class: look, 'data-column': column }, signed(difference, digits), make('span', { class: 'stars' }, entry[FIELD.stars]));
}

function explained(entry, column, cell) {
  const { digits } = column;
  const interval = entry[FIELD.low] === null ? '' : `, interval ${signed(entry[FIELD.low], digits)} to ${signed(entry[FIELD.high], digits)}`;
  const p = entry[FIELD.p] === null ? '' : `, p ${entry[FIELD.p] < 0.001 ? '< 0.001' : `= ${entry[FIELD.p].toFixed(3)}`}`;
  const spread = entry[FIELD.stderr] === null ? '' : ` \u00b1 ${entry[FIELD.stderr].toFixed(digits)}`;
  const value = entry[FIELD.value] === null ? MISSING : entry[FIELD.value].toFixed(digits);
  const lines = [`${column.heading}, ${names[cell]}`, `${value}${spread} (${number(entry[FIELD.count])} of ${number(entry[FIELD.total])} items)`];
  if (entry[FIELD.difference] !== null) lines.push(`${signed(entry[FIELD.difference], digits)} to ${page.baseline}${interval}${p} ${entry[FIELD.stars]}`.trim());
  return lines.join('\n');
}

function showTip(place) {
  const line = grid().lines.find(({ cell }) => cell === Number(place.parentElement.dataset.cell));
  const column = Number(place.dataset.column);
  const tip = element('tip');
  tip.textContent = explained(line.numbers[column], grid().columns[column], line.cell);
  tip.hidden = false;
  place.setAttribute('aria-describedby', 'tip');
  const box = place.getBoundingClientRect();
  const left = Math.min(box.left, innerWidth - tip.offsetWidth - 8);
  const below = box.bottom + 6 + tip.offsetHeight < innerHeight;
  Object.assign(tip.style, { left: `${Math.max(8, left)}px`, top: `${below ? box.bottom + 6 : box.top - tip.offsetHeight - 6}px` });
}

function hideTip() {
  element('tip').hidden = true;
}

const STEPS = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };

/** Arrow keys walk over the numbers, of which only one is in the order of the Tab key. */
function walk(event) {
  const here = event.target.closest('td[tabindex]');
  if (event.key === 'Escape') hideTip();
  if (!here || !(event.key in STEPS)) return;
  event.preventDefault();
  const [down, right] = STEPS[event.key];
  const row = element('table').tBodies[0].rows[here.parentElement.sectionRowIndex + down];
  const next = row?.querySelector(`td[data-column="${Number(here.dataset.column) + right}"]`);
  if (!next) return;
  here.tabIndex = -1;
  next.tabIndex = 0;
  uncover(next);
  next.focus({ preventScroll: true });
}

/** Scrolls to a number, so that neither the headings nor the first column, which stay in sight, lie over it. */
function uncover(number) {
  number.style.scrollMargin = `${element('table').tHead.offsetHeight}px 0 0 ${number.parentElement.cells[0].offsetWidth}px`;
  number.scrollIntoView({ block: 'nearest', inline: 'nearest' });
}

function keepOverview() {
  const { columns, numbers, sort, direction, text } = table;
  const order = sort && `${sort}:${direction > 0 ? 'up' : 'down'}`;
  const usual = { columns: columns === usualTable ? '' : columns, numbers: numbers === 'values' ? '' : numbers };
  remember('overview', [], { ...usual, sort: order, find: text, ...table.filters });
}

views.overview = {
  show(parts, query) {
    const [sort, way] = (query.get('sort') ?? '').split(':');
    table.columns = query.get('columns') in page.tables ? query.get('columns') : usualTable;
    table.numbers = compared && query.get('numbers') === 'differences' ? 'differences' : 'values';
    Object.assign(table, { sort, direction: way === 'up' ? 1 : -1, text: query.get('find') ?? '' });
    for (const kind of shownFilters) {
      table.filters[kind] = filterValues(kind).includes(query.get(kind)) ? query.get(kind) : '';
      element(`filter-${kind}`).value = table.filters[kind];
    }
    for (const radio of document.querySelectorAll('#view-overview [type=radio]')) radio.checked = radio.value === table[radio.name];
    element('find-cell').value = table.text;
    renderHead();
    renderBody();
  },
};

function makeTables() {
  const choices = Object.keys(page.tables).map((name) => {
    const radio = make('input', { type: 'radio', name: 'columns', value: name, checked: name === usualTable });
    return make('label', {}, radio, make('span', {}, labelled(name)));
  });
  element('columns').append(...choices);
  element('columns').hidden = choices.length < 2;
  element('numbers').hidden = !compared;
}

function startOverview() {
  makeFilters();
  makeTables();
  const body = element('table').tBodies[0];
  for (const radio of document.querySelectorAll('#view-overview [type=radio]')) {
    radio.addEventListener('change', () => {
      table[radio.name] = radio.value;
      if (radio.name === 'columns') renderHead();
      renderBody();
    });
  }
  element('find-cell').addEventListener('input', () => {
    table.text = element('find-cell').value;
    renderBody();
  });
  for (const event of ['mouseover', 'focusin']) body.addEventListener(event, ({ target }) => target.closest('td[tabindex]') ? showTip(target.closest('td[tabindex]')) : hideTip());
  for (const event of ['mouseleave', 'focusout']) body.addEventListener(event, hideTip);
  body.addEventListener('keydown', walk);
}
