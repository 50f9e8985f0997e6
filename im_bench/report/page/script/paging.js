// The chosen items, a page at a time, so that ten thousand and more stay light.

const PER_PAGE = 20;
const LONG = 700;

function filterItems(change) {
  Object.assign(chosen, change, { page: 1 });
  renderItems('');
}

/** Texts in small letters to search in, made once. */
function searched(pair) {
  pair.words ??= [pair.left, pair.right].flatMap(({ question, answer, verdict }) => [question, answer, verdict]).concat(pair.target).join('\n').toLowerCase();
  return pair.words;
}

function fitting() {
  const wanted = chosen.text.trim().toLowerCase();
  return pairs.filter((pair) => (!chosen.task || pair.task === chosen.task) && (!chosen.won || pair.won === chosen.won) && (!chosen.differ || pair.differ) && (!wanted || searched(pair).includes(wanted)));
}

function renderItems(notice) {
  renderFilters();
  const found = fitting();
  const last = Math.max(1, Math.ceil(found.length / PER_PAGE));
  chosen.page = Math.min(Math.max(1, Math.round(chosen.page)), last);
  const start = (chosen.page - 1) * PER_PAGE;
  element('item-count').textContent = notice ? '' : counted(found);
  const shown = notice ? [make('li', { class: 'notice' }, notice)] : found.slice(start, start + PER_PAGE).map(itemShown);
  element('list').replaceChildren(...shown);
  element('list').start = start + 1;
  element('paging').hidden = last === 1;
  element('page').value = chosen.page;
  element('page').max = last;
  element('pages').textContent = whole.format(last);
  element('page-before').disabled = chosen.page === 1;
  element('page-after').disabled = chosen.page === last;
  keepItems();
}

function counted(found) {
  const shown = `${number(found.length)} of ${number(pairs.length)} items`;
  if (alone()) return shown;
  const times = (won) => number(found.filter((pair) => pair.won === won).length);
  const unknown = times('unknown');
  const parts = [`left better ${times('left')}`, `right better ${times('right')}`, `equal ${times('equal')}`];
  return `${shown}: ${parts.join(', ')}${unknown === '0' ? '' : `, without an outcome ${unknown}`}`;
}

function renderFilters() {
  offer('task', [...new Set(pairs.map((pair) => pair.task))].map((task) => [task, task]));
  const won = { left: `left: ${names[chosen.left]}`, right: `right: ${names[chosen.right]}`, equal: 'equal', unknown: 'without an outcome' };
  offer('won', Object.entries(won).filter(([value]) => !alone() && pairs.some((pair) => pair.won === value)));
  renderDiffer();
}

/** A filter by what there is; one that would leave everything is not shown. */
function offer(name, choices) {
  if (pairs.length && !choices.some(([value]) => value === chosen[name])) chosen[name] = '';
  options(element(name), [['', 'all'], ...choices], chosen[name]);
  element(name).parentElement.hidden = choices.length < 2;
}

function renderDiffer() {
  const times = pairs.filter((pair) => pair.differ).length;
  const why = times === pairs.length ? ' (all do)' : times ? '' : ' (none do)';
  if (pairs.length && why) chosen.differ = false;
  element('differ').checked = chosen.differ;
  element('differ').disabled = why !== '';
  element('differ-name').textContent = `Only where they differ${pairs.length ? why : ''}`;
  element('differ').parentElement.hidden = alone();
}

function itemShown(pair) {
  const alike = pair.left.question === pair.right.question;
  const target = pair.target === null ? null : make('div', { class: 'target' }, make('h4', {}, 'Target'), words(pair.target));
  return make(
    'li',
    { class: 'item' },
    make('h3', {}, `${pair.task}, item ${number(pair.place)}`),
    make('div', {}, alike ? asked(pair.left) : null, target),
    make('div', { class: 'sides' }, sideShown(pair, 'left', alike), alone() ? null : sideShown(pair, 'right', alike)),
  );
}

const asked = ({ question }) => make('div', { class: 'asked' }, make('h4', {}, 'Question'), words(question));

function sideShown(pair, which, alike) {
  const { answer, verdict } = pair[which];
  const won = pair.won === which ? make('span', { class: 'badge' }, 'better') : null;
  const judged = verdict === null ? null : make('div', { class: 'verdict' }, make('h4', {}, 'Verdict'), words(verdict));
  const head = make('h4', {}, make('strong', {}, names[chosen[which]]), make('span', {}, came(pair[which])), won);
  const own = alike ? null : asked(pair[which]);
  return make('div', { class: 'side' }, own, head, words(answer === '' ? '(empty)' : answer), judged);
}

/** A text as it is written; a long one is folded. */
function words(text) {
  const shown = make('div', { class: 'words', dir: 'auto' }, marked(text));
  if (text.length < LONG && text.split('\n').length < 12) return shown;
  shown.classList.add('long');
  const more = make('button', { type: 'button', class: 'more', 'aria-expanded': 'false' }, 'Show all');
  more.addEventListener('click', () => {
    const folded = shown.classList.toggle('long');
    more.setAttribute('aria-expanded', String(!folded));
    more.textContent = folded ? 'Show all' : 'Show less';
  });
  return make('div', {}, shown, more);
}

/** The text with what is searched for marked. */
function marked(text) {
  const wanted = chosen.text.trim();
  if (!wanted) return [text];
  const exactly = new RegExp(`(${wanted.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')})`, 'gi');
  return text.split(exactly).map((part, place) => (place % 2 ? make('mark', {}, part) : part));
}

function keepItems() {
  const cells = [...new Set([chosen.left, chosen.right])].map((place) => page.cells[place].cell);
  remember('items', [chosen.benchmark, ...cells], { task: chosen.task, better: chosen.won, find: chosen.text, differ: chosen.differ, page: chosen.page > 1 ? chosen.page : '' });
}

function startPaging() {
  const turn = (to) => {
    chosen.page = to;
    renderItems('');
    element('item-count').scrollIntoView({ block: 'start' });
  };
  element('page-before').addEventListener('click', () => turn(chosen.page - 1));
  element('page-after').addEventListener('click', () => turn(chosen.page + 1));
  element('page').addEventListener('change', () => turn(Number(element('page').value) || 1));
}
