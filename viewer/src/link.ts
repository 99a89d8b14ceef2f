// What a camera link says, and what is wrong with one that says too little.
//
//   <page>#1.<device>.<kid>.<key>.<broker url>     sealed
//   <page>#1.<device>.open..<broker url>           open: no key, whoever reaches the broker can watch
//   /farol.json = {"device", "broker"}             open, asked of the page's own host

import { fromBase64url, toBase64url } from "./bytes";

/** How signalling is protected: with a viewer's key, or not at all. */
export type Access =
  | { mode: "sealed"; kid: string; key: Uint8Array }
  | { mode: "open" };

/** The broker as a browser reaches it. */
export interface BrokerAddress {
  /** `ws:` or `wss:`, without user and password. */
  url: string;
  /** User and password when the link's URL carried them; they go before those made from the key. */
  login?: { username: string; password: string };
}

/** Everything that is needed to find one camera. */
export interface Link {
  /** 32 lower-case hexadecimal digits. */
  device: string;
  access: Access;
  broker: BrokerAddress;
}

/** What is wrong with a link. */
export type LinkFault = "incomplete" | "version" | "device" | "kid" | "key" | "broker";

/** A link, or what is wrong with it. */
export type ParsedLink = { ok: true; link: Link } | { ok: false; fault: LinkFault };

const KEY_BYTES = 32;

/** Whether the text is 128 bits as the protocol writes them: a device, boot, session or offer id. */
export function isId(text: unknown): text is string {
  return typeof text === "string" && /^[0-9a-f]{32}$/.test(text);
}

/** Reads a link's fragment, with or without its `#`. */
export function parseFragment(fragment: string): ParsedLink {
  const text = fragment.startsWith("#") ? fragment.slice(1) : fragment;
  const [version, device, kid, key, ...rest] = text.split(".");
  if (version !== "1") return { ok: false, fault: text === "" ? "incomplete" : "version" };
  if (device === undefined || kid === undefined || key === undefined || rest.length === 0) {
    return { ok: false, fault: "incomplete" };
  }
  return makeLink({ device, kid, key, broker: rest.join(".") });
}

/** Builds a link from its parts as text; an open link has the kid `open` and no key. */
export function makeLink(parts: { device: string; kid: string; key: string; broker: string }): ParsedLink {
  if (!isId(parts.device)) return { ok: false, fault: "device" };
  const access = parseAccess(parts.kid, parts.key);
  if (typeof access === "string") return { ok: false, fault: access };
  const broker = parseBroker(parts.broker);
  if (broker === undefined) return { ok: false, fault: "broker" };
  return { ok: true, link: { device: parts.device, access, broker } };
}

/** Writes a link's fragment, without the `#`. */
export function formatFragment(link: Link): string {
  const { access } = link;
  const [kid, key] = access.mode === "open" ? ["open", ""] : [access.kid, toBase64url(access.key)];
  return ["1", link.device, kid, key, formatBroker(link.broker)].join(".");
}

/**
 * Reads `/farol.json`. Its broker may be a path on the page's own host, such as `/mqtt`, so that one
 * daemon answers under any name and port that leads to it.
 */
export function parseFarolJson(json: unknown, page: string): ParsedLink {
  if (typeof json !== "object" || json === null) return { ok: false, fault: "incomplete" };
  const { device, broker } = json as { device?: unknown; broker?: unknown };
  if (typeof device !== "string") return { ok: false, fault: "device" };
  if (typeof broker !== "string") return { ok: false, fault: "broker" };
  return makeLink({ device, kid: "open", key: "", broker: resolveBroker(broker, page) });
}

function parseAccess(kid: string, key: string): Access | LinkFault {
  if (kid === "open") return key === "" ? { mode: "open" } : "key";
  if (!/^[0-9a-f]{16}$/.test(kid)) return "kid";
  const bytes = fromBase64url(key);
  if (bytes === undefined || bytes.length !== KEY_BYTES) return "key";
  return { mode: "sealed", kid, key: bytes };
}

function parseBroker(text: string): BrokerAddress | undefined {
  // URL() trims and drops white space, which "the URL as it stands" does not allow.
  if (/\s/.test(text) || !/^wss?:\/\//.test(text)) return undefined;
  let url: URL;
  let username: string;
  let password: string;
  try {
    url = new URL(text);
    username = decodeURIComponent(url.username);
    password = decodeURIComponent(url.password);
  } catch {
    return undefined;
  }
  // A WebSocket address has no fragment (RFC 6455 §3).
  if (text.includes("#")) return undefined;
  const hasLogin = url.username !== "" || url.password !== "";
  if (!hasLogin) return { url: text };
  url.username = "";
  url.password = "";
  return { url: url.href, login: { username, password } };
}

function formatBroker(broker: BrokerAddress): string {
  if (broker.login === undefined) return broker.url;
  const login = [broker.login.username, broker.login.password].map(encodeURIComponent).join(":");
  return broker.url.replace("://", `://${login}@`);
}

function resolveBroker(broker: string, page: string): string {
  // A path, and not `//host`, which would be another host's.
  if (!/^\/(?!\/)/.test(broker)) return broker;
  const { protocol, host } = new URL(page);
  return `${protocol === "https:" ? "wss:" : "ws:"}//${host}${broker}`;
}
