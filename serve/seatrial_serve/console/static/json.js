/** JSON without loss: a whole number that a double would round is kept as `{rawJSON}`, which `JSON.stringify` writes as it was. */

const exact = (_, value, context) => (Number.isInteger(value) && !Number.isSafeInteger(value) && JSON.rawJSON && context ? JSON.rawJSON(context.source) : value);

/** Throws `SyntaxError`. */
export const parsed = (text) => JSON.parse(text, exact);

/** A number as text, whole to its last digit. */
export const digits = (value) => String(value?.rawJSON ?? value);
