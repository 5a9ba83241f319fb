import { expect, test } from 'vitest';
import { email, fieldsOf, localPath, password, quantity, text } from './input.ts';

test('only objects have fields', () => {
  for (const body of [null, undefined, 'a', 1, [1]]) expect(fieldsOf(body)).toEqual({});
  expect(fieldsOf({ a: 1 })).toEqual({ a: 1 });
  // A form without prototype, as parsers make it, and names that every object has.
  expect(text(fieldsOf({}), 'constructor', 10)).toBeNull();
});

test('text is trimmed, bounded, and without the one character that PostgreSQL refuses', () => {
  expect(text({ a: '  b ' }, 'a', 10)).toBe('b');
  for (const a of ['', '  ', 'x'.repeat(11), 'a\0b', 5, ['b'], undefined]) expect(text({ a }, 'a', 10)).toBeNull();
});

test('quantities are whole numbers from 0 to 99', () => {
  expect([0, 7, 99, '0', ' 12 '].map(quantity)).toEqual([0, 7, 99, 0, 12]);
  for (const value of [-1, 100, 1.5, Number.NaN, '1e1', '0x10', '', '-0', '100', null, true, [5]]) {
    expect(quantity(value), String(value)).toBeNull();
  }
});

test('e-mail addresses are lower case', () => {
  expect(email({ email: ' Ada@Example.COM ' })).toBe('ada@example.com');
  for (const value of ['ada', 'ada@', '@b.c', 'a b@c.d', 'a@b', '<a@b.c>', `${'a'.repeat(250)}@b.cd`]) {
    expect(email({ email: value }), value).toBeNull();
  }
});

test('passwords are taken as they are', () => {
  expect(password({ password: ' a ' })).toBe(' a ');
  for (const value of ['', undefined, 12_345_678, 'x'.repeat(1025)]) expect(password({ password: value })).toBeNull();
});

test('the next page is one of ours', () => {
  for (const path of ['/', '/orders', '/orders/ny_ord_1?placed=1', '/products?category=flowers&q=a%20b']) {
    expect(localPath(path)).toBe(path);
  }
  for (const path of ['//evil', '/\\evil', 'https://evil', 'orders', '', undefined, ['/'], '/a\nb', '/"onload']) {
    expect(localPath(path), String(path)).toBe('/');
  }
});
