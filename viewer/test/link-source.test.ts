// Where the page finds its link.
import { afterEach, expect, test, vi } from "vitest";

import { tabLink } from "../src/link-source";

const DEVICE = "00112233445566778899aabbccddeeff";
const WRITTEN = JSON.stringify({ device: DEVICE, broker: "/mqtt" });

/** A tab at this address, with what is kept in it, and what its host wrote into the page. */
function tab({ hash = "", kept = null as string | null, written = "" }): void {
  const [host, protocol] = ["cam.local:8080", "http:"];
  vi.stubGlobal("location", { hash, host, protocol, href: `${protocol}//${host}/`, pathname: "/", search: "" });
  vi.stubGlobal("history", { state: null, replaceState: () => undefined });
  vi.stubGlobal("sessionStorage", { getItem: () => kept, setItem: () => undefined });
  vi.stubGlobal("document", { querySelector: () => ({ content: written }) });
}
afterEach(() => vi.unstubAllGlobals());

test("without a link it is the one that the host wrote into the page", () => {
  tab({ written: WRITTEN });
  expect(tabLink()).toMatchObject({ ok: true, link: { device: DEVICE, access: { mode: "open" }, broker: { url: "ws://cam.local:8080/mqtt" } } });
});

test("a link goes before it, and so does one that was kept", () => {
  const link = `1.${DEVICE}.open..wss://b.example/`;
  for (const one of [{ hash: `#${link}` }, { kept: link }]) {
    tab({ ...one, written: WRITTEN });
    expect(tabLink()).toMatchObject({ ok: true, link: { broker: { url: "wss://b.example/" } } });
  }
});

test.each(["", "no JSON", "{}"])("where the host wrote %j there is none", (written) => {
  tab({ written });
  expect(tabLink().ok).toBe(false);
});
