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

/** A cell beside the one with which it is compared: the baseline of its group, or for the baseline another of it. */
function partners(id, place) {
  const own = page.cells[place];
  const group = having(id).filter((other) => GROUP.every((kind) => page.cells[other][kind] === own[kind]));
  const base = group.find((other) => page.cells[other].loss === page.baseline) ?? place;
  if (base !== place) return [base, place];
  return [place, group.find((other) => other !== place) ?? having(id).find((other) => other !== place) ?? place];
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
  return partners(id, having(id).find((place) => page.cells[place].loss === page.baseline) ?? having(id)[0] ?? 0);
}

async function showItems() {
  const ticket = ++loading;
  const lacking = [chosen.left, chosen.right].filter((place) => !page.cells[place].items[chosen.benchmark]);
  pairs = [];
  if (lacking.length) return renderItems(`No items are kept of ${names[lacking[0]]} on this benchmark: the step that scored it is not in the store, or an earlier version has made it.`);
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

views.items = {
  show([id, left, right], query) {
    const known = page.benchmarks.map((each) => each.id);
    const withItems = known.find((each) => page.cells.some((cell) => cell.items[each]));
    chosen.benchmark = known.includes(id) ? id : (withItems ?? known[0] ?? '');
    const usual = usualPair(chosen.benchmark);
    chosen.left = placeOf(left) >= 0 ? placeOf(left) : usual[0];
    chosen.right = placeOf(right) >= 0 ? placeOf(right) : usual[1];
    Object.assign(chosen, { task: query.get('task') ?? '', won: query.get('better') ?? '', text: query.get('find') ?? '', differ: query.get('differ') === '1', page: Number(query.get('page')) || 1 });
    for (const name of ['benchmark', 'left', 'right']) element(name).value = String(chosen[name]);
    element('find-item').value = chosen.text;
    element('differ').checked = chosen.differ;
    if (!chosen.benchmark) return renderItems('This sweep has no benchmarks.');
    return showItems();
  },
};

function startItems() {
  const cells = names.map((name, place) => [String(place), name]);
  options(element('benchmark'), page.benchmarks.map(({ id, heading }) => [id, heading]));
  for (const name of ['left', 'right']) options(element(name), cells);
  element('benchmark').addEventListener('change', ({ target }) => choose({ benchmark: target.value, task: '', page: 1 }));
  for (const name of ['left', 'right']) element(name).addEventListener('change', ({ target }) => choose({ [name]: Number(target.value), page: 1 }));
  for (const name of ['task', 'won']) element(name).addEventListener('change', ({ target }) => filterItems({ [name]: target.value }));
  element('differ').addEventListener('change', ({ target }) => filterItems({ differ: target.checked }));
  element('find-item').addEventListener('input', later(() => filterItems({ text: element('find-item').value }), 150));
  startPaging();
}

function choose(change) {
  Object.assign(chosen, change);
  showItems();
}
