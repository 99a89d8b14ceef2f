// A board with an LED, a privacy switch and a motion sensor, whose pins the kernel simulates (gpio-sim).
//
// The steps share one boot and stand in the order of a day; a step that fails ends the test.
import assert from "node:assert/strict";
import test from "node:test";
import mqtt from "mqtt";
import { chromium } from "playwright-core";
import { guest as call, until } from "./guest.mjs";

const CONFIG = "/etc/farol/farol.toml";
const CAMERA = "/lab/lab-camera /dev/video0 /lab/labcam.h264 640 480 30 /run/camera.count";
const PINS = `
[gpio.led]
line = "led"

[gpio.privacy]
line = "button"
kind = "switch"

[gpio.motion]
line = 2
hold_s = 2
publish = true
`;
/** The promise is 200 ms; what a loaded machine adds must not fail the test. */
const PRIVACY_MS = 2000;

/** The guest's pins, pulled and looked at from outside as fingers and eyes would. */
async function pins(guest) {
  const at = await guest.run("devlab-gpio");
  return {
    pull: (line, up) => guest.run(`echo pull-${up ? "up" : "down"} >${at}/sim_gpio${line}/pull`),
    isLit: async () => (await guest.run(`cat ${at}/sim_gpio1/value`)) === "1",
    /** Turns privacy on; when that was and when the LED was out, in milliseconds of the guest's clock. */
    async hide() {
      const script = `
        begun=$EPOCHREALTIME
        echo pull-up >${at}/sim_gpio0/pull
        for ((n = 0; n < 20000; n++)); do read -r lit <${at}/sim_gpio1/value; [ $lit = 0 ] && break; done
        echo $begun $EPOCHREALTIME`;
      const [begun_ms, out_ms] = (await guest.run(script)).split(" ").map((s) => Number(s) * 1000);
      assert.equal(await this.isLit(), false, "the LED goes out");
      return { begun_ms, out_ms };
    },
  };
}

/** What the device says in public, and what it tells home automation. */
async function listen(username) {
  const client = await mqtt.connectAsync("mqtt://192.168.77.1:1883", { username, protocolVersion: 5 });
  const events = [];
  let status;
  client.on("message", (topic, payload, { retain }) => {
    if (topic.endsWith("/status")) status = JSON.parse(payload.toString() || "{}");
    else events.push({ ...JSON.parse(payload.toString()), topic, retain });
  });
  await client.subscribeAsync(["farol/1/+/status", "farol/1/+/event/#"], { qos: 1 });
  return { status: () => status, events, end: () => client.endAsync() };
}

async function watch(link) {
  const browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
      "--disable-component-update", "--disable-sync", "--autoplay-policy=no-user-gesture-required"],
  });
  const page = await browser.newPage();
  page.on("pageerror", (error) => console.error(`page: ${error}`));
  await page.addInitScript(() => {
    window.peers = [];
    window.RTCPeerConnection = class extends RTCPeerConnection {
      constructor(...args) {
        super(...args);
        window.peers.push(this);
      }
    };
    /** What arrived, summed over the page's peer connections, and when the newest of it was captured. */
    window.arrived = async () => {
      const sum = { packets: 0, frames: 0, captured_ms: 0 };
      // In milliseconds since 1900, by the device's clock (abs-capture-time, WebRTC Extensions §9.1).
      const unix_ms = (ntp_ms) => ntp_ms - 2_208_988_800_000;
      for (const peer of window.peers) {
        for (const report of (await peer.getStats()).values()) {
          if (report.type !== "inbound-rtp") continue;
          sum.packets += report.packetsReceived;
          sum.frames += report.framesDecoded ?? 0;
        }
        const sources = peer.getReceivers().flatMap((receiver) => receiver.getSynchronizationSources());
        for (const { captureTimestamp } of sources) {
          sum.captured_ms = Math.max(sum.captured_ms, captureTimestamp ? unix_ms(captureTimestamp) : 0);
        }
      }
      return sum;
    };
  });
  await page.goto(link);
  return {
    arrived: () => page.evaluate(() => window.arrived()),
    states: () => page.evaluate(() => window.peers.map((peer) => peer.connectionState)),
    close: () => browser.close(),
  };
}

