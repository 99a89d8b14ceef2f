// A viewer of a farol camera in plain JavaScript: "Coming in" of docs/protocol.md, for one session. Reload for the next.
import mqtt from "mqtt";
import { digest, keyring, randomId } from "./seal.js";

const [, device, kid, secret, ...rest] = location.hash.slice(1).split(".");
const [broker, session, wants] = [rest.join("."), randomId(), ["view", "listen"]];
const [STATUS, OFFER] = [`farol/1/${device}/status`, `farol/1/${device}/offer/${kid}`];
const [OUT, IN] = ["out", "in"].map((way) => `farol/1/${device}/${way}/${kid}/${session}`);
const keys = await keyring(device, kid, secret);
const answered = new Set(); // ids of offers: each is answered once

let status, standing, isLate; // what the broker keeps, and whether it has had 300 ms to hand it over
let boot, current, peer; // the session's boot, its offer, and its connection
let [sent, heard, found] = [0, 0, []];
let [sending, hearing] = [Promise.resolve(), Promise.resolve()]; // sealing takes a while, and messages keep their order

const say = (text) => (document.querySelector("p").textContent = text);
const context = () => `s${boot}.${session}`;
const inTurn = (task) => (hearing = hearing.then(task).catch((fault) => console.warn("dropped:", fault)));

function send(type, payload) {
  const n = ++sent;
  const publish = (wire) => client.publish(IN, JSON.stringify(wire), { qos: 1 });
  sending = sending.then(() => keys.seal(context(), type, n, payload)).then(publish);
}

async function hear(from, text) {
  const wire = JSON.parse(text || "null"); // empty: what was kept is cleared
  if (from === OUT) return heed(wire, await keys.open(context(), wire));
  if (from === STATUS) status = wire;
  if (from === OFFER) standing = wire && (await keys.openOffer(wire));
  return begin();
}

/** Answers the standing offer if it is of the device's present boot; asks for one when it is late and there is none. */
async function begin() {
  if (boot || !status) return;
  if (standing?.boot === status.boot) return answer(standing);
  if (isLate) send("hello", { boot: (boot = status.boot), wants });
}

async function heed({ t: type, n }, message) {
  if (n <= heard) return; // said before
  heard = n;
  if (type === "accept") say(`May ${message.rights.join(" and ")}.`);
  else if (type === "offer") await answer(message);
  else if (type === "reoffer") await answer(message, peer); // an ICE restart
  else if (type === "reject" && message.offer) await answer(message.offer); // another was first: here is one of our own
  else if (type === "reject") say(`Refused: ${message.code}.`);
  else if (type === "bye") say(`Goodbye: ${message.reason}.`);
  if (type !== "candidates" || message.offer !== current?.offer) return;
  for (const candidate of message.list) await peer.addIceCandidate(candidate);
}

async function answer(offer, on) {
  if (answered.has(offer.offer) || offer.boot !== (boot ??= offer.boot)) return;
  answered.add(offer.offer);
  [current, peer, found] = [offer, on ?? newPeer(offer), []];
  await peer.setRemoteDescription({ type: "offer", sdp: offer.sdp });
  const { sdp } = await peer.createAnswer();
  send("answer", { boot, offer: offer.offer, rev: offer.rev, digest: await digest(offer.sdp), wants, sdp });
  await peer.setLocalDescription({ type: "answer", sdp }); // from here on candidates are found
}

function newPeer({ ice_servers: iceServers, ice_transport_policy: iceTransportPolicy = "all" }) {
  peer?.close();
  const made = new RTCPeerConnection({ iceServers, iceTransportPolicy });
  made.ontrack = ({ streams: [stream] }) => (document.querySelector("video").srcObject = stream);
  const trickle = () => found.length > 0 && send("candidates", { offer: current.offer, list: found.splice(0) });
  made.onicecandidate = ({ candidate: is }) => is?.candidate && found.push(is) === 1 && setTimeout(trickle, 10);
  const ask = () => made.connectionState === "disconnected" && send("restart", { reason: "disconnected" });
  made.onconnectionstatechange = () => made.connectionState === "disconnected" && setTimeout(ask, 2_000);
  return made;
}

const login = new URL(broker).username ? {} : { username: kid, password: keys.password }; // the URL's goes before
const client = mqtt.connect(broker, { ...login, protocolVersion: 5, clientId: `viewer-${randomId()}` });
client.on("message", (from, bytes) => bytes.length <= 32_768 && inTurn(() => hear(from, String(bytes))));
client.subscribe([OUT, STATUS, OFFER], { qos: 1 }, () => setTimeout(() => inTurn(() => begin((isLate = true))), 300));
