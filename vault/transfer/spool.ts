/**
 * Files on disk that hold card numbers: cut into frames, each encrypted by itself (AES-256-GCM, a key a file, a random
 * nonce a frame), so that a file is written and read piece by piece, from any place in it, and no clear byte touches
 * the disk. A frame is bound to its file and its place in it; how long the file is, the database knows.
 */
import { createCipheriv, createDecipheriv, createSecretKey, type KeyObject, randomBytes } from 'node:crypto'
import { type FileHandle, open } from 'node:fs/promises'
import { dirname } from 'node:path'

const frameBytes = 64 * 1024
const nonceLength = 12
const tagLength = 16
const sealedFrameBytes = nonceLength + frameBytes + tagLength

/** A file by its path; `name` is what its frames are bound to. */
export type SpoolFile = { path: string; name: string; key: KeyObject }

export function newSpoolKey(): Buffer {
  return randomBytes(32)
}

export function spoolFile(path: string, name: string, key: Buffer): SpoolFile {
  return { path, name, key: createSecretKey(key) }
}

const additionalData = (file: SpoolFile, frame: number) => Buffer.from(`${file.name}|frame ${frame}|1`)

function sealFrame(file: SpoolFile, frame: number, bytes: Buffer): Buffer {
  const nonce = randomBytes(nonceLength)
  const cipher = createCipheriv('aes-256-gcm', file.key, nonce)
  cipher.setAAD(additionalData(file, frame))
  return Buffer.concat([nonce, cipher.update(bytes), cipher.final(), cipher.getAuthTag()])
}

/** @throws where the bytes are not what was written at this place of this file. */
function openFrame(file: SpoolFile, frame: number, sealed: Buffer): Buffer {
  const nonce = sealed.subarray(0, nonceLength)
  const decipher = createDecipheriv('aes-256-gcm', file.key, nonce, { authTagLength: tagLength })
  decipher.setAAD(additionalData(file, frame))
  decipher.setAuthTag(sealed.subarray(-tagLength))
  return Buffer.concat([decipher.update(sealed.subarray(nonceLength, -tagLength)), decipher.final()])
}

/** Bytes of a file that can be gone on from: whole frames. */
export const wholeFrames = (bytes: number) => bytes - (bytes % frameBytes)

export type SpoolWriter = {
  write(bytes: Buffer): Promise<void>
  /** Everything written is on the disk when this resolves. Gives the length of the file in clear bytes. */
  finish(): Promise<number>
  close(): Promise<void>
}

/** Writes from `offset` on, which must be whole frames; what was behind it is gone. */
export async function openSpoolWriter(file: SpoolFile, offset: number): Promise<SpoolWriter> {
  if (offset % frameBytes !== 0) throw new RangeError('a spool file is gone on with at a whole frame')
  const handle = await open(file.path, offset === 0 ? 'w' : 'r+', 0o600)
  let frame = offset / frameBytes
  await handle.truncate(frame * sealedFrameBytes)
  let waiting: Buffer[] = []
  let waitingBytes = 0

  async function writeFrame(bytes: Buffer): Promise<void> {
    await writeAll(handle, sealFrame(file, frame, bytes), frame * sealedFrameBytes)
    frame++
  }

  return {
    async write(bytes) {
      waiting.push(bytes)
      waitingBytes += bytes.length
      if (waitingBytes < frameBytes) return
      const all = Buffer.concat(waiting)
      let at = 0
      for (; all.length - at >= frameBytes; at += frameBytes)
        await writeFrame(all.subarray(at, at + frameBytes))
      waiting = at === all.length ? [] : [all.subarray(at)]
      waitingBytes = all.length - at
    },
    async finish() {
      const total = frame * frameBytes + waitingBytes
      if (waitingBytes > 0) await writeFrame(Buffer.concat(waiting))
      waiting = []
      await handle.sync()
      await syncFolder(file.path)
      return total
    },
    close: () => handle.close(),
  }
}

/** A new file is found again after a crash only once its folder is on the disk, too. */
async function syncFolder(path: string): Promise<void> {
  const folder = await open(dirname(path), 'r')
  try {
    await folder.sync()
  } finally {
    await folder.close()
  }
}

async function writeAll(handle: FileHandle, bytes: Buffer, position: number): Promise<void> {
  for (let written = 0; written < bytes.length; ) {
    const { bytesWritten } = await handle.write(bytes, written, bytes.length - written, position + written)
    written += bytesWritten
  }
}

/** The clear bytes of a file of that length, from `offset` on. @throws where the file was changed or cut. */
export async function* readSpool(file: SpoolFile, length: number, offset = 0): AsyncGenerator<Buffer> {
  const handle = await open(file.path, 'r')
  try {
    for (let frame = Math.floor(offset / frameBytes); frame * frameBytes < length; frame++) {
      const clearBytes = Math.min(frameBytes, length - frame * frameBytes)
      const sealed = Buffer.allocUnsafe(nonceLength + clearBytes + tagLength)
      const { bytesRead } = await handle.read(sealed, 0, sealed.length, frame * sealedFrameBytes)
      if (bytesRead < sealed.length) throw new Error('the spool file is shorter than it was')
      const clear = openFrame(file, frame, sealed)
      yield clear.subarray(Math.max(0, offset - frame * frameBytes))
    }
  } finally {
    await handle.close()
  }
}
