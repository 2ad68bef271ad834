/**
 * The bytes of a text in which card data stands, in memory of their own: what is cut from the pool that small buffers
 * share stays readable there long after. Whoever sends them wipes them once they were answered; before that the
 * connection may still need them.
 */
export function clearBytes(text: string): Buffer {
  const bytes = Buffer.allocUnsafeSlow(Buffer.byteLength(text))
  bytes.write(text)
  return bytes
}
