// The theme's style for arrowheads names ids that this mermaid prefixes: they would stay black.
const { initialize } = mermaid;
const style = '[id$="arrowhead"] path { fill: var(--md-mermaid-edge-color); stroke: none }';
mermaid.initialize = (options) =>
  initialize({ ...options, themeCSS: `${options.themeCSS} ${style}` });
