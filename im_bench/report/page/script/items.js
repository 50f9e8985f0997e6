// Items of one benchmark, side by side for two cells.

const chosen = { benchmark: '', left: 0, right: 0, task: '', won: '', text: '', differ: false, page: 1 };
let pairs = [];
let loading = 0;

const received = new Map();
const awaited = new Map();

globalThis.imBenchReceive = (name, value) => received.set(name, value);

/** The contents of a file beside the page; a script, as a page that lies on a disk may not fetch. */
function load(name) {
  if (!awaited.has(name)) awaited.set(name, new Promise((resolve, reject) => {
    const gone = () => {
      awaited.delete(name);
      reject(new Error(`data/${name}.js`));
    };
    const script = make('script', { src: `data/${name}.js`, onload: () => (received.has(name) ? resolve(received.get(name)) : gone()), onerror: gone });
    document.head.append(script);
  }));
  return awaited.get(name);
}

async function loadItems(place) {
  const own = await load(page.cells[place].items[chosen.benchmark]);
  return { asked: await load(own.questions), ...own };
}

/** The items that both cells have: equal ones that stand several times in a task are told apart by their order. */
function aligned(left, right) {
  const others = new Map(identified(right.asked).map((identity, place) => [identity, side(right, place)]));
  const { tasks, items } = left.asked;
  return identified(left.asked).flatMap((identity, place) => {
    const [one, two] = [side(left, place), others.get(identity)];
    if (!two) return [];
    const [task, , , target] = items[place];
    const differ = one.answer !== two.answer || one.outcome !== two.outcome;
    return [{ task: tasks[task], place: place + 1, target, left: one, right: two, won: better(one, two), differ }];
  });
}

/** What a cell was asked, which in a second turn has its own first answer, and what it said. */
function side({ asked, items }, place) {
  const [outcome, size, answer, verdict] = items[place];
  return { question: asked.items[place][2], outcome, size, answer, verdict };
}

function identified({ tasks, items }) {
  const times = new Map();
  return items.map(([task, item]) => {
    const identity = `${tasks[task]}\n${item}`;
    times.set(identity, (times.get(identity) ?? 0) + 1);
    return `${identity}\n${times.get(identity)}`;
  });
}

const benchmark = () => page.benchmarks.find(({ id }) => id === chosen.benchmark);

function better(one, two) {
  if (one.outcome === null || two.outcome === null) return 'unknown';
  const difference = (one.outcome / one.size - two.outcome / two.size) * (benchmark().direction === 'lower' ? -1 : 1);
  if (Math.abs(difference) < 1e-9) return 'equal';
  return difference > 0 ? 'left' : 'right';
}

/** An outcome in words. */
function came({ outcome, size }) {
  if (outcome === null) return 'no outcome';
  if (/^ter\b/.test(benchmark().metric)) return `${brief(outcome)} edits to ${brief(size)} words`;
  if (chosen.benchmark === 'mt_bench') return `${brief(outcome)} of 10 points`;
  if (/^alpaca_eval/.test(chosen.benchmark)) return `preferred to the reference: ${brief(outcome)}`;
  if (outcome === 1) return '\u2713 right';
  return outcome === 0 ? '\u2717 wrong' : brief(outcome);
}

const GROUP = ['model', 'dataset', 'subset', 'seed', 'epoch'];

/** Whether there is one cell only, of which just the answers are shown. */
const alone = () => chosen.left === chosen.right;

const isBaseline = (place) => page.cells[place].loss === page.baseline;

/** Which cell stands beside one: of its group the baseline or another, else any; itself where there is no other. */
function beside(id, place) {
  const others = having(id).filter((other) => other !== place);
  const group = others.filter((other) => GROUP.every((kind) => page.cells[other][kind] === page.cells[place][kind]));
  return group.find(isBaseline) ?? group[0] ?? others[0] ?? place;
}

/** A cell and the one beside it, the baseline on the left. */
function partners(id, place) {
  const other = beside(id, place);
  return isBaseline(other) && !isBaseline(place) ? [other, place] : [place, other];
}

function having(id) {
  return page.cells.map((cell, place) => place).filter((place) => page.cells[place].items[id]);
}

function itemsLink(id, place) {
  const cells = partners(id, place).map((each) => page.cells[each].cell);
  return `#items/${[id, ...cells].map(encodeURIComponent).join('/')}`;
}

