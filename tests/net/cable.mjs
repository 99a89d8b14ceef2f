// A viewer at the end of a cable: a network namespace of its own, and a Chromium in it.
//
//   the device's namespace          the street                               the viewer's namespace
//   cableN 10.77.N.1  ───────────── deviceN ── bridge ── viewerN ─────────── eth0 10.77.N.2
//   farol, Mosquitto, the test      tbf towards the device, tbf towards      Chromium
//                                   the viewer; weather.mjs leads through
//                                   a guest whose kernel has netem
//
// Both ends are whole network cards with nothing wrong with them: what happens to packets happens between
// them, as it does outside. The test runs in the device's namespace (tests/net/run).
import { execFileSync } from "node:child_process";
import { chmod, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromium } from "playwright-core";
import { open } from "../e2e/browser.mjs";
import { device } from "../e2e/daemon.mjs";
import { Mosquitto } from "../e2e/mosquitto.mjs";
import { count } from "./seen.mjs";

const CHROMIUM = process.env.CHROMIUM ?? "/usr/bin/chromium";
const FLAGS = [
  "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync", "--autoplay-policy=no-user-gesture-required",
];
/** The namespace between the devices' and the viewers'; tests/net/run makes it. */
const STREET = `${process.env.FAROL_NET}-street`;
let cables = 0;

const run = (...argv) => execFileSync(argv[0], argv.slice(1), { stdio: ["ignore", "pipe", "inherit"] });
/** Runs a command in another network namespace: `ip -n` would mount /sys anew, which fails in a chroot. */
const within = (space, ...argv) => run("nsenter", `--net=/run/netns/${space}`, ...argv);
export const street = (...argv) => within(STREET, ...argv);

/** One cable, ended with the test. The device is 10.77.N.1 and fd77:N::1 on it, the viewer ends in 2. */
export class Cable {
  /** `ipv4`, `ipv6`: which addresses the two ends have. */
  static async lay(t, { ipv4 = true, ipv6 = false } = {}) {
    cables += 1;
    const cable = new Cable(cables);
    cable.#lay(t, { ipv4, ipv6 });
    return cable;
  }

  constructor(n) {
    this.n = n;
    /** The viewer's namespace. */
    this.space = `${process.env.FAROL_NET}-${n}`;
    /** The device's end. */
    this.link = `cable${n}`;
    this.bridge = `bridge${n}`;
    /** The viewer's side of the street, which is another bridge while the cable is led through a guest. */
    this.bridge_to_viewer = this.bridge;
    /** The street's ends: what leaves by the one goes to the device, by the other to the viewer. */
    this.to_device = `device${n}`;
    this.to_viewer = `viewer${n}`;
    this.device = `10.77.${n}.1`;
    this.device6 = `fd77:${n}::1`;
  }

