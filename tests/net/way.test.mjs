// Finding a way again: the board's address changes, a cable is out for a moment, there is IPv6 alone, an interface
// is not media's. A viewer's session goes on; what it missed is printed, and fails only when it is twice the goal.
import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { connect, createServer } from "node:net";
import { test } from "node:test";
import { device } from "../e2e/daemon.mjs";
import { Mosquitto } from "../e2e/mosquitto.mjs";
import { until } from "../lab/guest.mjs";
import { Cable } from "./cable.mjs";

const PATIENCE_MS = 30_000;
const ip = (...argv) => execFileSync("ip", argv, { stdio: ["ignore", "pipe", "inherit"] });

/** What follows `[ice]`, and a picture that a small machine encodes easily. */
const config = (ice) => `
    ${ice}
    [video]
    source = "pattern"
    width = 640
    height = 360
    bitrate_kbps = 1000
    [signalling]
    security = "open"`;

/** The daemon at a broker of its own; `link` is the page's address as somebody at the end of a cable has it. */
async function board(t, ice, { broker, listen = "0.0.0.0" } = {}) {
  broker ??= await Mosquitto.start(t, { rules: "" });
  const board = await device(t, broker, config(ice), { addresses: [], listen });
  const daemon = await board.start();
  const open = await board.openLink();
  return { daemon, link: (host) => open.replaceAll("127.0.0.1", host) };
}

/** Has what comes to `host` go on to the same port of 127.0.0.1, from now on. */
async function pass_on(t, host, port) {
  const ends = new Set();
  const server = createServer((from) => {
    const to = connect(port, "127.0.0.1");
    for (const [one, other] of [[from, to], [to, from]]) {
      ends.add(one);
      one.pipe(other);
      one.on("error", () => other.destroy());
    }
  });
  t.after(() => {
    server.close();
    // Where an address went, nothing ends them.
    for (const end of ends) end.destroy();
  });
  await new Promise((listening) => server.listen(port, host, listening));
}

/** The longest gap between two pictures, from a moment before `change` until it has been calm for 2 s. */
async function gap(viewer, change) {
  const from = await viewer.page.evaluate(() => performance.now());
  await change();
  return until("the picture again", PATIENCE_MS, async () => {
    const { shown, now } = await viewer.page.evaluate((from) => {
      const shown = globalThis.shown.filter((at) => at >= from - 200);
      return { shown, now: performance.now() };
    }, from);
    const gaps = shown.slice(1).map((at, n) => at - shown[n]);
    const longest = Math.max(...gaps);
    const ended = shown[gaps.indexOf(longest) + 1];
    const is_over = longest > 250 && now - ended > 2000 && now - shown.at(-1) < 250;
    return is_over || now - from > 12_000 ? { ms: Math.round(Math.max(longest, now - shown.at(-1))) } : undefined;
  });
}

/** In up to two rounds, since the machine is a busy one. */
async function within(t, what, goal_ms, round) {
  for (let n = 1; ; n += 1) {
    const { ms } = await round();
    t.diagnostic(`${what}: ${ms} ms, the goal is ${goal_ms} ms`);
    if (ms <= goal_ms) return;
    if (n === 2) return assert.ok(ms <= 2 * goal_ms, `${what}: ${ms} ms`);
  }
}

const said = (daemon, pattern) => daemon.said.filter((line) => pattern.test(line)).length;

test("the picture is there again within 3 s when the board's address changes", async (t) => {
  const cable = await Cable.lay(t);
  const net = `10.77.${cable.n}`;
  ip("addr", "add", `${net}.101/24`, "dev", cable.link);
  // Page and broker stay where they are, as if they were elsewhere.
  const { daemon, link } = await board(t, `interfaces = ["!${cable.device}/32"]`);
  const viewer = await cable.watch(t, link(cable.device));
  let last = 101;
  await within(t, "another address", 3000, () =>
    gap(viewer, () => {
      ip("addr", "add", `${net}.${last + 1}/24`, "dev", cable.link);
      ip("addr", "del", `${net}.${last}/24`, "dev", cable.link);
      last += 1;
    }));
  await within(t, "none for a second, then another", 4000, () =>
    gap(viewer, async () => {
      ip("addr", "del", `${net}.${last}/24`, "dev", cable.link);
      await new Promise((passed) => setTimeout(passed, 1000));
      last += 1;
      ip("addr", "add", `${net}.${last}/24`, "dev", cable.link);
    }));
  assert.equal(await viewer.answered(), 1, "on the connection that there was");
  assert.equal(said(daemon, /viewer (joined|left)/i), 1, "in the session that there was");
  assert.ok(said(daemon, /the path to a viewer is lost/) >= 2);
});

