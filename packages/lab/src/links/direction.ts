/**
 * One direction between two sites, shared by every connection between them: how long bytes take, how many a second,
 * and whether they arrive at all.
 */
export type LinkMode =
  | 'open'
  /** Nothing arrives and nobody is told: what was sent waits, and arrives after healing. */
  | 'cut'
  /** Connections are reset at once, new ones too, as by a firewall that rejects. */
  | 'refuse';

export type DirectionSettings = {
  /** One way. */
  readonly delayMs: number;
  /** Up to this much more, evenly spread; order is kept. */
  readonly jitterMs: number;
  /** Null: no limit. */
  readonly bytesPerSecond: number | null;
  readonly mode: LinkMode;
};

export const defaultSettings: DirectionSettings = { delayMs: 30, jitterMs: 0, bytesPerSecond: null, mode: 'open' };

/** A connection may hold this much on its way: at 30 ms that is 130 MB a second. */
const lineBytesMax = 4 * 1024 * 1024;
/** All connections together; beyond it each is held to `lineBytesMin`, so that memory stays bounded. */
const totalBytesMax = 256 * 1024 * 1024;
const lineBytesMin = 64 * 1024;

/** What is under way on one connection, as its direction sees it. */
export type LineUnderWay = {
  readonly heldBytes: number;
  /** After healing: nothing that was held arrives before `atMs`. */
  restamp(atMs: number): void;
  /** Delivers what is due. */
  advance(): void;
};

/** Bytes on their way through this process. */
export type Held = { bytes: number };

export class Direction {
  readonly from: string;
  readonly to: string;
  readonly lines = new Set<LineUnderWay>();
  /** Delivered since the start. */
  bytes = 0;
  #settings: DirectionSettings;
  /** When the capped wire has sent everything given to it so far. */
  #freeAtMs = 0;
  readonly #held: Held;
  readonly #random: () => number;

  constructor(from: string, to: string, settings: DirectionSettings, held: Held, random: () => number) {
    this.from = from;
    this.to = to;
    this.#settings = settings;
    this.#held = held;
    this.#random = random;
  }

  get settings(): DirectionSettings {
    return this.#settings;
  }

  /** Takes new settings; after a cut, what was held arrives one delay after the healing. */
  change(changes: Partial<DirectionSettings>, nowMs: number): void {
    const before = this.#settings.mode;
    this.#settings = { ...this.#settings, ...changes };
    if (before !== 'open' && this.#settings.mode === 'open') {
      this.#freeAtMs = nowMs;
      for (const line of this.lines) line.restamp(nowMs + this.#settings.delayMs);
    }
  }

  /** When bytes sent now arrive. */
  arrivalMs(bytes: number, nowMs: number): number {
    const { delayMs, jitterMs, bytesPerSecond } = this.#settings;
    let departedMs = nowMs;
    if (bytesPerSecond !== null) {
      this.#freeAtMs = Math.max(this.#freeAtMs, nowMs) + (bytes * 1000) / bytesPerSecond;
      departedMs = this.#freeAtMs;
    }
    return departedMs + delayMs + (jitterMs > 0 ? this.#random() * jitterMs : 0);
  }

  /** How much one connection may have on its way before its sender has to wait. */
  lineLimitBytes(): number {
    if (this.#held.bytes > totalBytesMax) return lineBytesMin;
    const { delayMs, bytesPerSecond } = this.#settings;
    if (bytesPerSecond === null) return lineBytesMax;
    // A capped wire with a deep buffer would show seconds of delay that nobody asked for.
    return Math.min(lineBytesMax, Math.max(lineBytesMin, (bytesPerSecond * (delayMs + 250)) / 1000));
  }

  hold(bytes: number): void {
    this.#held.bytes += bytes;
  }

  release(bytes: number): void {
    this.#held.bytes -= bytes;
  }
}
