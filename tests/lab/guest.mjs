// The guest, as the test talks to it: scripts in, their output back.
//
// A guest that does not answer for a minute and a half stands still: User Mode Linux was seen to, all of it at once. `run` looks
// for STANDS_STILL in what a test said, and repeats that test on a fresh guest.
import { createServer } from "node:net";
import { createInterface } from "node:readline";

/** The longest that any of the tests' scripts takes on a busy machine is half of it. */
const STANDSTILL_MS = 90_000;
const STANDS_STILL = "the guest stands still";

/** Waits for the guest's agent to call, and hands back what it can be asked. */
export async function guest({ host, port, timeoutMs }) {
  const server = createServer();
  const called = new Promise((resolve, reject) => {
    const late = setTimeout(() => reject(new Error(`no guest called within ${timeoutMs} ms`)), timeoutMs);
    server.once("connection", (socket) => {
      clearTimeout(late);
      resolve(socket);
    });
    server.once("error", reject);
  });
  server.listen(port, host);
  const socket = await called.finally(() => server.close());
  const answers = createInterface({ input: socket })[Symbol.asyncIterator]();
  let queue = Promise.resolve();

  /** Runs a bash script; its output and status. */
  async function attempt(script) {
    const asked = queue.then(async () => {
      socket.write(`${Buffer.from(script).toString("base64")}\n`);
      const { value, done } = await soon(answers.next(), script);
      if (done) throw new Error(`the guest went away during: ${script}`);
      const [status, output = ""] = value.split(" ");
      return { status: Number(status), output: Buffer.from(output, "base64") };
    });
    queue = asked.catch(() => {});
    return asked;
  }

  return {
    attempt,
    /** Runs a bash script that has to succeed; what it printed. */
    async run(script) {
      const { status, output } = await attempt(`set -e\n${script}`);
      if (status !== 0) throw new Error(`status ${status} of: ${script}\n${output}`);
      return output.toString().trimEnd();
    },
    /** Lets the guest end. One that is gone before it has acknowledged that must not keep the test waiting. */
    close: () => socket.end().unref(),
  };
}

/** Rejects when the guest has stood still for too long to go on. */
async function soon(answer, script) {
  let late;
  const standstill = new Promise((_, reject) => {
    late = setTimeout(() => reject(new Error(`${STANDS_STILL}: no answer to: ${script}`)), STANDSTILL_MS);
  });
  return Promise.race([answer, standstill]).finally(() => clearTimeout(late));
}

/** Asks until the answer is not undefined, false or null, and fails after a time with what it waited for. */
export async function until(what, timeoutMs, ask, everyMs = 50) {
  const give_up = performance.now() + timeoutMs;
  for (;;) {
    const answer = await ask();
    if (answer !== undefined && answer !== false && answer !== null) return answer;
    if (performance.now() > give_up) throw new Error(`${what}: not within ${timeoutMs} ms`);
    await new Promise((resolve) => setTimeout(resolve, everyMs));
  }
}
