/** What became of the money, in words. Nothing is called paid that the payment service has not said is. */
import type { Order } from '../orders/orders.ts';
import type { SetAside } from '../payment/outbox.ts';
import type { Payment } from '../payment/payment.ts';
import { type Html, html, money } from '../web/html.ts';
import { moment, shortOrder } from './parts.ts';

const words: Readonly<Record<Payment['state'], string>> = {
  none: 'nothing to charge',
  pending: 'payment pending',
  paid: 'paid',
  returned: 'money returned',
  declined: 'payment declined',
  stuck: 'payment stuck',
};

export function paymentWord({ state }: Payment): string {
  return words[state];
}

/** Beside an order in a list: only what is unusual. */
export function paymentMark(payment: Payment): Html | null {
  if (payment.state === 'none' || payment.state === 'paid') return null;
  return html` <em data-payment="${payment.state}">${paymentWord(payment)}</em>`;
}

/** On the customer's page of an order. */
export function paymentLine(payment: Payment): Html | null {
  if (payment.state === 'none') return null;
  return html`<p class="payment" role="status" data-payment="${payment.state}"><b>${titles[payment.state]}</b> ${sentence(payment)}</p>`;
}

const titles: Readonly<Record<Payment['state'], string>> = {
  none: '',
  pending: 'Payment pending.',
  paid: 'Paid.',
  returned: 'Money returned.',
  declined: 'Payment declined.',
  stuck: 'Payment pending.',
};

function sentence(payment: Payment): Html {
  const { state, charged, outstanding, asked, problem, receipt, settledAt } = payment;
  switch (state) {
    case 'paid':
      return html`${money(charged)}, charged once${settledAt === null ? null : html`, ${moment(settledAt)}`}. Receipt <code>${receipt}</code>.`;
    case 'returned':
      return html`Everything that was charged has been given back${settledAt === null ? null : html`, ${moment(settledAt)}`}.`;
    case 'declined':
      return html`Our payment house did not take ${money(Math.abs(outstanding))}, and has moved nothing. The order stands while we find out why; we will write to you.`;
    case 'stuck':
      return html`Something about it needs one of us to look, and somebody will. Please do not order again: you are never charged twice for this.`;
    case 'pending':
      return outstanding < 0
        ? html`${money(-outstanding)} is on its way back to you.`
        : asked && problem !== null
          ? html`Our payment house does not answer at the moment. Your order stands, there is nothing for you to do, and ${money(outstanding)} is charged once, when it does.`
          : html`Your order stands. ${money(outstanding)} is charged once, within moments if all is well.`;
    case 'none':
      return html``;
  }
}

/** On the desk's page of an order, with the facts. */
export function deskPayment({ id, payment }: Order): Html {
  const { state, charged, outstanding, asked, problem, receipt } = payment;
  return html`<dl class="facts" data-payment="${state}"><div><dt>Payment</dt><dd>${paymentWord(payment)}</dd></div>
<div><dt>Charged</dt><dd>${money(charged)}${receipt === null ? null : html`, receipt <code>${receipt}</code>`}</dd></div>
${outstanding === 0 ? null : html`<div><dt>${outstanding > 0 ? 'To be charged' : 'To be given back'}</dt><dd>${money(Math.abs(outstanding))}${asked ? ', asked for, no answer yet' : ''}</dd></div>`}
${problem === null ? null : html`<div><dt>Last heard</dt><dd>${problem}</dd></div>`}</dl>
${state !== 'stuck' && state !== 'declined' ? null : html`<form method="post" action="/desk/orders/${id}/payment" data-once><button class="button quiet" type="submit">Try the payment again</button></form>`}`;
}

/** On the desk's first page. */
export function setAsideList(payments: readonly SetAside[]): Html | null {
  if (payments.length === 0) return null;
  return html`<h2>Payments that wait for you</h2>
<div class="scroll"><table><thead><tr><th scope="col">Order</th><th scope="col">Amount</th><th scope="col">State</th><th scope="col">Tried</th><th scope="col">Last heard</th></tr></thead><tbody>${payments.map(
    (one) =>
      html`<tr data-set-aside="${one.id}"><th scope="row"><a href="/desk/orders/${one.order}">${shortOrder(one.order)}</a></th><td>${one.amount < 0 ? 'back ' : ''}${money(Math.abs(one.amount))}</td><td>${one.state}</td><td>${one.attempts}</td><td>${one.problem}</td></tr>`,
  )}</tbody></table></div>`;
}
