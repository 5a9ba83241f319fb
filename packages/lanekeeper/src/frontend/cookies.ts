/** The cookies of one customer while his request is served: as his browser would have them after every answer so far. */
export class Cookies {
  readonly #pairs: (readonly [name: string, value: string])[];
  readonly #set: string[] = [];

  constructor(header: string | undefined) {
    this.#pairs = (header ?? '').split(';').flatMap((pair) => {
      const equals = pair.indexOf('=');
      return equals < 0 ? [] : [[pair.slice(0, equals).trim(), pair.slice(equals + 1).trim()] as const];
    });
  }

  /** Undefined: there are none. */
  get header(): string | undefined {
    return this.#pairs.length === 0 ? undefined : this.#pairs.map((pair) => pair.join('=')).join('; ');
  }

  /** Set-Cookie values for the customer, in the order in which they came; of two for the same cookie the later one. */
  get set(): readonly string[] {
    return this.#set;
  }

  keep(setCookies: readonly string[]): void {
    for (const text of setCookies) {
      const [pair = '', ...attributes] = text.split(';');
      const equals = pair.indexOf('=');
      if (equals < 0) continue;
      const name = pair.slice(0, equals).trim();
      const value = pair.slice(equals + 1).trim();
      const key = keyOf(name, attributes);
      const again = this.#set.findIndex((other) => {
        const [otherPair = '', ...rest] = other.split(';');
        return keyOf(otherPair.slice(0, otherPair.indexOf('=')).trim(), rest) === key;
      });
      if (again >= 0) this.#set.splice(again, 1);
      this.#set.push(text);
      const at = this.#pairs.findIndex(([known]) => known === name);
      const ended = value === '' || attributes.some((one) => /^\s*max-age=(0|-\d+)\s*$/i.test(one));
      if (ended && at >= 0) this.#pairs.splice(at, 1);
      else if (!ended && at >= 0) this.#pairs[at] = [name, value];
      else if (!ended) this.#pairs.push([name, value]);
    }
  }
}

/** Browsers tell cookies apart by name, domain and path. */
function keyOf(name: string, attributes: readonly string[]): string {
  const of = (wanted: string): string =>
    attributes.map((one) => one.trim().toLowerCase()).find((one) => one.startsWith(`${wanted}=`)) ?? '';
  return `${name} ${of('domain')} ${of('path')}`;
}
