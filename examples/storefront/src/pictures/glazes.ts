/** The colours of the two potteries. A glaze is named as the potters name it; hex values are ours. */
export type Glaze = {
  readonly body: string;
  /** Laid over the side away from the window. */
  readonly shade: string;
  /** The window itself, in the glaze. */
  readonly light: string;
  /** Where the glaze breaks over an edge. */
  readonly rim: string;
  /** The inside, in its own shadow. */
  readonly inside: string;
  /** Iron specks, or none. */
  readonly speck: string | null;
};

export const glazes = {
  oatmeal: { body: '#e9dfc9', shade: '#a98f6b', light: '#fffaf0', rim: '#c9a878', inside: '#bfae8e', speck: '#7a5a3a' },
  shino: { body: '#f3ece1', shade: '#c0957a', light: '#ffffff', rim: '#e0a987', inside: '#d3c0ab', speck: '#c98560' },
  chalk: { body: '#f4f2ea', shade: '#9aa3a6', light: '#ffffff', rim: '#ddd8ca', inside: '#c4c6c0', speck: null },
  celadon: { body: '#a9c9b4', shade: '#4f7f6d', light: '#e8f6ea', rim: '#d3e6d6', inside: '#6f9c88', speck: null },
  cobalt: { body: '#27469c', shade: '#101f56', light: '#86a5f0', rim: '#5d7fd2', inside: '#14265f', speck: null },
  tenmoku: { body: '#3a2620', shade: '#150c0b', light: '#b98a63', rim: '#a5562d', inside: '#190f0d', speck: null },
  ironred: { body: '#b34a2f', shade: '#6c2216', light: '#f1a183', rim: '#7d2c1b', inside: '#77291a', speck: '#5f1f14' },
  copper: { body: '#2f7f74', shade: '#114742', light: '#94d6c4', rim: '#8a5a3c', inside: '#154f49', speck: null },
  ash: { body: '#c9c58a', shade: '#7d7a45', light: '#f6f3c8', rim: '#8f8249', inside: '#8c8a56', speck: '#6d6430' },
  slate: { body: '#4b5661', shade: '#232b33', light: '#aebac4', rim: '#77838d', inside: '#262e36', speck: null },
  butter: { body: '#f1c44f', shade: '#b57a18', light: '#fff0bd', rim: '#fbe08c', inside: '#bb861f', speck: null },
  blush: { body: '#e6b3a2', shade: '#b06a59', light: '#fff0ea', rim: '#f4d3c7', inside: '#b9796a', speck: '#a85d4a' },
} as const satisfies Record<string, Glaze>;

export type GlazeName = keyof typeof glazes;

/** Fired clay without glaze: the foot that stays out of the bucket. */
export const clay = { beacon: '#b98158', ojai: '#d9c2a0', dark: '#5b4036' } as const;

/** The wall and the table of each photograph that we did not take. */
export const grounds = {
  sun: { wall: '#f3cf63', table: '#e7b83f' },
  brick: { wall: '#cf6a4c', table: '#b9553a' },
  sky: { wall: '#b4d0e0', table: '#94b7cc' },
  leaf: { wall: '#9cb894', table: '#82a17b' },
  rose: { wall: '#efc3b5', table: '#e0a795' },
  night: { wall: '#2c3a55', table: '#202b42' },
  bone: { wall: '#e6e2d6', table: '#d2cdbd' },
  plum: { wall: '#6d4459', table: '#573246' },
  sea: { wall: '#3f8d8c', table: '#317473' },
  lilac: { wall: '#c9c3e0', table: '#b0a8cf' },
} as const;

export type GroundName = keyof typeof grounds;
