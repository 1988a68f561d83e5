// Things that happen again and again: polling that rests while nobody looks, and the second hand of the page.

/**
 * Run `task` now and every `everyMs` (a number, or a function that gives one), never twice at once; rest while the page is hidden, and run at once when it is
 * looked at again. Gives a function that runs it now, or once more after the run that is under way, whose answers may
 * be from before whatever the caller just did.
 */
export function repeat(task, everyMs) {
  let timer = null;
  let running = null;
  let queued = null;
  function run() {
    if (running) {
      queued ??= running.then(() => {
        queued = null;
        return run();
      });
      return queued;
    }
    clearTimeout(timer);
    running = Promise.resolve(task()).finally(() => {
      running = null;
      if (!document.hidden) timer = setTimeout(run, typeof everyMs === "function" ? everyMs() : everyMs);
    });
    return running;
  }
  document.addEventListener("visibilitychange", () => (document.hidden ? clearTimeout(timer) : run()));
  run();
  return run;
}

const hands = new Set();

/** Call `tick` every second, as long as `element` is in the document. */
export function everySecond(element, tick) {
  hands.add([element, tick]);
}

setInterval(() => {
  if (document.hidden) return;
  for (const hand of hands) {
    if (hand[0].isConnected) {
      hand[2] = true;
      hand[1]();
    } else if (hand[2]) hands.delete(hand);
  }
}, 1000);