const capturing = async (guest) =>
  Number(await guest.run("ls -l /proc/$(systemctl show farol -P MainPID)/fd | grep -c 'video0\\|pcm' || true"));

const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

test("a board with an LED, a privacy switch and a motion sensor", { timeout: 200_000 }, async (t) => {
  const guest = await call({ host: "192.168.77.1", port: 7777, timeoutMs: 30_000 });
  const board = await pins(guest);
  let viewer, home, link;
  let failed = false;
  /** A step that is skipped after the first one that failed: what follows would only repeat it. */
  const step = (name, act) =>
    t.test(name, { skip: failed && "an earlier step failed" }, async (s) => {
      try {
        await act(s);
      } catch (error) {
        failed = true;
        throw error;
      }
    });
  const camera = (state) => until(`a status that says ${state}`, 10_000, () => home.status()?.camera === state);
  const plays = async () => {
    const { frames } = await viewer.arrived();
    await until("pictures", 15_000, async () => (await viewer.arrived()).frames > frames + 10);
  };

  try {
    await step("a camera that is always on rests while the switch stands on privacy at the start", async () => {
      await guest.run(`
        systemctl stop farol lab-camera lab-tone 2>/dev/null || true
        install -m 755 /lab/farol /usr/bin/farol
        install -D -m 644 /lab/farol.toml ${CONFIG}
        sed -i 's/^\\[video\\]/[video]\\ncapture = "always"/' ${CONFIG}
        cat >>${CONFIG} <<'END'
${PINS}
END
        for file in /lab/systemd/*.service; do install -m 644 $file /etc/systemd/system/; done
        for file in /lab/systemd/*sysusers*; do systemd-sysusers $file; done
        install -m 644 /lab/systemd/*.rules /etc/udev/rules.d/
        udevadm control --reload
        udevadm trigger --settle --subsystem-match=gpio
        systemctl daemon-reload
        farol check --config ${CONFIG}
        systemd-run --quiet --collect --unit=lab-camera ${CAMERA}
        systemd-run --quiet --collect --unit=lab-tone /lab/lab-tone hw:Loopback,0`);
      await board.pull(0, true);
      home = await listen("farol");
      await guest.run("systemctl start farol");
      await camera("private");
      assert.equal(await capturing(guest), 0, "neither camera nor microphone is open");
      assert.equal(await board.isLit(), false);
    });

    await step("a viewer connects and stays, and sees and hears nothing", async () => {
      const printed = await guest.run(`farol pair lab-pins --rights view,listen --config ${CONFIG}`);
      link = printed.match(/http:\/\/\S+#1\.\S+/)?.[0];
      assert.ok(link, `farol pair prints a link, not: ${printed}`);
      viewer = await watch(link);
      await until("a connection", 15_000, async () => (await viewer.states()).includes("connected"));
      await wait(1500);
      assert.equal((await viewer.arrived()).packets, 0);
      assert.equal(await board.isLit(), false, "nothing leaves");
      assert.equal(await capturing(guest), 0);
    });

    await step("privacy is over: the picture comes, and the LED is lit", async () => {
      await board.pull(0, false);
      await plays();
      assert.equal(await board.isLit(), true);
      await camera("ready");
    });

    for (const round of [1, 2, 3]) {
      await step(`the switch stops picture and sound at once, and gives them back (${round})`, async (s) => {
        const { begun_ms, out_ms } = await board.hide();
        await camera("private");
        await wait(500);
        const { packets, captured_ms } = await viewer.arrived();
        await wait(1500);
        assert.equal((await viewer.arrived()).packets, packets, "not one packet more");
        assert.ok(captured_ms > 0, "the page knows when the newest of it was captured");
        assert.equal(await capturing(guest), 0);
        assert.ok((await viewer.states()).includes("connected"), "the viewer stays connected");
        const said = await guest.run("journalctl -u farol -o json --no-pager --grep '^privacy: ' -n 1");
        const told_ms = Number(JSON.parse(said).__REALTIME_TIMESTAMP) / 1000;
        const took = { led: out_ms - begun_ms, journal: told_ms - begun_ms, capture: captured_ms - begun_ms };
        const shown = Object.entries(took).map(([what, ms]) => `${what} ${ms.toFixed(0)} ms`);
        s.diagnostic(`after the switch, debounced for 30 ms, the last of: ${shown.join(", ")}`);
        for (const [what, ms] of Object.entries(took)) assert.ok(ms < PRIVACY_MS, `${what}: ${ms} ms`);
        await board.pull(0, false);
        await plays();
        assert.equal(await board.isLit(), true);
      });
    }

    await step("motion is published for home automation, not retained, and viewers may not read it", async () => {
      const kid = link.match(/#1\.[^.]+\.([^.]+)\./)?.[1];
      const nosy = await listen(kid);
      for (const n of [1, 3]) {
        const now_ms = Number(await guest.run("date +%s%3N"));
        await board.pull(2, true);
        await until("motion", 5000, () => home.events.length === n);
        await board.pull(2, false);
        await until("its end", 10_000, () => home.events.length === n + 1);
        const [active, over] = home.events.slice(-2);
        assert.match(active.topic, /^farol\/1\/[0-9a-f]{32}\/event\/motion$/);
        for (const [event, state, count] of [[active, "active", n], [over, "over", n + 1]]) {
          const { boot } = home.status();
          const { v, at_ms } = event;
          assert.deepEqual({ ...event }, { v, boot, n: count, state, at_ms, topic: active.topic, retain: false });
        }
        assert.ok(active.at_ms >= now_ms && active.at_ms < now_ms + 10_000, `${active.at_ms} beside ${now_ms}`);
        assert.ok(over.at_ms - active.at_ms >= 2000, "it is held");
      }
      assert.ok(nosy.status(), "a viewer reads the status");
      assert.deepEqual(nosy.events, [], "and nothing else");
      await nosy.end();
    });

    await step("the LED is lit only while somebody is sent something", async () => {
      assert.equal(await board.isLit(), true);
      await viewer.close();
      viewer = undefined;
      await until("the LED to go out", 45_000, async () => !(await board.isLit()));
      assert.equal(await capturing(guest) > 0, true, "though the camera is always on");
      viewer = await watch(link);
      await plays();
      assert.equal(await board.isLit(), true);
    });

    await step("a crash ends neither the privacy of a button nor anything else that it must not", async () => {
      await guest.run(`sed -i 's/^kind = "switch"/kind = "button"/' ${CONFIG}; systemctl restart farol`);
      await camera("ready");
      await board.pull(0, true);
      await camera("private");
      await board.pull(0, false);
      await guest.run("systemctl kill --signal=KILL farol");
      await until("another process", 20_000, async () => (await guest.run("systemctl show farol -P NRestarts")) === "1");
      await until("a status of the new process", 10_000, () => home.status()?.state === "online");
      await camera("private");
      assert.equal(await capturing(guest), 0);
      await board.pull(0, true);
      await camera("ready");
      await board.pull(0, false);
    });

    await step("stopped, it leaves the LED dark", async () => {
      await until("the LED to be lit for the viewer who came back", 60_000, () => board.isLit(), 250);
      await guest.run("systemctl stop farol");
      assert.equal(await board.isLit(), false);
      assert.equal(await guest.run("systemctl show farol -P Result"), "success");
    });
  } finally {
    await viewer?.close();
    await home?.end();
    // The tests that share this boot begin with no camera, no viewer and the same device.
    await guest.attempt(`systemctl stop farol lab-camera lab-tone; farol revoke lab-pins --config ${CONFIG}`);
    guest.close();
  }
});
