import type { OrderHistory } from '../orders/history.ts';
import type { Order } from '../orders/orders.ts';
import { type Html, html, money } from '../web/html.ts';
import { placeOf } from '../web/visit.ts';
import { layout, type View } from './layout.ts';
import { moment, picture, shortOrder, things } from './parts.ts';
import { paymentLine, paymentMark } from './payment.ts';

export function orderListPage(view: View, orders: readonly Order[], history: OrderHistory | null): Html {
  const email = view.visit.customer?.email ?? '';
  return layout(view, {
    title: 'Your orders',
    main: html`<section class="orders">
<header><h1>Your orders</h1>
<p>Signed in as ${email === '' ? 'a customer whose details are still on their way here' : email}.</p>
<form method="post" action="/sign-out"><button type="submit" class="link">Sign out</button></form></header>
${
  orders.length === 0
    ? html`<div class="nothing"><p>Nothing yet. If you ordered a moment ago and do not see it, it is on its way here: look again shortly.</p><p><a class="button" href="/">Look around</a></p></div>`
    : html`<ol class="order-list">${orders.map(
        (order) => html`<li class="${order.status}"><a href="/orders/${order.id}">
<span class="faces">${order.lines.slice(0, 4).map((line) => picture(view.assets, line.sku, { size: 72 }))}${order.lines.length > 4 ? html`<i>+${order.lines.length - 4}</i>` : null}</span>
<span class="what"><b>No. ${shortOrder(order.id)}</b>${order.status === 'cancelled' ? html` <em>cancelled</em>` : null}${paymentMark(order.payment)}<br>${moment(order.placedAt)}<br>${things(order.lines.reduce((sum, line) => sum + line.quantity, 0))}</span>
<span class="price">${money(order.total)}</span></a></li>`,
      )}</ol>`
}
${historyLine(history)}
</section>`,
  });
}

/** It comes from a copy, so it says of when it is. */
function historyLine(history: OrderHistory | null): Html | null {
  if (history === null || history.orders === 0) return null;
  const { asOf, complete, orders, total } = history;
  const sum = orders === 1 ? 'one order' : `${orders} orders`;
  return html`<p class="small" data-history="${orders}">With us so far: ${sum} for ${money(total)}, as of ${moment(asOf)}${complete ? '' : ', those of one coast perhaps missing'}.</p>`;
}

export type OrderPageOptions = {
  readonly placed?: boolean;
  /** It was taken while the other data center could not be reached: only one has it so far. */
  readonly keptHere?: boolean;
};

export function orderPage(view: View, order: Order, { placed = false, keptHere = false }: OrderPageOptions = {}): Html {
  const { visit } = view;
  const cancelled = order.status === 'cancelled';
  return layout(view, {
    title: placed ? 'Thank you' : `Order ${shortOrder(order.id)}`,
    ...(placed && order.payment.state === 'pending' ? { reloadMs: 1500 } : {}),
    main: html`<section class="order">
<header>${placed ? html`<p class="thanks">Thank you.</p><h1>Your order is in the book</h1>` : html`<h1>Order ${shortOrder(order.id)}</h1>`}
<p>${placed ? html`No. <b>${shortOrder(order.id)}</b>. We start wrapping in the morning and write when the box leaves.` : html`Placed ${moment(order.placedAt)}${cancelled ? html`, <b>cancelled</b>` : null}.`}</p></header>
${orderLines(view, order)}
${paymentLine(order.payment)}
${placed && keptHere ? html`<p class="note" role="status">So far only ${placeOf(visit, order.placedIn)} has it in its book: the other coast could not be reached when you ordered, and hears of it as soon as it can.</p>` : null}
${order.note === '' ? null : html`<p class="quoted">“${order.note}”</p>`}
<p class="small">Taken in ${placeOf(visit, order.placedIn)} as <code data-order="${order.id}">${order.id}</code>.</p>
<p><a href="/orders">All your orders</a> · <a href="/">Back to the shop</a></p>
</section>`,
  });
}

function orderLines({ assets }: View, { lines, total, status }: Order): Html {
  return html`<ul class="lines${status === 'cancelled' ? ' struck' : ''}">${lines.map(
    (line) => html`<li>${picture(assets, line.sku, { size: 88 })}
<div><a class="name" href="/products/${line.sku}">${line.name}</a><p class="each">${line.quantity} × ${money(line.price)}</p></div>
<p class="price">${money(line.total)}</p></li>`,
  )}<li class="total"><span></span><div>Together, sending included</div><p class="price">${money(total)}</p></li></ul>`;
}

/** Shown when nobody could say whether a checkout went through, and when the customer asks. */
export function outcomePage(
  view: View,
  { requestId, asked }: { readonly requestId: string; readonly asked: boolean },
): Html {
  const { visit } = view;
  const elsewhere = visit.home === visit.here ? null : visit.home;
  const path = `/checkout/outcome/${encodeURIComponent(requestId)}`;
  return layout(view, {
    title: 'Did it go through?',
    main: html`<section class="narrow problem" data-outcome="${requestId}">
<img src="${view.assets.path('mended.svg')}" alt="" width="320" height="320">
<h1>${asked ? 'Not recorded here, so far' : 'We do not know whether your order went through'}</h1>
<p>${
      asked
        ? `There is no order under this form’s number in ${placeOf(visit, visit.here)}. ${elsewhere === null ? 'If you sent it a moment ago it may still be under way, so ask again; or' : `Your account is written in ${placeOf(visit, elsewhere)}, and news from there may be late: ask there, or again here in a moment. You may also`} send the same form once more, which can never order twice.`
        : 'The connection broke at the very moment of saving. The order may be in the book, or not. Please do not start over: ask for the outcome.'
    }</p>
<p><a class="button" href="${path}">Ask for the outcome</a>${elsewhere === null ? null : html` <a href="/in/${elsewhere}?to=${encodeURIComponent(path)}" rel="nofollow">Ask in ${placeOf(visit, elsewhere)}</a>`}</p>
<form method="post" action="/checkout" data-once data-order-form><input type="hidden" name="requestId" value="${requestId}"><button class="link" type="submit">Send the same order once more</button></form>
<p class="small">This form’s number is <code>${requestId}</code>.</p>
</section>`,
  });
}
