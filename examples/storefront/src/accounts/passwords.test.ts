import { expect, test } from 'vitest';
import { checkPassword, hashPassword } from './passwords.ts';

test('a hash says how it was made, and only the right password opens it', async () => {
  const hash = await hashPassword('correct horse', 4);
  expect(hash).toMatch(/^scrypt\$4\$8\$3\$[\w-]{22}\$[\w-]{43}$/);
  expect(await checkPassword('correct horse', hash)).toBe(true);
  expect(await checkPassword('correct horse ', hash)).toBe(false);
  expect(await hashPassword('correct horse', 4)).not.toBe(hash);
});

test('the same letters from another keyboard are the same password', async () => {
  const hash = await hashPassword('Pläte', 4);
  expect(await checkPassword('Pla\u0308te', hash)).toBe(true);
});

test('what is no hash opens for nobody, and costs nothing absurd', async () => {
  const good = await hashPassword('x', 4);
  const damaged = [
    '',
    'scrypt',
    good.slice(0, -1),
    good.replace('$4$', '$40$'),
    good.replace('$8$', '$0$'),
    `x${good}`,
  ];
  for (const hash of damaged) expect(await checkPassword('x', hash), hash).toBe(false);
});
