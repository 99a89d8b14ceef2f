// Weather on a viewer's cable: delay, reordering and loss, made by netem in the device lab's guest.
//
//   the street                     the guest (tests/lab)                                    the street
//   deviceN ── bridgeN ── tap ──── vec1 ── bridge, netem at each way out ── vec2 ──── tap ── beyondN ── viewerN
//
// The kernel that the tests run on may have no netem; the guest's does, and is booted in three seconds. Both
// ends run outside of it at full speed: the guest only bridges. It is asked over a card of its own (tests/lab/agent).
import { execFileSync, spawn } from "node:child_process";
import { cp, mkdtemp, open, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { guest as call } from "../lab/guest.mjs";
import { street } from "./cable.mjs";

const LAB = fileURLToPath(new URL("../lab/", import.meta.url));
const HERE = "192.168.77.1";
const BOOT_MS = 30_000;
const CONTROL = "weather";

/** A guest through which cables can be led; it is there until the test ends. */
export class Weather {
  #guest;
  #machine;
  #ended;
  #share;
  #cables;

  constructor(cables) {
    this.#cables = cables;
  }

  /** Leads these cables through a guest that it boots; once more, should it not come up, which User Mode Linux was seen to do on a busy machine. */
  static async rise(t, cables) {
    const weather = new Weather(cables);
    // Hooks run in the order of their making, and a guest must not lose its cards before it ends.
    t.after(() => weather.#end());
    weather.#wire(t);
    try {
      await weather.#boot();
    } catch (why) {
      t.diagnostic(`${why.message}; once more`);
      await weather.#boot();
    }
    for (const [n, cable] of cables.entries()) await weather.#cover(t, cable, n);
    return weather;
  }

  /** The guest's cards are joined to taps: the first for questions, and two for each cable, as in `#cards`. */
  get #taps() {
    return ["guest0", ...this.#cables.flatMap((_, n) => this.#cards(n).map(({ tap }) => tap))];
  }

  /** Of the nth cable: the card towards the device and the one towards the viewer. */
  #cards(n) {
    return [2 * n + 1, 2 * n + 2].map((card) => ({ card: `vec${card}`, tap: `guest${card}` }));
  }

  #wire(t) {
    for (const tap of this.#taps) {
      street("ip", "tuntap", "add", "dev", tap, "mode", "tap");
      street("ip", "link", "set", tap, "up");
      t.after(() => street("ip", "link", "del", tap));
    }
    // The test listens in the device's namespace.
    const run = (...argv) => execFileSync(argv[0], argv.slice(1), { stdio: ["ignore", "pipe", "inherit"] });
    const space = `${process.env.FAROL_NET}-street`;
    run("ip", "link", "add", CONTROL, "type", "veth", "peer", "name", "control", "netns", space);
    t.after(() => run("ip", "link", "del", CONTROL));
    run("ip", "addr", "add", `${HERE}/24`, "dev", CONTROL);
    run("ip", "link", "set", CONTROL, "up");
    street("ip", "link", "add", "asked", "type", "bridge");
    t.after(() => street("ip", "link", "del", "asked"));
    for (const end of ["control", "guest0"]) street("ip", "link", "set", end, "master", "asked", "up");
    street("ip", "link", "set", "asked", "up");
  }

  async #boot() {
    const share = await mkdtemp(join(tmpdir(), "farol-weather-"));
    this.#share = share;
    await cp(join(LAB, "agent"), join(share, "agent"));
    const log = await open(join(share, "guest.log"), "w");
    const space = `/run/netns/${process.env.FAROL_NET}-street`;
    const taps = ["--addr", "192.168.77.2/24", ...this.#taps.flatMap((tap) => ["--tap", tap])];
    this.#machine = spawn(
      "nsenter",
      [`--net=${space}`, join(LAB, "lab.sh"), "run", "--plain", "--no-devices", "--mem", "128", "--share", share, ...taps, "--", "exec bash /lab/agent"],
      { stdio: ["ignore", log.fd, log.fd] },
    );
    this.#ended = new Promise((done) => this.#machine.once("close", done));
    await log.close();
    try {
      this.#guest = await call({ host: HERE, port: 7777, timeoutMs: BOOT_MS });
    } catch (why) {
      const console = await readFile(join(share, ".devlab", "console"), "utf8").catch(() => "");
      await this.#end();
      throw new Error(`the guest has not come up: ${why.message}\n${console.slice(-2000)}`);
    }
  }

  async #end() {
    this.#guest?.close();
    this.#guest = undefined;
    // lab.sh ends the guest with itself.
    this.#machine?.kill("SIGTERM");
    await this.#ended;
    this.#machine = undefined;
    if (this.#share !== undefined) await rm(this.#share, { recursive: true, force: true });
  }

  async #cover(t, cable, n) {
    const [to_device, to_viewer] = this.#cards(n);
    await this.#guest.run(`
      ip link add through${n} type bridge
      ip link set through${n} up
      for card in ${to_device.card} ${to_viewer.card}; do ip link set $card master through${n} up; done`);
    const far = `beyond${cable.n}`;
    street("ip", "link", "add", far, "type", "bridge");
    t.after(() => street("ip", "link", "del", far));
    street("ip", "link", "set", far, "up");
    street("ip", "link", "set", to_device.tap, "master", cable.bridge);
    street("ip", "link", "set", to_viewer.tap, "master", far);
    street("ip", "link", "set", cable.to_viewer, "master", far);
    cable.bridge_to_viewer = far;
  }

  /**
   * What happens to packets on a cable on their way to the viewer, and back: arguments of netem, such as
   * "delay 25ms loss 2%". An empty string: nothing.
   */
  async turn(cable, down, up = down) {
    const [to_device, to_viewer] = this.#cards(this.#cables.indexOf(cable));
    const set = ({ card }, netem) =>
      netem === ""
        ? `tc qdisc del dev ${card} root 2>/dev/null || true`
        : `tc qdisc replace dev ${card} root netem limit 10000 ${netem}`;
    await this.#guest.run(`${set(to_viewer, down)}\n${set(to_device, up)}`);
  }

  /** What netem has done since it was set: packets sent and dropped, to the viewer and to the device. */
  async done(cable) {
    const [to_device, to_viewer] = this.#cards(this.#cables.indexOf(cable));
    const told = await this.#guest.run(`for card in ${to_viewer.card} ${to_device.card}; do tc -s qdisc show dev $card root; done`);
    const [down, up] = [...told.matchAll(/Sent \d+ bytes (\d+) pkt \(dropped (\d+)/g)].map(([, sent, dropped]) => ({ sent: Number(sent), dropped: Number(dropped) }));
    return { down, up };
  }
}
