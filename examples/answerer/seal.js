// Seals and opens messages of farol/1 with WebCrypto: "Keys" in docs/protocol.md.
const { subtle } = crypto;
const utf8 = (text) => new TextEncoder().encode(text);
const hex = (bytes) => [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
const random = (count) => crypto.getRandomValues(new Uint8Array(count));

export const randomId = () => hex(random(16));
export const digest = async (sdp) => toBase64url(await subtle.digest("SHA-256", utf8(sdp)));

function toBase64url(bytes) {
  const plain = btoa(String.fromCharCode(...new Uint8Array(bytes)));
  return plain.replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

function fromBase64url(text) {
  return Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (char) => char.charCodeAt(0));
}

function u64be(n) {
  const view = new DataView(new ArrayBuffer(8));
  view.setBigUint64(0, BigInt(n));
  return new Uint8Array(view.buffer);
}

/** Each part behind its length in two bytes. */
function lp(...parts) {
  const bytes = parts.map((part) => (typeof part === "string" ? utf8(part) : part));
  return Uint8Array.from(bytes.flatMap((part) => [part.length >> 8, part.length & 255, ...part]));
}

/** What three texts of a link are good for: the broker's password, sealing, and opening. */
export async function keyring(device, kid, secret) {
  const K = await subtle.importKey("raw", fromBase64url(secret), "HKDF", false, ["deriveKey", "deriveBits"]);
  const hkdf = { name: "HKDF", hash: "SHA-256" };
  const derivation = (salt, ...info) => ({ ...hkdf, salt: utf8(salt), info: lp("farol/1", ...info) });

  async function cipher(direction, ctx, type, n, iv) {
    const use = [{ name: "AES-GCM", length: 256 }, false, ["encrypt", "decrypt"]];
    const key = await subtle.deriveKey(derivation(ctx, direction, device, kid), K, ...use);
    const additionalData = lp("farol/1", direction, device, kid, ctx, type, u64be(n));
    return [{ name: "AES-GCM", iv, additionalData }, key];
  }

  /** The payload of a message from the device; throws when it was not sealed for this. */
  async function open(ctx, { t, n, ct }) {
    const bytes = fromBase64url(ct);
    const [iv, sealed] = [bytes.subarray(0, 12), bytes.subarray(12)];
    return JSON.parse(new TextDecoder().decode(await subtle.decrypt(...(await cipher("d2v", ctx, t, n, iv)), sealed)));
  }

  /** The standing offer, if it is within what it is called without. */
  async function openOffer(wire) {
    const offer = await open(`o${wire.offer}`, wire);
    if (offer.offer !== wire.offer || offer.rev !== wire.n) throw new Error("not the offer that it is called");
    return offer;
  }

  async function seal(ctx, type, n, payload, iv = random(12)) {
    const text = utf8(JSON.stringify(payload));
    const padded = new Uint8Array(Math.ceil(text.length / 1024) * 1024).fill(0x20);
    padded.set(text);
    const sealed = await subtle.encrypt(...(await cipher("v2d", ctx, type, n, iv)), padded);
    return { v: 1, t: type, n, ct: toBase64url([...iv, ...new Uint8Array(sealed)]) };
  }

  const password = toBase64url(await subtle.deriveBits(derivation("", "mqtt", device, kid), K, 24 * 8));
  return { password, seal, open, openOffer };
}
