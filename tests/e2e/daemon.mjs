// How a test runs the daemon: the binary itself, in a directory of its own, gone when the test is.
//
// $FAROL is the binary. What it logs is kept, so that a test can wait for a line, and shown when one waits in vain.
import { spawn } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";

const BINARY = resolve(process.env.FAROL ?? new URL("../../target/debug/farol", import.meta.url).pathname);
/** Long enough for a loaded machine; only a failing test waits for it. */
const PATIENCE_MS = 20_000;

/** A running daemon. */
export class Daemon {
  /** Every line it has logged or printed. */
  said = [];
  #child;
  #waiting = new Set();
  #ended;

  constructor(args, { log = "debug", env = {} } = {}) {
    this.#child = spawn(BINARY, ["--log", log, ...args], {
      stdio: ["ignore", "pipe", "pipe"],
      env: { ...process.env, ...env },
    });
    this.#ended = new Promise((done) => this.#child.once("close", done));
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      createInterface({ input: stream }).on("line", (line) => {
        this.said.push(line);
        for (const look of this.#waiting) look();
      });
    }
  }

  get pid() {
    return this.#child.pid;
  }

  /** The first line after `from` that matches, as soon as there is one. */
  line(pattern, from = 0) {
    return new Promise((found, reject) => {
      const finish = (result) => {
        clearTimeout(late);
        this.#waiting.delete(look);
        result instanceof Error ? reject(result) : found(result);
      };
      const look = () => {
        const match = this.said.slice(from).find((line) => pattern.test(line));
        if (match !== undefined) finish(match);
      };
      const fail = (why) => finish(new Error(`the daemon never said ${pattern}: ${why}\n${this.said.slice(-40).join("\n")}`));
      const late = setTimeout(() => fail(`waited ${PATIENCE_MS} ms`), PATIENCE_MS);
      this.#waiting.add(look);
      void this.#ended.then(() => fail("it has ended"));
      look();
    });
  }

  /** Ends it as systemd does. */
  async stop() {
    this.#child.kill("SIGTERM");
    await this.#ended;
  }

  /** Ends it without a word. */
  async kill() {
    this.#child.kill("SIGKILL");
    await this.#ended;
  }
}

/** `farol demo` with its lamp lit, and the page's address. */
export async function demo(t, options) {
  const daemon = new Daemon(["demo", "--listen", "127.0.0.1:0"], options);
  t.after(() => daemon.kill());
  await daemon.line(/offer lit/);
  const port = (await daemon.line(/open http:\/\/localhost:\d+/)).match(/localhost:(\d+)/)[1];
  return { daemon, page: `http://localhost:${port}/` };
}

/**
 * A device on disk: configuration and state in a directory of its own. `start` runs it and `pair` makes links.
 * `config` is TOML that follows the tables of the broker and the page; media goes by `addresses`, the page is
 * served at `listen`, and `bridge` has it carry MQTT too.
 */
export async function device(t, broker, config = "", { addresses = ["127.0.0.1"], listen = "127.0.0.1", bridge = false } = {}) {
  const directory = await mkdtemp(join(tmpdir(), "farol-e2e-"));
  t.after(() => rm(directory, { recursive: true, force: true }));
  const http_port = await freePort();
  const file = join(directory, "farol.toml");
  await writeFile(file, `
    [device]
    name = "Porch"
    state_dir = "${directory}/state"
    [broker]
    url = "mqtt://${broker.mqttHost ?? "127.0.0.1"}:${broker.mqttPort}"
    username = "farol"
    [links]
    page = "http://127.0.0.1:${http_port}/"
    broker = "ws://127.0.0.1:${bridge ? `${http_port}/mqtt` : broker.webSocketPort}"
    [http]
    listen = "${listen}:${http_port}"
    bridge = ${bridge}
    [ice]
    addresses = ${JSON.stringify(addresses)}
    ${config}`);
  let current;
  t.after(() => current?.kill());
  return {
    /** Runs the daemon until its lamp is lit. */
    async start(options) {
      current = new Daemon(["run", "--config", file], options);
      await current.line(/offer lit/);
      return current;
    },
    /** The link of a device whose signalling is open; pairing such a one tells it. */
    async openLink() {
      const pairing = new Daemon(["pair", "anybody", "--config", file], { log: "warn" });
      return (await pairing.line(/#1\./)).trim();
    },
    /** A new viewer's link. */
    async pair(name, rights = "view,listen") {
      const pairing = new Daemon(["pair", name, "--rights", rights, "--config", file], { log: "warn" });
      return (await pairing.line(/#1\./)).trim();
    },
  };
}

/** A test picture and sound, small enough for several browsers on a small machine. */
export const SMALL_PICTURE = `
    [video]
    source = "pattern"
    width = 640
    height = 360
    fps = 30
    bitrate_kbps = 1000
    [audio]
    source = "tone"`;

/** A loopback port that nothing listens on, though another process could take it before we do. */
export async function freePort() {
  const server = createServer().listen(0, "127.0.0.1");
  await new Promise((listening) => server.once("listening", listening));
  const { port } = server.address();
  await new Promise((closed) => server.close(closed));
  return port;
}
