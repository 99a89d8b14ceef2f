// `make demo`, as a person types it into a clone: an address to open, a page behind it, and Ctrl-C ends all of it.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { test } from "node:test";
import { until } from "../lab/guest.mjs";

const ROOT = new URL("../..", import.meta.url).pathname;
/** All is built already; cargo alone looks for seconds whether it is. */
const PATIENCE_MS = 300_000;

/** The processes of a group that are not yet over. */
function group(id) {
  try {
    process.kill(-id, 0);
    return true;
  } catch {
    return false;
  }
}

test("make demo prints an address with the page behind it, and ends at Ctrl-C without a trace", async (t) => {
  // What the make that runs this test tells its children is not for one that a person starts.
  const { MAKEFLAGS, MAKELEVEL, MFLAGS, ...env } = process.env;
  // A terminal's foreground is a process group.
  const demo = spawn("make", ["demo"], { cwd: ROOT, env, detached: true, stdio: ["ignore", "pipe", "pipe"] });
  t.after(() => group(demo.pid) && process.kill(-demo.pid, "SIGKILL"));
  const ended = once(demo, "close");
  let said = "";
  for (const stream of [demo.stdout, demo.stderr]) stream.on("data", (piece) => (said += piece));
  const address = await Promise.race([
    until("an address", PATIENCE_MS, () => said.match(/open (http:\/\/localhost:\d+\/?)/)?.[1]),
    ended.then(([status]) => assert.fail(`make demo has ended with status ${status}:\n${said}`)),
  ]);
  const page = await fetch(address);
  assert.equal(page.status, 200);
  assert.match(await page.text(), /<farol-camera/);

  process.kill(-demo.pid, "SIGINT");
  await ended;
  assert.equal(group(demo.pid), false, "something is left running");
  // make ends as whoever is interrupted does, a shell's 130; or with its own 2, where it finds in the same moment that
  // the daemon has ended. Had that ended badly, make would tell its status.
  assert.ok(demo.signalCode === "SIGINT" || (demo.exitCode === 2 && /wait: No child processes/.test(said)), said);
  assert.match(said, /stopping why=SIGINT/);
  assert.doesNotMatch(said, /demo\] (Error|[A-Z])/);
  await assert.rejects(fetch(address), "nobody listens there");
});
