// Sound both ways between a browser and the board's sound card: a tone each, measured where it comes out.
//
//   the browser's microphone, 1 kHz ──► farol ──► hw:Loopback,0,1 ~~► hw:Loopback,1,1 ──► measured in the guest
//   measured in the page ◄── farol ◄── hw:Loopback,1 ◄~~ hw:Loopback,0 ◄── lab-tone, 440 Hz
import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "node:test";
import { chromium } from "playwright-core";
import { guest as call, until } from "./guest.mjs";

const CONFIG = "/etc/farol/farol.toml";
const PAGE = "http://192.168.77.2:8080";
const RATE_HZ = 48_000;
const SPOKEN = { hz: 1_000, peak: 0.5 };
/** What lab-tone plays: 8,000 of 32,768. */
const ROOM = { hz: 440, peak: 0.244 };

/** A sound file for Chromium's microphone, longer than the test: where it begins anew, some of it is skipped. */
function wav({ hz, peak }) {
  const data = Buffer.alloc(2 * 60 * RATE_HZ);
  for (let n = 0; n < 60 * RATE_HZ; n++) data.writeInt16LE(Math.round(Math.sin((2 * Math.PI * hz * n) / RATE_HZ) * peak * 32_767), 2 * n);
  const head = Buffer.alloc(44);
  head.write("RIFF", 0);
  head.writeUInt32LE(36 + data.length, 4);
  head.write("WAVEfmt ", 8);
  head.writeUInt32LE(16, 16);
  head.writeUInt16LE(1, 20);
  head.writeUInt16LE(1, 22);
  head.writeUInt32LE(RATE_HZ, 24);
  head.writeUInt32LE(2 * RATE_HZ, 28);
  head.writeUInt16LE(2, 32);
  head.writeUInt16LE(16, 34);
  head.write("data", 36);
  head.writeUInt32LE(data.length, 40);
  return Buffer.concat([head, data]);
}

/** The loudest tone within 3% of `hz`, to 1 Hz, and its peak. Runs here and in the page. */
function strongest(samples, rateHz, hz) {
  let best = { hz: 0, peak: 0 };
  for (let tried = Math.round(hz * 0.97); tried <= hz * 1.03; tried++) {
    let re = 0;
    let im = 0;
    for (let n = 0; n < samples.length; n++) {
      const turn = (2 * Math.PI * tried * n) / rateHz;
      re += samples[n] * Math.cos(turn);
      im += samples[n] * Math.sin(turn);
    }
    const peak = (2 * Math.hypot(re, im)) / samples.length;
    if (peak > best.peak) best = { hz: tried, peak };
  }
  return best;
}

/** Each tenth of a second that holds the tone, measured: a machine out of breath spoils some. */
function tenths(samples, hz) {
  const found = [];
  for (let at = 0; at + RATE_HZ / 10 <= samples.length; at += RATE_HZ / 10) {
    const one = strongest(samples.slice(at, at + RATE_HZ / 10), RATE_HZ, hz);
    if (one.peak > 0.05) found.push(one);
  }
  return found;
}

const middle = (values) => [...values].sort((a, b) => a - b)[values.length >> 1];
const about = (value, wanted, share) => Math.abs(value / wanted - 1) <= share;

async function openPage(link, directory) {
  const microphone = join(directory, "microphone.wav");
  await writeFile(microphone, wav(SPOKEN));
  const browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
      "--disable-component-update", "--disable-sync", "--autoplay-policy=no-user-gesture-required",
      "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream",
      `--use-file-for-fake-audio-capture=${microphone}`,
      // A microphone needs a secure page; the lab's is served without a certificate.
      `--unsafely-treat-insecure-origin-as-secure=${PAGE}`],
  });
  const page = await browser.newPage();
  page.on("pageerror", (error) => console.error(`page: ${error}`));
  await page.addInitScript(() => {
    // What keeps a call free of noise takes a steady tone for noise: the tone is to come through as it is.
    const ask = MediaDevices.prototype.getUserMedia;
    MediaDevices.prototype.getUserMedia = function () {
      return ask.call(this, { audio: { echoCancellation: false, noiseSuppression: false, autoGainControl: false } });
    };
  });
  await page.addInitScript(`globalThis.strongest = ${strongest}`);
  await page.goto(link);
  return {
    plays: () => until("the first picture", 20_000, () => page.locator("video").first().evaluate((video) => video.videoWidth > 0)),
    talk: () => page.locator("button.talk").click({ timeout: 10_000 }),
    /** The page gives the video element the sound after the first picture. */
    plays_sound: () => until("sound at the video element", 10_000, () =>
      page.locator("video").first().evaluate((video) => video.srcObject?.getAudioTracks().length > 0)),
    /** What the page hears of this tone, in its last third of a second. */
    hears: (hz) =>
      page.locator("video").first().evaluate((video, hz) => {
        const context = (globalThis.context ??= new AudioContext());
        globalThis.analyser ??= (() => {
          const analyser = new AnalyserNode(context, { fftSize: 16_384 });
          context.createMediaStreamSource(video.srcObject).connect(analyser);
          return analyser;
        })();
        const samples = new Float32Array(globalThis.analyser.fftSize);
        globalThis.analyser.getFloatTimeDomainData(samples);
        return globalThis.strongest(samples, context.sampleRate, hz);
      }, hz),
    close: () => browser.close(),
  };
}