  #lay(t, { ipv4, ipv6 }) {
    const { n, space, link, bridge, to_device, to_viewer } = this;
    run("ip", "netns", "add", space);
    t.after(() => run("ip", "netns", "del", space));
    street("ip", "link", "add", bridge, "type", "bridge");
    t.after(() => street("ip", "link", "del", bridge));
    run("ip", "link", "add", link, "type", "veth", "peer", "name", to_device, "netns", STREET);
    t.after(() => run("ip", "link", "del", link));
    street("ip", "link", "add", to_viewer, "type", "veth", "peer", "name", "eth0", "netns", `/run/netns/${space}`);
    // Its other end goes when nothing is left of the viewer's namespace, which may be after the next test has begun.
    t.after(() => street("ip", "link", "del", to_viewer));
    // A run of packets that left in one call is a run of packets on the street, each queued or lost by itself.
    run("ip", "link", "set", link, "gso_max_segs", "1");
    for (const end of [to_device, to_viewer]) street("ip", "link", "set", end, "master", bridge, "up");
    street("ip", "link", "set", bridge, "up");
    this.inside("ip", "link", "set", "lo", "up");
    if (ipv4) run("ip", "addr", "add", `${this.device}/24`, "dev", link);
    if (ipv4) this.inside("ip", "addr", "add", `10.77.${n}.2/24`, "dev", "eth0");
    if (ipv6) run("ip", "addr", "add", `${this.device6}/64`, "dev", link, "nodad");
    if (ipv6) this.inside("ip", "addr", "add", `fd77:${n}::2/64`, "dev", "eth0", "nodad");
    run("ip", "link", "set", link, "up");
    this.inside("ip", "link", "set", "eth0", "up");
    // Chromium offers the addresses of the default route alone.
    if (ipv4) this.inside("ip", "route", "add", "default", "via", this.device);
    if (ipv6) this.inside("ip", "-6", "route", "add", "default", "via", this.device6);
  }

  /** Runs a command where the viewer is. */
  inside(...argv) {
    return within(this.space, ...argv);
  }

  /**
   * Lets so much pass from the device to the viewer, and `up_kbit` the other way, each with a queue of 200 ms,
   * as a home router has.
   */
  narrow(kbit, up_kbit) {
    const limit = (end, kbit) =>
      street("tc", "qdisc", "replace", "dev", end, "root", "tbf", "rate", `${kbit}kbit`, "burst", "8kb", "latency", "200ms");
    limit(this.to_viewer, kbit);
    if (up_kbit !== undefined) limit(this.to_device, up_kbit);
  }

  /** Lets everything pass. */
  widen() {
    for (const end of [this.to_viewer, this.to_device]) {
      // Without one that was set there is nothing to delete.
      if (street("tc", "qdisc", "show", "dev", end).includes("tbf")) street("tc", "qdisc", "del", "dev", end, "root");
    }
  }

  /** Bytes that have gone to the viewer since `narrow` was first called, with their Ethernet headers. */
  passed() {
    return Number(street("tc", "-s", "qdisc", "show", "dev", this.to_viewer).toString().match(/Sent (\d+) bytes/)[1]);
  }

  /** An outage on the way: nothing passes, and neither end's card notices; or everything again. */
  outage(is_out) {
    street("ip", "link", "set", this.to_viewer, ...(is_out ? ["nomaster"] : ["master", this.bridge_to_viewer]));
  }

  /** Pulls the cable from the device, which notices; or plugs it in. IPv6 addresses go with it. */
  cut(is_cut) {
    run("ip", "link", "set", this.link, is_cut ? "down" : "up");
  }

  /** The page behind a link, in this viewer's Chromium; what is shown is counted from now on (`seen.mjs`). `flags` are Chromium's. */
  async watch(t, link, { init, flags = [] } = {}) {
    const directory = await mkdtemp(join(tmpdir(), "farol-net-"));
    t.after(() => rm(directory, { recursive: true, force: true }));
    const program = join(directory, "chromium");
    await writeFile(program, `#!/bin/sh\nexec nsenter --net=/run/netns/${this.space} ${CHROMIUM} "$@"\n`);
    await chmod(program, 0o755);
    const browser = await chromium.launch({ executablePath: program, args: [...FLAGS, ...flags] });
    t.after(() => browser.close());
    const viewer = await open(browser, link, { init });
    await viewer.plays();
    await count(viewer);
    return viewer;
  }
}

/**
 * The daemon with a camera of `kbps`, and the page's address as somebody at the end of a cable has it. `config`
 * is TOML that follows the table `[video]`.
 */
export async function board(t, cables, { kbps = 3000, width = 1280, height = 720, policy = "slowest", config = "", addresses } = {}) {
  const broker = await Mosquitto.start(t, { rules: "" });
  const camera = `
    [signalling]
    security = "open"
    [video]
    source = "pattern"
    width = ${width}
    height = ${height}
    bitrate_kbps = ${kbps}
    rate_policy = "${policy}"
    ${config}`;
  addresses ??= cables.map((cable) => cable.device);
  const board = await device(t, broker, camera, { addresses, listen: "0.0.0.0" });
  const daemon = await board.start();
  const open = await board.openLink();
  return { board, daemon, link: (cable) => open.replaceAll("127.0.0.1", cable.device) };
}
