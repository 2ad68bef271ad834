/** Waiting on the simulator's own clock, which a control endpoint can move. */

/** Node's timers take no longer delay; what is longer is looked at again. */
const timerMax_ms = 2 ** 31 - 1

export type Delays = {
  /** True when the time has passed, false when the wait was given up. */
  wait(delay_ms: number): Promise<boolean>
  /** To be called whenever the clock was moved: whatever is due by now goes on. */
  clockMoved(): void
  giveUp(): void
}

type Waiting = { due_ms: number; timer: NodeJS.Timeout | undefined; done(passed: boolean): void }

export function createDelays(now_ms: () => number): Delays {
  const all = new Set<Waiting>()

  function end(waiting: Waiting, passed: boolean) {
    clearTimeout(waiting.timer)
    all.delete(waiting)
    waiting.done(passed)
  }

  function look(waiting: Waiting) {
    clearTimeout(waiting.timer)
    const left_ms = waiting.due_ms - now_ms()
    if (left_ms <= 0) end(waiting, true)
    else waiting.timer = setTimeout(look, Math.min(left_ms, timerMax_ms), waiting)
  }

  return {
    wait(delay_ms) {
      return new Promise((done) => {
        const waiting: Waiting = { due_ms: now_ms() + delay_ms, timer: undefined, done }
        all.add(waiting)
        look(waiting)
      })
    },
    clockMoved() {
      for (const waiting of [...all]) look(waiting)
    },
    giveUp() {
      for (const waiting of [...all]) end(waiting, false)
    },
  }
}
