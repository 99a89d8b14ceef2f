// A freshly installed board: a booted container, and what runs in it.
import { execFile, spawn } from "node:child_process";
import { createInterface } from "node:readline";

const CONTAINER = new URL("container", import.meta.url).pathname;

/** Boots one; `options` as tests/package/container has them. */
export async function boot(options) {
  const child = spawn(CONTAINER, ["boot", ...options], { stdio: ["pipe", "pipe", "inherit"] });
  const ended = new Promise((resolve) => child.once("exit", resolve));
  let pid;
  for await (const line of createInterface({ input: child.stdout })) {
    pid = line.match(/^ready (\d+)$/)?.[1];
    if (pid) break;
  }
  if (!pid) throw new Error(`the board has not come up: status ${await ended}`);

  /** Runs a script as root; its status and what it said. */
  const attempt = (script) =>
    new Promise((resolve) => {
      execFile(CONTAINER, ["in", pid, "bash", "-ec", script], { maxBuffer: 1 << 26, timeout: 120_000 }, (error, output, errors) =>
        resolve({ status: error ? (error.code ?? 1) : 0, output: output + errors }),
      );
    });
  return {
    attempt,
    /** Runs a script that has to succeed; what it said. */
    async run(script) {
      const { status, output } = await attempt(script);
      if (status !== 0) throw new Error(`status ${status} of: ${script}\n${output}`);
      return output.trimEnd();
    },
    async end() {
      child.stdin.end();
      await ended;
    },
  };
}
