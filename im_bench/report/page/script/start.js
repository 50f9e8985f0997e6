// Tabs, theme, and the view that the address names.

const VIEWS = ['overview', 'figures', 'cells', 'items'];

function select(view) {
  hideTip();
  for (const name of VIEWS) {
    const tab = element(`tab-${name}`);
    tab.setAttribute('aria-selected', String(name === view));
    tab.tabIndex = name === view ? 0 : -1;
    // Not the view's own name, to which the browser would scroll when it stands in the address.
    element(`view-${name}`).hidden = name !== view;
  }
}

function showAddress() {
  const { view, parts, query } = readAddress();
  const known = VIEWS.includes(view) ? view : 'overview';
  select(known);
  views[known].show(parts, query);
}

/** Each view is left as it was: a tab leads to the address that it had last. */
const addresses = Object.fromEntries(VIEWS.map((view) => [view, `#${view}`]));

function open(view) {
  addresses[readAddress().view] = location.hash;
  history.pushState(null, '', addresses[view]);
  showAddress();
}

function turnTab(event) {
  const way = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  const ends = { Home: 0, End: VIEWS.length - 1 }[event.key];
  if (way === undefined && ends === undefined) return;
  event.preventDefault();
  const here = VIEWS.indexOf(event.target.id.slice(4));
  const next = VIEWS[ends ?? (here + way + VIEWS.length) % VIEWS.length];
  open(next);
  element(`tab-${next}`).focus();
}

const THEMES = ['auto', 'light', 'dark'];
const prefersDark = matchMedia('(prefers-color-scheme: dark)');

function kept() {
  try {
    return localStorage.getItem('im-bench-theme');
  } catch {
    return null;
  }
}

function keep(theme) {
  try {
    localStorage.setItem('im-bench-theme', theme);
  } catch {
    // Where nothing can be kept, the choice holds until the page is closed.
  }
}

let theme = THEMES.includes(kept()) ? kept() : 'auto';

function paint() {
  document.documentElement.dataset.theme = theme === 'auto' ? (prefersDark.matches ? 'dark' : 'light') : theme;
  element('theme').textContent = `Theme: ${theme}`;
}

function startTheme() {
  paint();
  prefersDark.addEventListener('change', paint);
  element('theme').addEventListener('click', () => {
    theme = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
    keep(theme);
    paint();
  });
}

function summarise() {
  const { cells, benchmarks, scores } = page;
  const models = [...new Set(cells.map((cell) => cell.model))];
  const counts = [[cells.length, 'cell'], [benchmarks.length, 'benchmark'], [scores, 'score']];
  const said = counts.map(([count, what]) => `${number(count)} ${what}${count === 1 ? '' : 's'}`);
  const model = models.length > 1 ? `${models.length} models` : `model ${models[0]}`;
  const baseline = cells.some((cell) => cell.loss === page.baseline) ? [`baseline ${page.baseline}`] : [];
  element('summary').textContent = [...said, model, ...baseline].join(' \u00b7 ');
}

startTheme();
summarise();
startOverview();
startCells();
startItems();
for (const view of VIEWS) {
  element(`tab-${view}`).addEventListener('click', () => open(view));
  element(`tab-${view}`).addEventListener('keydown', turnTab);
}
document.querySelectorAll('form').forEach((form) => form.addEventListener('submit', (event) => event.preventDefault()));
document.querySelector('.skip').addEventListener('click', (event) => {
  event.preventDefault(); // the address belongs to the view
  element('main').focus();
});
addEventListener('hashchange', showAddress);
showAddress();
