// How the rig is run (tests/bench/rig): viewers without a browser, Janus's camera, the floor. $RIG is the program.
import { spawn } from "node:child_process";
import { resolve } from "node:path";
import { createInterface } from "node:readline";

const PROGRAM = resolve(process.env.RIG ?? new URL("../../target/debug/examples/rig", import.meta.url).pathname);

/** One of its parts, running; ended with the scope. */
class Part {
  #child;
  #lines;
  #ended;

  static async start(scope, args) {
    const part = new Part();
    part.#child = spawn(PROGRAM, args.map(String), { stdio: ["pipe", "pipe", "inherit"], env: { ...process.env, RUST_BACKTRACE: "0" } });
    part.#ended = new Promise((done) => part.#child.once("exit", done));
    part.#lines = createInterface({ input: part.#child.stdout })[Symbol.asyncIterator]();
    scope.after(() => part.end());
    await part.next();
    return part;
  }

  get pid() {
    return this.#child.pid;
  }

  async next() {
    const { value, done } = await this.#lines.next();
    if (done) throw new Error("the rig has ended");
    return value;
  }

  say(line) {
    this.#child.stdin.write(`${line}\n`);
  }

  signal(name) {
    this.#child.kill(name);
  }

  async end() {
    this.#child.kill("SIGCONT");
    this.#child.stdin.end();
    await this.#ended;
  }
}

/** Viewers that have their first picture. */
export class Viewers {
  #part;

  /** `whose` is farol or janus, `port` the broker's or Janus's; media comes to `address`. */
  static async join(scope, whose, port, count, address = "127.0.0.1") {
    const viewers = new Viewers();
    viewers.#part = await Part.start(scope, ["receive", whose, port, address, count]);
    return viewers;
  }

  /** Count anew. */
  mark() {
    this.#part.say("mark");
  }

  /** What each has received since: `pictures` as [captured_ms, age_ms], `broken`, `bytes`. */
  async tell() {
    this.#part.say("tell");
    return JSON.parse(await this.#part.next());
  }

  /** They read nothing any more, or read on. */
  stall() {
    this.#part.signal("SIGSTOP");
  }
  wake() {
    this.#part.signal("SIGCONT");
  }

  /** They are gone, without a word. */
  leave() {
    return this.#part.end();
  }
}

/** A recording as Janus's camera. */
export const feed = (scope, recording, ports) => Part.start(scope, ["feed", recording, ports.rtp, ports.rtcp]);

/** The least that sending can cost; `way` is sendto or gso. */
export const floor = (scope, recording, count, way) => Part.start(scope, ["floor", recording, count, way]);
