// Where the page gets its link from, and where the key stays.
//
// The fragment is never sent to a server, but it stands in the address bar, where a shared screen, a
// photo or a glance over the shoulder takes it along, and it is all that one needs to watch. So a good
// link is soon taken out of the address bar and kept in sessionStorage: that lives as long as the
// tab, so a reload works, and ends with it, so the key does not stay behind on a borrowed machine.
// The price is that a bookmark made afterwards has no key: the bookmark to keep is the link itself.
// A link that cannot be read stays where it is, so that it can be compared with the one received.

import { type Link, type LinkFault, parseFarolJson, parseFragment } from "./link";

const STORED = "farol-link";
const FAROL_JSON = "/farol.json";
/** In it the daemon that serves the page writes what `/farol.json` says; another server leaves it empty. */
const HOST_TAG = 'meta[name="farol-host"]';
const FETCH_TIMEOUT_MS = 8_000;

/** A link, or why there is none. */
export type Found = { ok: true; link: Link } | { ok: false; fault: LinkFault | "no-link" };

/** The link of this tab: from the address bar, kept from before a reload, or written into the page by its host. */
export function tabLink(): Found {
  const fragment = location.hash.slice(1);
  if (fragment === "") {
    const stored = read();
    return stored === null ? writtenLink() : parseFragment(stored);
  }
  return parseFragment(fragment);
}

/** Takes a good link out of the address bar. Not before the way to the broker is open: the storage takes its time. */
export function putLinkAway(): void {
  const fragment = location.hash.slice(1);
  if (fragment !== "" && parseFragment(fragment).ok && keep(fragment)) {
    history.replaceState(history.state, "", location.pathname + location.search);
  }
}

/** The link that the page's own host gives to everybody, if it gives one. */
export async function hostLink(): Promise<Found> {
  try {
    const signal = AbortSignal.timeout(FETCH_TIMEOUT_MS);
    const response = await fetch(FAROL_JSON, { signal, cache: "no-store", credentials: "same-origin" });
    if (!response.ok) return { ok: false, fault: "no-link" };
    return parseFarolJson(await response.json(), location.href);
  } catch {
    return { ok: false, fault: "no-link" };
  }
}

function writtenLink(): Found {
  try {
    // From the host that the script is from too, so it is trusted as much.
    return parseFarolJson(JSON.parse(document.querySelector<HTMLMetaElement>(HOST_TAG)?.content ?? ""), location.href);
  } catch {
    return { ok: false, fault: "no-link" };
  }
}

// Storage can be switched off, and then throws: the link then stays in the address bar.

function read(): string | null {
  try {
    return sessionStorage.getItem(STORED);
  } catch {
    return null;
  }
}

function keep(fragment: string): boolean {
  try {
    sessionStorage.setItem(STORED, fragment);
    return true;
  } catch {
    return false;
  }
}
