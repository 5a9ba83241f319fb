import { expect, test } from 'vitest';
import { Cookies } from './cookies.ts';

test('the cookies of the browser, as they are after every answer', () => {
  const cookies = new Cookies('a=1; b=x=y;c');
  expect(cookies.header).toBe('a=1; b=x=y');
  cookies.keep(['session=s1; Path=/; Max-Age=60; HttpOnly', 'a=2']);
  expect(cookies.header).toBe('a=2; b=x=y; session=s1');
  cookies.keep(['session=s2; Path=/; Max-Age=60; HttpOnly', 'b=; Max-Age=0']);
  expect(cookies.header).toBe('a=2; session=s2');
  expect(cookies.set).toEqual(['a=2', 'session=s2; Path=/; Max-Age=60; HttpOnly', 'b=; Max-Age=0']);
});

test('a cookie of another domain or path is another one to the browser', () => {
  const cookies = new Cookies(undefined);
  expect(cookies.header).toBeUndefined();
  const texts = ['s=1; Domain=shop.example; Path=/', 's=; Path=/; Max-Age=0', 's=; Path=/; Max-Age=0'];
  cookies.keep(texts);
  expect(cookies.set).toEqual(texts.slice(0, 2));
});
