import { type Html, html } from '../web/html.ts';
import type { Problem } from '../web/problems.ts';
import { layout, type View } from './layout.ts';
import { formProblem } from './parts.ts';

export type AccountFormOptions = {
  /** Where to go afterwards. */
  readonly next: string;
  readonly email?: string;
  readonly name?: string;
  readonly problem?: Problem;
};

export function signInPage(view: View, { next, email = '', problem }: AccountFormOptions): Html {
  return layout(view, {
    title: 'Sign in',
    main: html`<section class="narrow">
<h1>Sign in</h1>
${formProblem(problem)}
<form class="form" method="post" action="/sign-in" data-once>
<input type="hidden" name="next" value="${next}">
<p class="field"><label for="email">E-mail</label><input id="email" name="email" type="email" autocomplete="email" maxlength="254" value="${email}" required></p>
<p class="field"><label for="password">Password</label><input id="password" name="password" type="password" autocomplete="current-password" maxlength="1024" required></p>
<button class="button wide" type="submit">Sign in</button>
</form>
<p>New here? <a href="/register?next=${encodeURIComponent(next)}">Open an account</a>. It takes an e-mail address and a password.</p>
</section>`,
  });
}

export function registerPage(view: View, { next, email = '', name = '', problem }: AccountFormOptions): Html {
  const wrong = problem?.fields ?? {};
  const hint = (field: string) =>
    wrong[field] === undefined ? null : html`<span class="wrong" id="${field}-wrong">${wrong[field]}</span>`;
  const described = (field: string) =>
    wrong[field] === undefined ? null : html` aria-invalid="true" aria-describedby="${field}-wrong"`;
  return layout(view, {
    title: 'Open an account',
    main: html`<section class="narrow">
<h1>Open an account</h1>
${formProblem(problem)}
<form class="form" method="post" action="/register" data-once>
<input type="hidden" name="next" value="${next}">
<p class="field"><label for="name">What should we call you <span class="optional">(optional)</span></label><input id="name" name="name" autocomplete="name" maxlength="80" value="${name}"></p>
<p class="field"><label for="email">E-mail</label><input id="email" name="email" type="email" autocomplete="email" maxlength="254" value="${email}" required${described('email')}>${hint('email')}</p>
<p class="field"><label for="password">Password <span class="optional">at least eight characters</span></label><input id="password" name="password" type="password" autocomplete="new-password" minlength="8" maxlength="1024" required${described('password')}>${hint('password')}</p>
<button class="button wide" type="submit">Open the account</button>
</form>
<p>Been here before? <a href="/sign-in?next=${encodeURIComponent(next)}">Sign in</a>.</p>
</section>`,
  });
}