/** The baseline and another loss of the same dataset, where there are such. */
function usualPair(id) {
  return partners(id, having(id).find(isBaseline) ?? having(id)[0] ?? 0);
}

/** Why a cell has no items of the benchmark. */
function lacks(place) {
  if (page.cells[place].items[chosen.benchmark]) return '';
  return ingested(page.cells[place]) ? 'ingested scores have no items' : 'it was not asked, or the step that scored it is not in the store or of an earlier version';
}

async function showItems() {
  const ticket = ++loading;
  const lacking = [chosen.left, chosen.right].find(lacks);
  pairs = [];
  renderChoices();
  if (lacking !== undefined) return renderItems(`No items are kept of ${names[lacking]} on this benchmark: ${lacks(lacking)}.`);
  element('item-count').textContent = 'Loading ...';
  try {
    const [left, right] = await Promise.all([loadItems(chosen.left), loadItems(chosen.right)]);
    if (ticket !== loading) return;
    pairs = aligned(left, right);
    renderItems(pairs.length ? '' : 'The two cells have no common items.');
  } catch (error) {
    if (ticket === loading) renderItems(`${error.message} cannot be read. The texts of items lie in the folder data beside this page; keep them together, or run im-bench report again. All else works without it.`);
  }
}

/** The benchmarks and cells that can be chosen, and those of which there are no items. */
function renderChoices() {
  options(element('benchmark'), page.benchmarks.map(({ id, heading }) => [id, heading, having(id).length ? '' : 'no items']), chosen.benchmark);
  const cells = names.map((name, place) => [String(place), name, lacks(place) && (ingested(page.cells[place]) ? 'ingested, no items' : 'no items')]);
  for (const name of ['left', 'right']) options(element(name), cells, String(chosen[name]));
  element('left-name').textContent = alone() ? 'Cell' : 'Left';
  element('right').parentElement.hidden = alone();
}

views.items = {
  show([id, left, right], query) {
    const known = page.benchmarks.map((each) => each.id);
    const withItems = known.find((each) => page.cells.some((cell) => cell.items[each]));
    chosen.benchmark = known.includes(id) ? id : (withItems ?? known[0] ?? '');
    [chosen.left, chosen.right] = placeOf(left) >= 0 ? [placeOf(left), placeOf(right)] : usualPair(chosen.benchmark);
    if (chosen.right < 0 || chosen.right === chosen.left) chosen.right = beside(chosen.benchmark, chosen.left);
    Object.assign(chosen, { task: query.get('task') ?? '', won: query.get('better') ?? '', text: query.get('find') ?? '', differ: query.get('differ') === '1', page: Number(query.get('page')) || 1 });
    element('find-item').value = chosen.text;
    if (!chosen.benchmark) return renderItems('This sweep has no benchmarks.');
    const why = ours.length ? 'the steps that scored it are not in the store, or of an earlier version' : 'its scores were ingested, and ingested scores have none';
    if (!withItems) return renderItems(`This sweep has no items: ${why}.`);
    return showItems();
  },
};

function startItems() {
  element('choices').hidden = !page.benchmarks.some(({ id }) => having(id).length);
  element('benchmark').addEventListener('change', ({ target }) => chooseBenchmark(target.value));
  for (const [name, other] of [['left', 'right'], ['right', 'left']]) element(name).addEventListener('change', ({ target }) => chooseCell(name, other, Number(target.value)));
  for (const name of ['task', 'won']) element(name).addEventListener('change', ({ target }) => filterItems({ [name]: target.value }));
  element('differ').addEventListener('change', ({ target }) => filterItems({ differ: target.checked }));
  element('find-item').addEventListener('input', later(() => filterItems({ text: element('find-item').value }), 150));
  startPaging();
}

/** The cells stay where both have items of it too. */
function chooseBenchmark(id) {
  const stay = chosen.left !== chosen.right && having(id).includes(chosen.left) && having(id).includes(chosen.right);
  const [left, right] = stay ? [chosen.left, chosen.right] : usualPair(id);
  Object.assign(chosen, { benchmark: id, left, right, task: '', page: 1 });
  showItems();
}

/** Who chooses on one side the cell of the other changes sides, as a cell is not compared with itself. */
function chooseCell(name, other, place) {
  const before = chosen[name];
  Object.assign(chosen, { [name]: place, [other]: chosen[other] === place ? before : chosen[other], page: 1 });
  showItems();
}