test("a viewer and the board hear each other", { timeout: 240_000 }, async (t) => {
  const directory = await mkdtemp(join(tmpdir(), "farol-talk-"));
  const guest = await call({ host: "192.168.77.1", port: 7777, timeoutMs: 30_000 });
  let viewer;
  try {
    await guest.run(`
      systemctl stop farol lab-camera lab-tone 2>/dev/null || true
      install -m 755 /lab/farol /usr/bin/farol
      install -D -m 644 /lab/farol.toml ${CONFIG}
      for file in /lab/systemd/*.service; do install -m 644 $file /etc/systemd/system/; done
      for file in /lab/systemd/*sysusers*; do [ ! -e $file ] || systemd-sysusers $file; done
      systemctl daemon-reload
      systemd-run --quiet --collect --unit=lab-camera /lab/lab-camera /dev/video0 /lab/labcam.h264 640 480 30 /run/camera.count
      systemd-run --quiet --collect --unit=lab-tone /lab/lab-tone hw:Loopback,0
      systemctl start farol`);
    const printed = await guest.run(`farol pair lab-talker --rights view,listen,talk --config ${CONFIG}`);
    const link = printed.match(/http:\/\/\S+#1\.\S+/)?.[0];
    assert.ok(link, `farol pair prints a link, not: ${printed}`);
    viewer = await openPage(link, directory);
    await viewer.plays();
    await viewer.plays_sound();

    // The room, in the page.
    await until("the room's tone", 15_000, async () => (await viewer.hears(ROOM.hz)).peak > 0.1, 250);
    const heard = [];
    for (let n = 0; n < 8; n++) {
      heard.push(await viewer.hears(ROOM.hz));
      await new Promise((resolve) => setTimeout(resolve, 350));
    }
    const room = { hz: middle(heard.map(({ hz }) => hz)), peak: middle(heard.map(({ peak }) => peak)) };
    t.diagnostic(`the page hears ${room.hz} Hz at ${room.peak.toFixed(3)} of full scale; played: ${ROOM.hz} at ${ROOM.peak}`);
    assert.ok(about(room.hz, ROOM.hz, 0.005) && about(room.peak, ROOM.peak, 0.15));

    // The viewer, at the sound card; and the room is turned down meanwhile.
    await guest.run(
      "systemd-run --quiet --collect --unit=lab-ear arecord -q -D hw:Loopback,1,1 -f S16_LE -r 48000 -c 1 -t raw -d 8 /lab/ear.raw",
    );
    await viewer.talk();
    await until("the journal to say who speaks", 10_000, async () =>
      /viewer speaks/.test(await guest.run("journalctl -u farol -b -o cat --no-pager")), 250);
    await new Promise((resolve) => setTimeout(resolve, 2_000));
    const ducked = [];
    for (let n = 0; n < 5; n++) {
      ducked.push((await viewer.hears(ROOM.hz)).peak);
      await new Promise((resolve) => setTimeout(resolve, 350));
    }
    const down_db = 20 * Math.log10(room.peak / middle(ducked));
    await until("the recording", 15_000, async () => (await guest.attempt("systemctl is-active lab-ear")).status !== 0, 250);
    const { output } = await guest.attempt("cat /lab/ear.raw");
    const samples = Array.from({ length: output.length >> 1 }, (_, n) => output.readInt16LE(2 * n) / 32_768);
    const spoken = tenths(samples, SPOKEN.hz);
    const voice = { hz: middle(spoken.map(({ hz }) => hz)), peak: middle(spoken.map(({ peak }) => peak)) };
    t.diagnostic(
      `the sound card is given ${voice.hz} Hz at ${voice.peak.toFixed(3)} for ${spoken.length / 10} s; ` +
        `spoken: ${SPOKEN.hz} at ${SPOKEN.peak}; the room is ${down_db.toFixed(1)} dB softer meanwhile`,
    );
    assert.ok(spoken.length >= 30, `${spoken.length / 10} s of the tone are in the recording`);
    assert.ok(about(voice.hz, SPOKEN.hz, 0.01) && about(voice.peak, SPOKEN.peak, 0.15));
    assert.ok(down_db > 18 && down_db < 30, "talkback.duck_db is 24");

    // Nobody speaks any more: the room is as loud as before, and the sound card is free again.
    await viewer.talk();
    await until("the room's tone again", 10_000, async () => about((await viewer.hears(ROOM.hz)).peak, room.peak, 0.15), 250);
    await until("the speaker to be closed", 15_000, async () =>
      (await guest.run("cat /proc/asound/Loopback/pcm0p/sub1/status")).trim() === "closed", 250);
    assert.equal(await guest.run("systemctl show farol -P NRestarts"), "0");
  } catch (error) {
    const { output } = await guest.attempt("journalctl -u farol -u lab-tone -u lab-ear -b --no-pager -o short-monotonic | tail -n 40");
    console.error(output.toString());
    throw error;
  } finally {
    await viewer?.close();
    await guest.attempt("systemctl stop farol lab-camera lab-tone lab-ear");
    guest.close();
    await rm(directory, { recursive: true, force: true });
  }
});
