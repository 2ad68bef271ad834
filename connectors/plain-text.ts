/**
 * A merchant's own text, safe to put into a request.
 *
 * The vault fills `{{…}}` wherever it stands in a value. A reference like `{{card.number}}` would therefore
 * send a card number to the PSP as plain metadata, so two braces in a row are drawn apart.
 */
export function plainText(text: string, lengthMax: number): string {
  return [...text.replace(/\{(?=\{)/g, '{ ')].slice(0, lengthMax).join('')
}
