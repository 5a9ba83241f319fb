import { type Html, html } from '../web/html.ts';
import type { Problem } from '../web/problems.ts';
import { placeOf } from '../web/visit.ts';
import { layout, type View } from './layout.ts';

/** What went wrong, in words, with what helps first and the facts for the telephone below. */
export function problemPage(view: View, problem: Problem, { repeatable }: { readonly repeatable: boolean }): Html {
  const { visit, assets } = view;
  const { retryAfterMs, home, next, requestId } = problem;
  const again = retryAfterMs !== null && repeatable;
  return layout(view, {
    title: problem.title,
    ...(again ? { reloadMs: Math.max(1000, retryAfterMs) } : {}),
    main: html`<section class="narrow problem" role="alert">
<img src="${assets.path('mended.svg')}" alt="" width="320" height="320">
<h1>${problem.title}</h1>
<p>${problem.message}</p>
${
  again
    ? html`<p><a class="button" href="${visit.path}">Try again</a></p><p class="small">This page tries again by itself.</p>`
    : next !== undefined
      ? html`<p><a class="button" href="${next.href}">${next.label}</a></p>`
      : html`<p><button class="button" type="button" data-back hidden>Go back and try again</button> <a href="/">To the shop</a></p>`
}
<dl class="facts small">
<div><dt>Code</dt><dd><code>${problem.code}</code></dd></div>
<div><dt>Answered by</dt><dd>${placeOf(visit, visit.here)}</dd></div>
${home === null ? null : html`<div><dt>Account kept in</dt><dd>${placeOf(visit, home)}</dd></div>`}
${retryAfterMs === null ? null : html`<div><dt>Try again in</dt><dd>${Math.max(1, Math.ceil(retryAfterMs / 1000))} s</dd></div>`}
${requestId === null ? null : html`<div><dt>Request</dt><dd><code>${requestId}</code></dd></div>`}
</dl>
</section>`,
  });
}