test("a cable that is out for a second costs hardly more than that", async (t) => {
  const cable = await Cable.lay(t);
  const { daemon, link } = await board(t, "");
  const viewer = await cable.watch(t, link(cable.device));
  await within(t, "a second without a cable", 2000, () =>
    gap(viewer, async () => {
      cable.cut(true);
      await new Promise((passed) => setTimeout(passed, 1000));
      cable.cut(false);
    }));
  assert.equal(said(daemon, /viewer (joined|left)/i), 1, "in the session that there was");
});

test("a viewer that is silent for long is found again in the same session", async (t) => {
  const cable = await Cable.lay(t);
  const { daemon, link } = await board(t, "");
  const viewer = await cable.watch(t, link(cable.device));
  const { ms } = await gap(viewer, async () => {
    cable.cut(true);
    await new Promise((passed) => setTimeout(passed, 6000));
    cable.cut(false);
  });
  t.diagnostic(`six seconds without a cable: ${ms} ms`);
  assert.ok(ms < 12_000);
  assert.equal(said(daemon, /viewer left/i), 0);
});

test("there is a way where IPv6 is all there is", async (t) => {
  const cable = await Cable.lay(t);
  const space = ["nsenter", [`--net=/run/netns/${cable.space}`]];
  const inside = (...argv) => execFileSync(space[0], [...space[1], ...argv]);
  const host = `fd77:${cable.n}::1`;
  ip("addr", "flush", "dev", cable.link);
  ip("addr", "add", `${host}/64`, "dev", cable.link, "nodad");
  inside("ip", "addr", "flush", "dev", "eth0");
  inside("ip", "addr", "add", `fd77:${cable.n}::2/64`, "dev", "eth0", "nodad");
  inside("ip", "-6", "route", "add", "default", "via", host);
  const { link } = await board(t, "", { listen: "[::]" });
  // Without IPv4 Chromium can announce no name by mDNS, and then tells no address of its own at all.
  const flags = ["--disable-features=WebRtcHideLocalIpsWithMdns"];
  const viewer = await cable.watch(t, link(`[${host}]`), { flags });
  assert.deepEqual(viewer.errors, []);
});

test("media goes by the interfaces that it may use alone", async (t) => {
  const [may, may_not] = [await Cable.lay(t), await Cable.lay(t)];
  const { link } = await board(t, `interfaces = ["cable*", "!${may_not.link}"]`);
  const viewer = await may.watch(t, link(may.device));
  const offered = await viewer.page.evaluate(() => globalThis.farolTest.peers[0].remoteDescription.sdp);
  const addresses = [...offered.matchAll(/a=candidate:\S+ \d+ \S+ \d+ (\S+)/g)].map((match) => match[1]);
  assert.deepEqual([...new Set(addresses)], [may.device]);
});

test("a direct way is taken although a relay is nearer", async (t) => {
  const cable = await Cable.lay(t);
  const relay = spawn("turnserver", [
    "-n", `--listening-ip=${cable.device}`, `--relay-ip=${cable.device}`, "--lt-cred-mech", "--user=farol:secret",
    "--realm=farol", "--no-tls", "--no-dtls", "--no-cli", "--log-file=stdout", "--pidfile=/dev/null",
  ], { stdio: "ignore" });
  t.after(() => relay.kill("SIGKILL"));
  const url = `turn:${cable.device}:3478?transport=udp`;
  const { link } = await board(t, `
    [[ice.servers]]
    urls = ["${url}"]
    username = "farol"
    credential = "secret"`);
  const viewer = await cable.watch(t, link(cable.device));
  // Named in the offer or trickled, it was there to be chosen.
  await until("the board's relay candidate", PATIENCE_MS, () =>
    viewer.page.evaluate(async () => {
      const reports = await globalThis.farolTest.peers.find((peer) => peer.remoteDescription).getStats();
      return [...reports.values()].some((one) => one.type === "remote-candidate" && one.candidateType === "relay");
    }));
  const { pair } = await viewer.stats();
  t.diagnostic(pair);
  assert.doesNotMatch(pair, /relay/);
});

test("a connection to the broker by an address that goes is given up at once", async (t) => {
  const cable = await Cable.lay(t);
  const broker = await Mosquitto.start(t, { rules: "" });
  broker.mqttHost = `10.78.${cable.n}.9`;
  ip("addr", "add", `${broker.mqttHost}/24`, "dev", cable.link);
  await pass_on(t, broker.mqttHost, broker.mqttPort);
  const { daemon } = await board(t, "", { broker });
  const from = daemon.said.length;
  ip("addr", "del", `${broker.mqttHost}/24`, "dev", cable.link);
  await daemon.line(/connection to the broker .* went by is gone/, from);
  ip("addr", "add", `${broker.mqttHost}/24`, "dev", cable.link);
  await daemon.line(/connected to the broker/, from);
  await daemon.line(/offer lit/, from);
});
