/** Reports of drills. `result.ts` what is reported · `figures.ts` numbers · `chart.ts`, `text.ts`, `markdown.ts` for people. */
export { renderSvg } from './chart.ts';
export { answersOf, bucketsOf, lateness, recoveryOf } from './figures.ts';
export { pageName, renderIndex, renderMarkdown } from './markdown.ts';
export type { BrokenDrill, DrillReport, Environment, Moments, Round, SkippedDrill, TimelineEntry } from './result.ts';
export { renderLine, renderReport } from './text.ts';
