// The figures, which are laid out when somebody looks at them.

views.figures = {
  show() {
    const drawn = element('drawn');
    if (!drawn.childElementCount) drawn.append(element('given-figures').content.cloneNode(true));
    if (!drawn.childElementCount) drawn.append(make('p', {}, 'This sweep has no figures.'));
    remember('figures', []);
  },
};
