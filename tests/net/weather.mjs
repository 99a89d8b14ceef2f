// Weather on a viewer's cable: delay, reordering and loss, made by netem in the device lab's guest.
//
//   the street                             the guest (tests/lab)                      the street
//   deviceN ── bridgeN-d ── tap ── vec1 ── bridge: netem at each way out ── vec2 ── tap ── bridgeN-v ── viewerN
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

  /** Boots the guest; once more, should it not come up, which User Mode Linux was seen to do on a busy machine. */
  static async rise(t) {
    const weather = new Weather();
    // Hooks run in the order of their making, and a guest must not lose its cards before it ends.
    t.after(() => weather.#end());
    weather.#wire(t);
    try {
      await weather.#boot();
    } catch (why) {
      t.diagnostic(`${why.message}; once more`);
      await weather.#boot();
    }
    await weather.#guest.run(`
      ip link add through type bridge
      ip link set through up
      for card in vec1 vec2; do ip link set $card master through up; done`);
    return weather;
  }

  /** Taps for the guest's three cards; the first is joined to the device's namespace, where the test listens. */
  #wire(t) {
    for (const tap of ["guest0", "guest1", "guest2"]) {
      street("ip", "tuntap", "add", "dev", tap, "mode", "tap");
      street("ip", "link", "set", tap, "up");
      t.after(() => street("ip", "link", "del", tap));
    }
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
    const taps = ["--tap", "guest0", "--addr", "192.168.77.2/24", "--tap", "guest1", "--tap", "guest2"];
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

  /** Leads a cable through the guest. One at a time: it has two cards for it. */
  cover(t, cable) {
    const far = `beyond${cable.n}`;
    street("ip", "link", "add", far, "type", "bridge");
    t.after(() => street("ip", "link", "del", far));
    street("ip", "link", "set", far, "up");
    street("ip", "link", "set", "guest1", "master", cable.bridge);
    street("ip", "link", "set", "guest2", "master", far);
    street("ip", "link", "set", cable.to_viewer, "master", far);
    cable.bridge_to_viewer = far;
  }

  /**
   * What happens to packets on their way to the viewer, and back: arguments of netem, such as "delay 25ms loss 2%".
   * An empty string: nothing.
   */
  async turn(down, up = down) {
    const set = (card, netem) =>
      netem === ""
        ? `tc qdisc del dev ${card} root 2>/dev/null || true`
        : `tc qdisc replace dev ${card} root netem limit 10000 ${netem}`;
    await this.#guest.run(`${set("vec2", down)}\n${set("vec1", up)}`);
  }

  /** What netem has done since it was set: sent and dropped packets each way. */
  async done() {
    const told = await this.#guest.run("for card in vec2 vec1; do tc -s qdisc show dev $card root; done");
    const [down, up] = [...told.matchAll(/Sent \d+ bytes (\d+) pkt \(dropped (\d+)/g)].map(([, sent, dropped]) => ({ sent: Number(sent), dropped: Number(dropped) }));
    return { down, up };
  }
}
