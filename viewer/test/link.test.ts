import { describe, expect, test } from "vitest";

import { toBase64url } from "../src/bytes";
import { formatFragment, parseFarolJson, parseFragment } from "../src/link";
import { fixture } from "./fixtures";

interface Links {
  good: { fragment: string; device: string; kid: string; key: string; broker: string }[];
  bad: { fragment: string; why: string }[];
}

const links = fixture("links.json") as Links;
const DEVICE = "00112233445566778899aabbccddeeff";

describe("links", () => {
  test.each(links.good)("a good link is read, and written as it was: $fragment", (good) => {
    const parsed = parseFragment(`#${good.fragment}`);
    if (!parsed.ok) throw new Error(parsed.fault);
    const { link } = parsed;
    expect(link.device).toBe(good.device);
    if (link.access.mode === "sealed") {
      expect([link.access.kid, toBase64url(link.access.key)]).toEqual([good.kid, good.key]);
    } else {
      expect([good.kid, good.key]).toEqual(["open", ""]);
    }
    expect(formatFragment(link)).toBe(good.fragment);
    expect(good.fragment.endsWith(good.broker)).toBe(true);
  });

  test.each(links.bad)("a bad link is refused: $why", ({ fragment }) => {
    expect(parseFragment(fragment).ok).toBe(false);
  });

  test("what is wrong with a link is told", () => {
    const faults = ["", "1.x", "2.a.b.c.d", `1.${DEVICE}.0123456789abcdef.abc.ws://host`].map((fragment) => {
      const parsed = parseFragment(fragment);
      return parsed.ok ? "none" : parsed.fault;
    });
    expect(faults).toEqual(["incomplete", "incomplete", "version", "key"]);
  });

  test("user and password in the broker's address are the login, and leave the address", () => {
    const parsed = parseFragment(`1.${DEVICE}.open..wss://anna:s%40cret@host/mqtt`);
    expect(parsed.ok && parsed.link.broker).toEqual({
      url: "wss://host/mqtt",
      login: { username: "anna", password: "s@cret" },
    });
  });
});

describe("farol.json", () => {
  test.each([
    ["/mqtt", "http://cam.local:8080/", "ws://cam.local:8080/mqtt"],
    ["/mqtt", "https://cam.example.org/x/?y#z", "wss://cam.example.org/mqtt"],
    ["ws://other:9001/mqtt", "http://cam.local/", "ws://other:9001/mqtt"],
  ])("its broker %s on %s is %s", (broker, page, url) => {
    const parsed = parseFarolJson({ device: DEVICE, broker, unknown: 1 }, page);
    expect(parsed.ok && parsed.link).toEqual({ device: DEVICE, access: { mode: "open" }, broker: { url } });
  });

  test.each([[null], [[]], ["x"], [{ device: DEVICE }], [{ broker: "/mqtt" }], [{ device: "x", broker: "/mqtt" }],
    [{ device: DEVICE, broker: "//elsewhere.example/mqtt" }], [{ device: DEVICE, broker: "https://cam.local/mqtt" }],
    [{ device: DEVICE, broker: "mqtt" }],
  ])("%j is refused", (json) => {
    expect(parseFarolJson(json, "http://cam.local/").ok).toBe(false);
  });
});
