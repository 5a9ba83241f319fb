/** What a name says of what is behind it, where a judgement hangs on that. Pure. */

/** A table that says how the application behaves, which no data center should learn from another one. */
export function namesConfiguration(relation: string): boolean {
  return /^(\w+_)?(settings?|configs?|configurations?|feature_?flags?|feature_?toggles?|preferences|core_config_data)$/i.test(
    relation,
  );
}

/** A column with long values that nobody chooses. */
export function namesRandom(column: string): boolean {
  return /(token|secret|nonce|uuid|guid|hash|digest|fingerprint|(^|_)key$|api_?key)/i.test(column);
}
