import { expect, test } from 'vitest';
import { html, money } from './html.ts';

test('what is put in is escaped, unless it is HTML', () => {
  const name = `<b a="1">'&`;
  expect(html`<i title="${name}">${name}</i>`.text).toBe(
    '<i title="&lt;b a=&quot;1&quot;&gt;&#39;&amp;">&lt;b a=&quot;1&quot;&gt;&#39;&amp;</i>',
  );
  expect(html`<ul>${['<', '>'].map((each) => html`<li>${each}</li>`)}</ul>`.text).toBe(
    '<ul><li>&lt;</li><li>&gt;</li></ul>',
  );
});

test('nothing is nothing, and zero is a number', () => {
  expect(html`${null}${undefined}${false}${0}${''}`.text).toBe('0');
});

test('money', () => {
  expect([0, 5, 3400, 3450, 123_456_700].map(money)).toEqual(['$0', '$0.05', '$34', '$34.50', '$1,234,567']);
});
