/** Tells on stderr what is going on, so that stdout holds the report alone. */
export type Progress = {
  /** Begins a step; `step` and `steps` say how far the whole run is. */
  begin(title: string, step?: number, steps?: number): void
  /** How far the step is, from 0 to 1. */
  update(fraction: number): void
  /** A line of its own. */
  note(text: string): void
  end(): void
}

export function createProgress(): Progress {
  const terminal = process.stderr.isTTY === true
  let line = ''
  let line_open = false
  const endLine = () => {
    if (line_open) process.stderr.write('\n')
    line_open = false
  }
  return {
    begin(title, step, steps) {
      endLine()
      line = step === undefined ? title : `[${step}/${steps}] ${title}`
      process.stderr.write(terminal ? line : `${line}\n`)
      line_open = terminal
    },
    update(fraction) {
      // A log file wants few lines: there only the steps are told.
      if (!terminal) return
      process.stderr.write(`\r${line} ${Math.max(0, Math.floor(fraction * 100))} %`)
      line_open = true
    },
    note(text) {
      endLine()
      process.stderr.write(`${text}\n`)
    },
    end: endLine,
  }
}
