/**
 * A real browser in front of the lab: shop in ny, sign in with the same account in la, be moved, find the cart, check out
 * once. Needs Debian's chromium; elsewhere it is reported as skipped, by name.
 */
import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { type Browser, type BrowserContext, chromium, devices, type Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { approachToTest, homeOf, oneHome, servedBy, split } from '../support/approach.ts';
import { runSql } from '../support/clusters.ts';
import { dataCenterOf, type TestLab } from '../support/lab.ts';
import { storefrontLab } from '../support/storefront-lab.ts';

const executablePath = process.env.CHROMIUM ?? '/usr/bin/chromium';
/** Where pictures are kept for people to look at; nothing is compared. */
const pictures = process.env.LANEKEEPER_SCREENSHOTS;

describe.skipIf(!existsSync(executablePath))('a browser (needs chromium)', () => {
  let lab: TestLab;
  let browser: Browser;
  beforeAll(async () => {
    if (pictures) mkdirSync(pictures, { recursive: true });
    lab = await storefrontLab();
    browser = await chromium.launch({
      executablePath,
      args: [
        '--no-sandbox',
        '--disable-gpu',
        '--disable-quic',
        '--no-first-run',
        '--disable-background-networking',
        '--disable-component-update',
        '--disable-sync',
      ],
    });
  }, 120_000);
  afterAll(async () => {
    await browser?.close();
    await lab?.stop();
  }, 60_000);

  async function look(page: Page, name: string): Promise<void> {
    if (pictures) await page.screenshot({ path: join(pictures, `${approachToTest}-${name}.png`), fullPage: true });
  }

  /** Without a common domain where the session can be handed over. */
  function address(name: 'ny' | 'la'): string {
    const { edge, url } = dataCenterOf(lab, name);
    return split ? url : edge;
  }

  async function desk(): Promise<BrowserContext> {
    return await browser.newContext({ viewport: { width: 1280, height: 800 } });
  }

  async function phone(): Promise<BrowserContext> {
    return await browser.newContext({ ...devices['Pixel 5'], viewport: { width: 390, height: 844 } });
  }

  const served = (page: Page) => page.locator('[data-here]').getAttribute('data-here');
  const home = (page: Page) => page.locator('[data-home]').getAttribute('data-home');
  const things = async (page: Page) => Number(await page.locator('[data-cart-count]').textContent());

  async function buy(page: Page, edge: string, sku: string, quantity: number): Promise<void> {
    await page.goto(`${edge}/products/${sku}`);
    await page.locator('form.buy input[name=quantity], form.buy select[name=quantity]').first().fill(String(quantity));
    await page.getByRole('button', { name: 'Add to cart' }).click();
    await page.waitForLoadState();
  }

  test('shop in ny, go on in la, check out once', { timeout: 120_000 }, async () => {
    const [ny, la] = [address('ny'), address('la')];
    const products = (await (
      await fetch(`${dataCenterOf(lab, 'ny').edge}/products`, { headers: { accept: 'application/json' } })
    ).json()) as {
      sku: string;
    }[];
    const [cup, pot] = products.map((product) => product.sku);
    const email = `browser-${Date.now()}@example.org`;
    const password = 'correct horse battery';

    const first = await desk();
    const page = await first.newPage();
    await page.goto(ny);
    await look(page, 'desk-1-home');
    expect(await served(page)).toBe('ny');
    await buy(page, ny, cup ?? '', 2);
    expect(await things(page)).toBe(2);
    expect(await home(page)).toBe('ny');
    await look(page, 'desk-2-guest-cart');
    await page.goto(`${ny}/register`);
    await page.getByLabel('E-mail').fill(email);
    await page.getByLabel('Password').fill(password);
    await page.getByRole('button', { name: 'Open the account' }).click();
    await page.waitForURL((url) => url.pathname !== '/register');
    expect(await things(page)).toBe(2);

    // Where the other coast's host shares no domain with this one, the session goes along by a handoff.
    await page.getByRole('link', { name: 'Los Angeles' }).click();
    await page.waitForURL((url) => url.host === new URL(la).host && !url.search.includes('handoff'));
    expect(await things(page)).toBe(2);
    expect(await page.getByRole('link', { name: 'Your orders' }).first().isVisible()).toBe(true);
    await page.goto(`${la}/cart`);
    expect(await things(page)).toBe(2);

    const second = await phone();
    const mobile = await second.newPage();
    await mobile.goto(la);
    await look(mobile, 'phone-1-home');
    expect(await served(mobile)).toBe('la');
    await buy(mobile, la, pot ?? '', 1);
    expect(await home(mobile)).toBe(homeOf('la'));
    await mobile.goto(`${la}/sign-in`);
    await mobile.getByLabel('E-mail').fill(email);
    await mobile.getByLabel('Password').fill(password);
    await mobile.getByRole('button', { name: 'Sign in', exact: true }).click();
    await mobile.waitForURL((url) => url.pathname !== '/sign-in');
    await mobile.goto(`${la}/cart`);
    // The account is in use in ny, so this customer is written there, and the guest's cart came along.
    expect(await served(mobile)).toBe(servedBy('la', 'ny'));
    expect(await home(mobile)).toBe('ny');
    await expect
      .poll(
        async () => {
          await mobile.reload();
          return await things(mobile);
        },
        { timeout: 10_000 },
      )
      .toBe(3);
    await look(mobile, 'phone-2-cart');
    await mobile.goto(`${la}/checkout`);
    await look(mobile, 'phone-3-checkout');
    // Twice, as impatient people do.
    await mobile.getByRole('button', { name: /Place the order/ }).dblclick();
    await mobile.waitForURL((url) => url.pathname.startsWith('/orders/'));
    await look(mobile, 'phone-4-ordered');

    await page.goto(`${ny}/orders`);
    await look(page, 'desk-3-orders');
    const rows = await runSql<{ orders: number; things: number }>(
      dataCenterOf(lab, 'la').databases.owner,
      `SELECT count(DISTINCT o.id)::int AS orders, coalesce(sum(l.quantity), 0)::int AS things
         FROM accounts a JOIN orders o ON o.account_id = a.id JOIN order_lines l ON l.order_id = o.id WHERE a.email = $1`,
      [email],
    );
    expect(rows).toEqual([{ orders: 1, things: 3 }]);
    await Promise.all([first.close(), second.close()]);
  });

  test('the answer to an order is lost: whoever comes back to the shop can ask, and is told', {
    timeout: 60_000,
  }, async () => {
    // An address: `route.fetch` below asks from this process, which may know of no names below localhost.
    const ny = dataCenterOf(lab, 'ny').edge;
    const context = await desk();
    const page = await context.newPage();
    await page.goto(`${ny}/register`);
    await page.getByLabel('E-mail').fill('unheard@example.com');
    await page.getByLabel('Password').fill('correct horse battery');
    await page.getByRole('button', { name: /Create|Register|account/ }).click();
    await page.waitForURL((url) => url.pathname !== '/register');
    await buy(page, ny, 'bud-vase', 1);
    await page.goto(`${ny}/checkout`);
    await page.route('**/checkout', async (route) => {
      if (route.request().method() === 'POST') await route.fetch({ maxRedirects: 0 });
      await route.abort('connectionreset');
    });
    await page.getByRole('button', { name: /Place the order/ }).click();
    await page.waitForURL(/chrome-error|checkout/);
    await page.unroute('**/checkout');
    await page.goto(`${ny}/`);
    const note = page.locator('[data-unheard]');
    expect(await note.isVisible()).toBe(true);
    await look(page, 'desk-5-unheard');
    await note.getByRole('link').click();
    await page.waitForURL((url) => url.pathname.startsWith('/orders/'));
    await expect.poll(() => page.locator('.payment').textContent(), { timeout: 20_000 }).toMatch(/^Paid\./);
    await look(page, 'desk-6-paid');
    await page.goto(`${ny}/`);
    expect(await note.isVisible()).toBe(false);
    await context.close();
  });

  const rested = oneHome ? 'stays in the one home of all' : 'is moved to where its customer signs in';
  test(`an account at rest ${rested}, and his session counts in both`, {
    timeout: 60_000,
  }, async () => {
    const email = `rested-${Date.now()}@example.org`;
    const password = 'correct horse battery';
    const response = await fetch(`${dataCenterOf(lab, 'ny').edge}/register`, {
      method: 'POST',
      headers: { accept: 'application/json', 'content-type': 'application/json' },
      body: JSON.stringify({ email, password, name: 'R' }),
    });
    expect(response.status).toBe(201);
    // Half an hour passes.
    await runSql(
      dataCenterOf(lab, 'ny').databases.superuser,
      "UPDATE lanekeeper.activity SET at = at - interval '1 hour'",
    );
    const context = await phone();
    const page = await context.newPage();
    await page.goto(`${address('la')}/sign-in`);
    await page.getByLabel('E-mail').fill(email);
    await page.getByLabel('Password').fill(password);
    await page.getByRole('button', { name: 'Sign in', exact: true }).click();
    await page.waitForURL((url) => url.pathname !== '/sign-in');
    expect(await served(page)).toBe(servedBy('la', homeOf('la')));
    expect(await home(page)).toBe(homeOf('la'));
    await look(page, 'phone-5-moved');
    await context.close();
  });
});
