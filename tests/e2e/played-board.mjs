// A board with everything, for what no machine without servos, lamp and switches can show: the device's end
// of farol-control/1, played in the page over a real data channel between two peer connections of its own.
//
// What a board really does with a request is tested against the daemon; here it is what the page asks for
// and shows.

/** Everything a board can have. */
export const EVERYTHING = {
  camera: "ready", microphone: "ready", talk: "free", watching: 2,
  night: { mode: "auto", is_night: true }, motion: { is_active: false, last_s: 190 }, lamp: 60,
  pan: { min: -90, max: 90, at: -20 }, tilt: { min: -30, max: 60, at: 10 },
  may: ["set", "snapshot", "move", "night", "lamp", "talk"],
};

/** Controls of each kind. */
export const CONTROLS = [
  { name: "brightness", label: "Brightness", kind: "integer", min: 0, max: 255, step: 1, default: 128, value: 150, settable: true },
  { name: "contrast", label: "Contrast", kind: "integer", min: 0, max: 255, step: 1, default: 32, value: 32, settable: true },
  { name: "white_balance_automatic", label: "White Balance, Automatic", kind: "boolean", default: true, value: true, settable: true },
  { name: "white_balance_temperature", label: "White Balance Temperature", kind: "integer", min: 2800, max: 6500, step: 10, default: 4600, value: 4600, settable: false },
  { name: "power_line_frequency", label: "Power Line Frequency", kind: "menu", entries: [[0, "Disabled"], [1, "50 Hz"], [2, "60 Hz"]], default: 1, value: 2, settable: true },
  { name: "auto_focus_start", label: "Start Auto Focus", kind: "button", settable: true },
];

/** What such a board counts: of this viewer, and of one on a bad network. */
const ME = {
  name: "Ana's phone", state: "streaming", since_s: 734, path: { kind: "host", local: {}, remote: {} }, estimate_bps: 6_100_000,
  sent_bps: 1_940_000, frames_per_s: 29.9, round_trip_ms: 11.6, frames_dropped: 0, lost: 3, repaired: 3, talks: false, troubles: [],
};
const OTHER = { ...ME, name: "Rui", path: "relay", estimate_bps: 420_000, sent_bps: 380_000, round_trip_ms: 87, troubles: ["thinned"] };

/** Puts a played board behind the page; it waits until the page has heard from the real one. */
export async function playBoard(viewer, state = EVERYTHING, controls = CONTROLS) {
  await viewer.page.waitForFunction(() => document.querySelector("farol-camera").board !== undefined);
  await viewer.page.evaluate(play, { state, controls, me: ME, viewers: [{ ...ME, path: "host" }, OTHER] });
  return {
    /** What the page asked for so far, without `v` and `id`. */
    asked: () => viewer.page.evaluate(() => globalThis.board.asked),
    /** Tells the page that the board is now otherwise. */
    tell: (change) => viewer.page.evaluate((news) => globalThis.board.tell(news), change),
    /** Refuses whatever is asked from now on. */
    refuse: (code, text) => viewer.page.evaluate((why) => (globalThis.board.refusal = why), { code, text }),
  };
}

async function play({ state, controls, me, viewers }) {
  const [device, viewer] = [new RTCPeerConnection(), new RTCPeerConnection()];
  device.onicecandidate = ({ candidate }) => viewer.addIceCandidate(candidate);
  viewer.onicecandidate = ({ candidate }) => device.addIceCandidate(candidate);
  // The page's own connection is the one that shows the picture; it is handed the channel as if it were its own.
  const shown = globalThis.farolTest.peers.findLast((peer) => peer.connectionState === "connected");
  const channel = device.createDataChannel("farol-control/1");
  viewer.ondatachannel = ({ channel: end }) => shown.ondatachannel({ channel: end });
  const asked = [];
  const say = (message) => channel.send(JSON.stringify({ v: 1, ...message }));
  const board = {
    asked,
    refusal: undefined,
    tell: (news) => say({ t: "state", state: Object.assign(state, news) }),
  };
  const replies = {
    controls: () => ({ controls }),
    status: () => ({ state }),
    stats: () => ({ me, viewers, more: 0 }),
    set: ({ control, value }) => ({ value: Object.assign(controls.find(({ name }) => name === control), { value }).value }),
    move: ({ pan, tilt }) => (Object.assign(state.pan, { at: pan }), Object.assign(state.tilt, { at: tilt }), { pan, tilt }),
    night: ({ mode }) => (Object.assign(state.night, { mode }), {}),
    lamp: ({ level }) => (Object.assign(state, { lamp: level }), {}),
  };
  channel.onmessage = ({ data }) => {
    const { v, id, ...request } = JSON.parse(data);
    asked.push(request);
    if (board.refusal !== undefined) return say({ t: "error", id, ...board.refusal });
    say({ t: "ok", id, ...replies[request.t](request) });
    if (!["controls", "stats"].includes(request.t)) say({ t: "state", state });
  };
  const opened = new Promise((done) => (channel.onopen = done));
  await device.setLocalDescription(await device.createOffer());
  await viewer.setRemoteDescription(device.localDescription);
  await viewer.setLocalDescription(await viewer.createAnswer());
  await device.setRemoteDescription(viewer.localDescription);
  await opened;
  say({ t: "state", state });
  globalThis.board = board;
}
