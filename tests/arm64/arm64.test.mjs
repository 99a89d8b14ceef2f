// What a person with a Pi would see who installs the package: it starts at boot, and the picture is in the browser.
//
// The steps share one boot; one that fails ends the test. Everything is emulated, so times are told and never judged.
import assert from "node:assert/strict";
import test from "node:test";
import mqtt from "mqtt";
import { launch, open } from "../e2e/browser.mjs";
import { guest as call, until } from "../lab/guest.mjs";

/** The boot takes 40 s on an idle machine; only a failing test waits for all of it. */
const BOOT_MS = 600_000;
/** For anything after it. */
const PATIENCE_MS = 120_000;
const PICTURES = 25;

/** What the broker keeps under farol/1, as an observer with the device's own rights sees it. */
async function observer() {
  const client = await mqtt.connectAsync("mqtt://192.168.77.1:1883", { username: "farol", protocolVersion: 5 });
  const kept = new Map();
  client.on("message", (topic, payload) => (payload.length > 0 ? kept.set(topic, payload) : kept.delete(topic)));
  await client.subscribeAsync(["farol/1/+/status", "farol/1/+/offer/+"], { qos: 1 });
  const named = (part) => [...kept].filter(([topic]) => topic.split("/")[3] === part).map(([, payload]) => JSON.parse(payload));
  return {
    state: () => named("status")[0]?.state,
    offers: () => named("offer").length,
    end: () => client.endAsync(),
  };
}

test("a board with Debian's arm64 kernel and the package", { timeout: 860_000 }, async (t) => {
  const begun = performance.now();
  const seen = await observer();
  t.after(() => seen.end());
  const guest = await call({ host: "192.168.77.1", port: 7777, timeoutMs: BOOT_MS });
  t.after(() => guest.close());
  const came_up_s = Math.round((performance.now() - begun) / 1000);

  let failed = false;
  /** A step that is skipped after the first one that failed: what follows would only repeat it. */
  const step = (name, act) =>
    t.test(name, { skip: failed && "an earlier step failed" }, async (s) => {
      try {
        await act(s);
      } catch (error) {
        failed = true;
        await guest.attempt("journalctl -b --no-pager -o short-monotonic >/lab/journal 2>&1");
        throw error;
      }
    });

  await step("is an arm64 machine with systemd as its first process", async (s) => {
    const machine = await guest.run("uname -srm; ps -p 1 -o comm=; dpkg --print-architecture; grep -m 1 'CPU part' /proc/cpuinfo");
    s.diagnostic(machine.replaceAll("\n", ", "));
    assert.match(machine, /^Linux \S+-arm64 aarch64\nsystemd\narm64\n.*0xd08/, "a Cortex-A72");
    s.diagnostic(`up ${came_up_s} s after it was switched on; ${await guest.run("systemd-analyze time | head -1")}`);
  });

  await step("the package is installed, and its service was started by the boot itself", async (s) => {
    const installed = await guest.run("dpkg-query -W -f '${Status} ${Version} ${Architecture}' farol");
    s.diagnostic(installed);
    assert.match(installed, /^install ok installed \S+ arm64$/);
    assert.equal(await guest.run("od -An -tx2 -j18 -N2 /usr/bin/farol"), " 00b7", "an ELF file for aarch64");
    await until("the service to be up", PATIENCE_MS, async () => (await guest.attempt("systemctl is-active farol")).status === 0, 500);
    const unit = await guest.run("systemctl show farol -P UnitFileState -P ActiveState -P NRestarts -P User -P DynamicUser");
    s.diagnostic(unit.replaceAll("\n", ", "));
    assert.deepEqual(unit.split("\n").filter(Boolean).sort(), ["0", "active", "enabled", "farol", "yes"].sort());
    const after_s = await guest.run("systemctl show farol -P ActiveEnterTimestampMonotonic");
    s.diagnostic(`ready ${(Number(after_s) / 1e6).toFixed(1)} s after the kernel began`);
  });

  let link;
  await step("a viewer is paired, and its offer waits on the broker outside", async (s) => {
    const printed = await guest.run("farol pair phone --rights view,listen");
    link = printed.match(/http:\/\/\S+#1\.\S+/)?.[0];
    assert.ok(link, `farol pair prints a link, not: ${printed}`);
    await until("an online status and one offer", PATIENCE_MS, () => seen.state() === "online" && seen.offers() === 1);
    s.diagnostic(`retained: status online, ${seen.offers()} offer`);
  });

  await step("a browser shows the camera's picture, and the LED is lit meanwhile", async (s) => {
    const lit = async () => /\bout hi\b/.test(await guest.run("grep -m 1 'gpio-[0-9]* *(.*farol' /sys/kernel/debug/gpio || true"));
    assert.equal(await lit(), false, "nobody watches yet");
    const browser = await launch();
    try {
      const asked = performance.now();
      const viewer = await open(browser, link);
      const decoded = async () => (await viewer.stats()).framesDecoded;
      await until("the first picture", PATIENCE_MS, async () => (await decoded()) > 0, 100);
      const first = performance.now();
      await until(`${PICTURES} pictures`, PATIENCE_MS, async () => (await decoded()) >= PICTURES, 100);
      const rate = (1000 * (PICTURES - 1)) / (performance.now() - first);
      const { width, height } = await viewer.page.evaluate(() => {
        const { videoWidth: width, videoHeight: height } = document.querySelector("farol-camera").video;
        return { width, height };
      });
      // A board that has no time for all of it sends three quarters or half of its size (src/engine/shed.rs).
      assert.ok(height > 80 && [320, 240, 160].includes(width), `${width}x${height}`);
      assert.equal(await lit(), true, "somebody watches");
      const table = await guest.run("farol status");
      assert.match(table, /^phone +streaming/m);
      s.diagnostic(`first picture ${((first - asked) / 1000).toFixed(1)} s after the link was opened, then ${rate.toFixed(1)} pictures of ${width}x${height} a second`);
      s.diagnostic(`${JSON.stringify(await viewer.stats())}\n${table}`);
      assert.deepEqual(viewer.errors, []);
      // A page that is left says so; one that is gone is missed half a minute later.
      await viewer.page.goto("about:blank");
      await until("the LED to go out", PATIENCE_MS, async () => !(await lit()), 500);
    } finally {
      await browser.close();
    }
  });

  await step("purged, it has cleared its offer and leaves nothing", async () => {
    // The whole disk would take a minute to search.
    await guest.run("dpkg -L farol | while read -r path; do [ -d $path ] || echo $path; done >/run/listed; test -s /run/listed");
    await guest.run("dpkg --purge farol");
    await until("an offline status and no offer", PATIENCE_MS, () => seen.state() === "offline" && seen.offers() === 0);
    const left = await guest.run("xargs ls -d </run/listed 2>/dev/null || true; find /etc /var -iname '*farol*' -not -path '/var/log/*'");
    assert.equal(left, "");
  });
});
