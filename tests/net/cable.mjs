// A viewer at the end of a cable: a network namespace of its own, joined to the device's by a pair of virtual
// Ethernet devices, and a Chromium in it. The test runs in the device's namespace (tests/net/run).
import { execFileSync } from "node:child_process";
import { chmod, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromium } from "playwright-core";
import { open } from "../e2e/browser.mjs";

const CHROMIUM = process.env.CHROMIUM ?? "/usr/bin/chromium";
const FLAGS = [
  "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync", "--autoplay-policy=no-user-gesture-required",
];
let cables = 0;

const run = (...argv) => execFileSync(argv[0], argv.slice(1), { stdio: ["ignore", "pipe", "inherit"] });

/** One cable, ended with the test. The device is 10.77.N.1 on it, the viewer 10.77.N.2. */
export class Cable {
  static async lay(t) {
    cables += 1;
    const cable = new Cable(cables);
    await cable.#lay(t);
    return cable;
  }

  constructor(n) {
    this.n = n;
    this.space = `${process.env.FAROL_NET}-${n}`;
    this.link = `cable${n}`;
    this.device = `10.77.${n}.1`;
  }

  async #lay(t) {
    const { n, space, link } = this;
    run("ip", "netns", "add", space);
    t.after(() => run("ip", "netns", "del", space));
    run("ip", "link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", space);
    run("ip", "addr", "add", `${this.device}/24`, "dev", link);
    run("ip", "link", "set", link, "up");
    const inside = (...argv) => run("nsenter", `--net=/run/netns/${space}`, ...argv);
    inside("ip", "link", "set", "lo", "up");
    inside("ip", "addr", "add", `10.77.${n}.2/24`, "dev", "eth0");
    inside("ip", "link", "set", "eth0", "up");
    // Chromium offers the addresses of the default route alone.
    inside("ip", "route", "add", "default", "via", this.device);
  }

  /** Lets so much pass from the device to the viewer, with a queue of 200 ms, as a home router has. */
  narrow(kbit) {
    run("tc", "qdisc", "replace", "dev", this.link, "root", "tbf", "rate", `${kbit}kbit`, "burst", "8kb", "latency", "200ms");
  }

  /** Lets everything pass. */
  widen() {
    run("tc", "qdisc", "del", "dev", this.link, "root");
  }

  /** Nothing passes, or everything again. */
  cut(is_cut) {
    run("ip", "link", "set", this.link, is_cut ? "down" : "up");
  }

  /** The page behind a link, in this viewer's Chromium; `frames` counts what is shown from now on. */
  async watch(t, link, { flags = [] } = {}) {
    const directory = await mkdtemp(join(tmpdir(), "farol-net-"));
    t.after(() => rm(directory, { recursive: true, force: true }));
    const program = join(directory, "chromium");
    await writeFile(program, `#!/bin/sh\nexec nsenter --net=/run/netns/${this.space} ${CHROMIUM} "$@"\n`);
    await chmod(program, 0o755);
    const browser = await chromium.launch({ executablePath: program, args: [...FLAGS, ...flags] });
    t.after(() => browser.close());
    const viewer = await open(browser, link);
    await viewer.plays();
    await viewer.page.evaluate(() => {
      const { video } = document.querySelector("farol-camera");
      globalThis.shown = [];
      const note = (now) => {
        globalThis.shown.push(now);
        video.requestVideoFrameCallback(note);
      };
      video.requestVideoFrameCallback(note);
    });
    return viewer;
  }
}

/** What a viewer sees meanwhile: frames, the longest gap between two, and what came in. */
export async function during(viewer, ms) {
  const before = await viewer.stats();
  const { shown, seconds } = await viewer.page.evaluate(async (ms) => {
    const from = performance.now();
    await new Promise((passed) => setTimeout(passed, ms));
    const to = performance.now();
    const shown = globalThis.shown.filter((at) => at > from && at <= to);
    return { shown: [from, ...shown, to], seconds: (to - from) / 1000 };
  }, ms);
  const after = await viewer.stats();
  const gaps = shown.slice(1).map((at, n) => at - shown[n]);
  const half = Math.floor(shown.length / 2);
  return {
    fps: (shown.length - 2) / seconds,
    gap_ms: Math.round(Math.max(...gaps)),
    kbps: Math.round(((after.bytesReceived - before.bytesReceived) * 8) / 1000 / seconds),
    frames: shown.length - 2,
    half,
  };
}
