/** The call center: find a customer, change an order. Plain on purpose: people work here all day. */
import type { Order } from '../orders/orders.ts';
import type { SetAside } from '../payment/outbox.ts';
import type { DeskCustomer } from '../shop/shop.ts';
import { type Html, html, money } from '../web/html.ts';
import type { Problem } from '../web/problems.ts';
import { placeOf } from '../web/visit.ts';
import { layout, type View } from './layout.ts';
import { formProblem, moment, picture, quantityField, shortOrder } from './parts.ts';
import { deskPayment, paymentWord, setAsideList } from './payment.ts';

export function deskSignInPage(
  view: View,
  { closed, problem }: { readonly closed: boolean; readonly problem?: Problem },
): Html {
  return layout(view, {
    title: 'Desk',
    main: html`<section class="narrow">
<h1>The desk</h1>
${formProblem(problem)}
${
  closed
    ? html`<p>The desk is closed: this shop was started without a passphrase for it. Set <code>STOREFRONT_DESK_PASSPHRASE</code> in every data center to open it.</p>`
    : html`<p>For those who answer the telephone. Customers find their orders <a href="/orders">here</a>.</p>
<form class="form" method="post" action="/desk/sign-in" data-once>
<p class="field"><label for="passphrase">Passphrase of the day</label><input id="passphrase" name="passphrase" type="password" autocomplete="current-password" maxlength="1024" required></p>
<button class="button wide" type="submit">Open the desk</button>
</form>`
}
</section>`,
  });
}

export function deskPage(
  view: View,
  {
    query = '',
    customer,
    orders = [],
    setAside = [],
    problem,
  }: {
    query?: string;
    customer?: DeskCustomer;
    orders?: readonly Order[];
    setAside?: readonly SetAside[];
    problem?: Problem;
  },
): Html {
  return layout(view, {
    title: 'Desk',
    desk: true,
    main: html`<section class="desk-page">
<h1>Who is calling?</h1>
<form class="lookup" method="get" action="/desk" role="search">
<label for="find">E-mail, order number or id, account id</label>
<input id="find" name="find" value="${query}" autocomplete="off" spellcheck="false" maxlength="254" required>
<button class="button" type="submit">Find</button>
</form>
${formProblem(problem)}
${customer === undefined ? null : found(view, customer, orders)}
${setAsideList(setAside)}
</section>`,
  });
}

function found(view: View, customer: DeskCustomer, orders: readonly Order[]): Html {
  return html`${card(view, customer)}
<h2>Orders</h2>
${
  orders.length === 0
    ? html`<p>None that is known here.</p>`
    : html`<div class="scroll"><table><thead><tr><th scope="col">Order</th><th scope="col">Placed</th><th scope="col">Things</th><th scope="col">Total</th><th scope="col">Status</th></tr></thead><tbody>${orders.map(
        (order) =>
          html`<tr class="${order.status}"><th scope="row"><a href="/desk/orders/${order.id}">${shortOrder(order.id)}</a></th><td>${moment(order.placedAt)}</td><td>${order.lines.reduce((sum, line) => sum + line.quantity, 0)}</td><td>${money(order.total)}</td><td>${order.status}, ${paymentWord(order.payment)}</td></tr>`,
      )}</tbody></table></div>`
}`;
}

function card({ visit }: View, { account, name, email, since, home }: DeskCustomer): Html {
  return html`<div class="card"><p class="who"><b>${name === '' ? (email ?? 'A guest') : name}</b>${name === '' ? null : html`<br>${email ?? 'guest'}`}</p>
<dl class="facts"><div><dt>Kept in</dt><dd data-customer-home="${home ?? ''}">${home === null ? 'not known here yet' : placeOf(visit, home)}</dd></div><div><dt>Customer since</dt><dd>${moment(since)}</dd></div><div><dt>Account</dt><dd><code>${account}</code></dd></div></dl></div>`;
}

export function deskOrderPage(
  view: View,
  {
    customer,
    order,
    problem,
    saved = false,
  }: { customer: DeskCustomer; order: Order; problem?: Problem; saved?: boolean },
): Html {
  const open = order.status === 'placed';
  return layout(view, {
    title: `Desk, order ${shortOrder(order.id)}`,
    desk: true,
    main: html`<section class="desk-page">
<nav aria-label="Where you are"><a href="/desk?find=${encodeURIComponent(customer.email ?? customer.account)}">Back to the customer</a></nav>
<h1>Order ${shortOrder(order.id)}</h1>
${saved ? html`<p class="note" role="status">Saved${customer.home === null ? '' : ` in ${placeOf(view.visit, customer.home)}`}. This is revision ${order.revision}.</p>` : null}
${formProblem(problem)}
${card(view, customer)}
${
  open
    ? html`<form class="form" method="post" action="/desk/orders/${order.id}" data-once>
<input type="hidden" name="revision" value="${order.revision}">
<ul class="lines">${order.lines.map(
        (
          line,
        ) => html`<li>${picture(view.assets, line.sku, { size: 72 })}<div><b class="name">${line.name}</b><p class="each">${money(line.price)} each, 0 takes it off</p></div>
${quantityField(`quantity-${line.sku}`, `quantity.${line.sku}`, line.quantity, `How many of ${line.name}`)}</li>`,
      )}</ul>
<p class="field"><label for="note">Note</label><textarea id="note" name="note" rows="3" maxlength="500">${order.note}</textarea></p>
<p class="buttons"><button class="button" type="submit" name="action" value="edit">Save the changes</button>
<button class="button quiet" type="submit" name="action" value="cancel" formnovalidate>Cancel the order</button></p>
</form>`
    : html`<p class="note">This order was cancelled. It can only be looked at.</p><ul class="lines struck">${order.lines.map(
        (line) =>
          html`<li>${picture(view.assets, line.sku, { size: 72 })}<div><b class="name">${line.name}</b><p class="each">${line.quantity} × ${money(line.price)}</p></div><p class="price">${money(line.total)}</p></li>`,
      )}</ul>`
}
${deskPayment(order)}
<p class="small">Together ${money(order.total)}, placed ${moment(order.placedAt)} in ${placeOf(view.visit, order.placedIn)}, <code>${order.id}</code>.</p>
</section>`,
  });
}
