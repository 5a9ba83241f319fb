import type { Cart } from '../cart/lines.ts';
import { type Html, html, money } from '../web/html.ts';
import type { Problem } from '../web/problems.ts';
import { layout, type View } from './layout.ts';
import { formProblem, picture, quantityField, things } from './parts.ts';

export type CartPageOptions = {
  /** The sku that was just put in. */
  readonly added?: string;
  /** The cart of the time before sign-in cannot be reached yet. */
  readonly guestCartLate?: boolean;
};

export function cartPage(view: View, cart: Cart, { added, guestCartLate = false }: CartPageOptions = {}): Html {
  const { assets, visit } = view;
  const put = cart.lines.find((line) => line.sku === added);
  return layout(view, {
    title: 'Cart',
    main: html`<section class="cart-page">
<h1>Your cart</h1>
${put === undefined ? null : html`<p class="note" role="status">${put.name}: in the cart, ${put.quantity === 1 ? 'one of it' : `${put.quantity} of them`}.</p>`}
${guestCartLate ? html`<p class="note" role="status">What you chose before signing in is still on its way here. It will be added the next time you look.</p>` : null}
${
  cart.lines.length === 0
    ? html`<div class="nothing"><p>Empty, like a kiln on a Monday.</p><p><a class="button" href="/">Look around</a></p></div>`
    : html`<div class="two">
<ul class="lines">${cart.lines.map(
        (line) => html`<li>
<a href="/products/${line.sku}" tabindex="-1" aria-hidden="true">${picture(assets, line.sku, { size: 112 })}</a>
<div><a class="name" href="/products/${line.sku}">${line.name}</a><p class="each">${money(line.price)} each</p>
<div class="controls"><form method="post" action="/cart/${line.sku}" data-submit-on-change>
${quantityField(`quantity-${line.sku}`, 'quantity', line.quantity, `How many of ${line.name}`)}
<button type="submit" class="link">Update</button>
</form>
<form method="post" action="/cart/${line.sku}"><input type="hidden" name="quantity" value="0"><button type="submit" class="link" aria-label="Remove ${line.name}">Remove</button></form></div></div>
<p class="price">${money(line.total)}</p>
</li>`,
      )}</ul>
<div class="sum">
<dl><div><dt>${things(cart.count)}</dt><dd>${money(cart.total)}</dd></div><div><dt>Sending</dt><dd>Included</dd></div><div class="total"><dt>Together</dt><dd>${money(cart.total)}</dd></div></dl>
<a class="button wide" href="/checkout">${visit.customer === null ? 'Sign in and check out' : 'Check out'}</a>
<p class="small">${visit.customer === null ? 'Your cart comes with you when you sign in.' : 'You see everything once more before it is ordered.'}</p>
</div>
</div>`
}
</section>`,
  });
}

export type CheckoutPageOptions = {
  readonly cart: Cart;
  readonly email: string;
  /** Drawn once for this form, so that sending it twice orders once. */
  readonly requestId: string;
  readonly note?: string;
  readonly problem?: Problem;
};

export function checkoutPage(view: View, { cart, email, requestId, note = '', problem }: CheckoutPageOptions): Html {
  const { assets } = view;
  return layout(view, {
    title: 'Check out',
    main: html`<section class="cart-page">
<h1>Check out</h1>
${formProblem(problem)}
<div class="two">
<form id="checkout" class="form" method="post" action="/checkout" data-once data-order-form>
<input type="hidden" name="requestId" value="${requestId}">
<p>We confirm to <b>${email}</b> and write again when the box leaves. You are charged once, by our payment house; if it is closed at the moment we take the order all the same, and charge it later.</p>
<p class="field"><label for="note">Anything we should know <span class="optional">(optional)</span></label>
<textarea id="note" name="note" rows="3" maxlength="500" placeholder="A birthday, a steep staircase, a dog">${note}</textarea></p>
<button class="button wide" type="submit">Place the order, ${money(cart.total)}</button>
<p class="small">Pressing twice orders once: this form carries a number of its own.</p>
</form>
<div class="sum">
<ul class="mini">${cart.lines.map(
      (line) =>
        html`<li>${picture(assets, line.sku, { size: 56 })}<span>${line.quantity} × ${line.name}</span><b>${money(line.total)}</b></li>`,
    )}</ul>
<dl><div><dt>Sending</dt><dd>Included</dd></div><div class="total"><dt>Together</dt><dd>${money(cart.total)}</dd></div></dl>
<p class="small"><a href="/cart">Change the cart</a></p>
</div>
</div>
</section>`,
  });
}
