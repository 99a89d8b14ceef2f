// Where the page finds its link.
import { afterEach, expect, test, vi } from "vitest";

import { putLinkAway, tabLink } from "../src/link-source";

const DEVICE = "00112233445566778899aabbccddeeff";
const WRITTEN = JSON.stringify({ device: DEVICE, broker: "/mqtt" });

/** A tab at this address, with what is kept in it, and what its host wrote into the page. What is kept, and its address. */
function tab({ hash = "", kept = null as string | null, written = "" }): { kept: string | null; address?: string } {
  const state: { kept: string | null; address?: string } = { kept };
  const [host, protocol] = ["cam.local:8080", "http:"];
  vi.stubGlobal("location", { hash, host, protocol, href: `${protocol}//${host}/`, pathname: "/", search: "" });
  vi.stubGlobal("history", { state: null, replaceState: (_: null, __: string, address: string) => (state.address = address) });
  vi.stubGlobal("sessionStorage", { getItem: () => state.kept, setItem: (_: string, value: string) => (state.kept = value) });
  vi.stubGlobal("document", { querySelector: () => ({ content: written }) });
  return state;
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

test("a good link goes from the address bar into the tab, any other stays where it can be read", () => {
  const link = `1.${DEVICE}.open..wss://b.example/`;
  const good = tab({ hash: `#${link}` });
  putLinkAway();
  expect(good).toEqual({ kept: link, address: "/" });
  const bad = tab({ hash: "#1.damaged" });
  putLinkAway();
  expect(bad).toEqual({ kept: null });
});

test.each(["", "no JSON", "{}"])("where the host wrote %j there is none", (written) => {
  tab({ written });
  expect(tabLink().ok).toBe(false);
});
