// What every view stands on: the data in the page, elements, numbers, and the address.

const element = (id) => document.getElementById(id);
const given = (id) => JSON.parse(element(id).textContent);
const page = given('given-overview');
const FIELD = Object.fromEntries(page.fields.map((name, place) => [name, place]));

/** A new element. Texts become text nodes, so that nothing in them is ever read as HTML. */
function make(tag, properties = {}, ...children) {
  return fill(document.createElement(tag), properties, children);
}

function draw(tag, properties = {}, ...children) {
  return fill(document.createElementNS('http://www.w3.org/2000/svg', tag), properties, children);
}

function fill(made, properties, children) {
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith('on')) made.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) made.setAttribute(name, value === true ? '' : value);
  }
  made.append(...children.flat().filter((child) => child !== null));
  return made;
}

const whole = new Intl.NumberFormat('en');
const MISSING = 'n/a';

function number(value, digits = 2) {
  if (value === null || value === undefined) return MISSING;
  return Number.isInteger(value) ? whole.format(value) : value.toFixed(digits);
}

/** Of few significant digits where a number may be of any size. */
function brief(value) {
  if (typeof value !== 'number') return value ?? MISSING;
  if (Number.isInteger(value) && Math.abs(value) < 1e9) return whole.format(value);
  return Math.abs(value) >= 1e6 ? value.toExponential(2) : String(Number(value.toPrecision(4)));
}

function signed(value, digits = 2) {
  if (value === null) return MISSING;
  const shown = Math.abs(value).toFixed(digits);
  if (Number(shown) === 0) return `+${shown}`;
  return (value < 0 ? '\u2212' : '+') + shown;
}

function duration(seconds) {
  if (seconds === null || seconds === undefined) return MISSING;
  if (seconds < 90) return `${brief(Number(seconds.toFixed(1)))} s`;
  return seconds < 5400 ? `${(seconds / 60).toFixed(1)} min` : `${(seconds / 3600).toFixed(1)} h`;
}

/** Whether a cell's scores were ingested: of such a one nothing but the model is known. */
const ingested = (cell) => cell.loss === null;
const ours = page.cells.filter((cell) => !ingested(cell));

const KINDS = ['dataset', 'model', 'subset', 'seed', 'epoch'];
/** What tells our own cells apart, beside the loss: the dataset always, and what differs between them. */
const telling = KINDS.filter((kind) => (kind === 'dataset' ? ours.length > 0 : variants(kind).length > 1));

/** Of all models, the base model's too; else of trained cells. */
function variants(kind) {
  return [...new Set(ours.filter((cell) => kind === 'model' || cell.dataset !== null).map((cell) => cell[kind]))];
}

function word(cell, kind) {
  if (kind === 'dataset' && !ingested(cell)) return cell.dataset ?? '(base model)';
  return cell[kind] === null ? (kind === 'epoch' && cell.dataset !== null ? 'last' : '') : String(cell[kind]);
}

/** A cell is called by its loss first, or by its model where that is all. */
const called = (cell) => cell.loss ?? cell.model;

function cellName(cell) {
  const more = ingested(cell) ? [] : telling.map((kind) => [kind, word(cell, kind)]).filter(([, said]) => said !== '');
  const words = more.map(([kind, said]) => (kind === 'seed' || kind === 'epoch' ? `${kind} ${said}` : said));
  return [called(cell), ...words].join(' \u00b7 ');
}

const names = unambiguous(page.cells.map(cellName));

/** Names that several cells share get the cells' own. */
function unambiguous(all) {
  return all.map((name, place) => (all.filter((other) => other === name).length > 1 ? `${name} \u00b7 ${page.cells[place].cell}` : name));
}

const placeOf = (name) => page.cells.findIndex((cell) => cell.cell === name);

/** Choices, each with its text and why it cannot be chosen, if so; without another to choose it is a mere statement. */
function options(select, choices, chosen) {
  select.replaceChildren(...choices.map(([value, text, why]) => make('option', { value, disabled: Boolean(why) }, why ? `${text} (${why})` : text)));
  if (choices.some(([value]) => value === chosen)) select.value = chosen;
  select.disabled = choices.every(([value, , why]) => why || value === select.value);
}

/** The view, the parts of its path, and its settings, from the part of the address after the mark. */
function readAddress() {
  const [path, query = ''] = location.hash.slice(1).split('?');
  const [view, ...parts] = path.split('/').map(decoded);
  return { view, parts, query: new URLSearchParams(query) };
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** Keep what is shown in the address, so that it can be shared; settings that are as usual are left out. */
function remember(view, parts, settings = {}) {
  const set = Object.entries(settings).filter(([, value]) => value !== '' && value !== null && value !== false);
  const query = new URLSearchParams(set.map(([name, value]) => [name, value === true ? '1' : value])).toString();
  const path = [view, ...parts].map(encodeURIComponent).join('/');
  history.replaceState(null, '', `#${path}${query && `?${query}`}`);
}

function later(action, milliseconds) {
  let timer = 0;
  return () => {
    clearTimeout(timer);
    timer = setTimeout(action, milliseconds);
  };
}

const byWords = new Intl.Collator('en', { numeric: true }).compare;

/** What is unknown stands last, whichever the direction. */
function compare(first, second, direction) {
  if (first === null || second === null) return (first === null) - (second === null);
  const order = typeof first === 'number' && typeof second === 'number' ? first - second : byWords(String(first), String(second));
  return order * direction;
}

const views = {};
