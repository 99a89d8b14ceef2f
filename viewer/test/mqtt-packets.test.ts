import { describe, expect, test } from "vitest";

import { toHex, toUtf8 } from "../src/bytes";
import { type Incoming, PacketStream, connect, disconnect, pingreq, puback, publish, subscribe, unsubscribe } from "../src/mqtt-packets";

const bytes = (hex: string): Uint8Array => Uint8Array.from(hex.replaceAll(" ", "").match(/../g) ?? [], (pair) => parseInt(pair, 16));
const read = (hex: string): Incoming[] | undefined => new PacketStream(1_000).push(bytes(hex));

describe("what is written", () => {
  test("CONNECT: clean start, no will, a largest packet, and a login only when there is one", () => {
    const terms = { clientId: "a", keepAliveS: 60, maxPacketBytes: 0x8400 };
    expect(toHex(connect(terms))).toBe("1013" + "00044d515454" + "05" + "02" + "003c" + "05" + "2700008400" + "000161");
    const login = { username: "u", password: "p" };
    expect(toHex(connect({ ...terms, login }))).toBe("1019" + "00044d515454" + "05" + "c2" + "003c" + "05" + "2700008400" + "000161" + "000175" + "000170");
  });

  test("PUBLISH: QoS 1, not retained, with an expiry", () => {
    expect(toHex(publish(7, "a/b", 30, toUtf8("hi")))).toBe("320f" + "0003612f62" + "0007" + "05" + "020000001e" + "6869");
  });

  test("a length above 127 takes two bytes", () => {
    expect(toHex(publish(1, "a", 30, new Uint8Array(200))).slice(0, 6)).toBe("32d301");
  });

  test("SUBSCRIBE, UNSUBSCRIBE, PUBACK, PINGREQ, DISCONNECT", () => {
    expect(toHex(subscribe(1, ["a", "b"]))).toBe("820b" + "0001" + "00" + "00016101" + "00016201");
    expect(toHex(unsubscribe(2, ["a"]))).toBe("a206" + "0002" + "00" + "000161");
    expect([puback(3), pingreq(), disconnect()].map(toHex)).toEqual(["40020003", "c000", "e000"]);
  });
});

describe("what is read", () => {
  test("CONNACK, with the broker's keep alive among other properties", () => {
    expect(read("20 03 00 00 00")).toEqual([{ type: "connack", reason: 0 }]);
    expect(read("20 02 00 87")).toEqual([{ type: "connack", reason: 0x87 }]);
    const properties = "12 0002 1313" + "26 0001 13 0001 13" + "22 000a" + "2a 01" + "13 0014";
    expect(read(`20 17 00 00 14 ${properties}`)).toEqual([{ type: "connack", reason: 0, keepAliveS: 20 }]);
  });

  test("PUBLISH of QoS 0 and 1, retained or not, with properties skipped", () => {
    expect(read("31 06 0001 61 00 6869")).toEqual([{ type: "publish", topic: "a", payload: toUtf8("hi") }]);
    expect(read("32 0d 0001 61 0009 05 020000001e 6869")).toEqual([{ type: "publish", topic: "a", payload: toUtf8("hi"), packetId: 9 }]);
    expect(read("31 04 0001 61 00")).toEqual([{ type: "publish", topic: "a", payload: new Uint8Array() }]);
  });

  test("SUBACK tells each reason", () => {
    expect(read("90 05 0001 00 01 87")).toEqual([{ type: "suback", packetId: 1, reasons: [1, 0x87] }]);
  });

  test("PUBACK, UNSUBACK, PINGRESP, DISCONNECT", () => {
    expect(read("40 02 0001  40 03 0002 10  b0 04 0003 00 00  d0 00  e0 00  e0 01 8b")).toEqual([
      { type: "puback", packetId: 1, reason: 0 }, { type: "puback", packetId: 2, reason: 0x10 },
      { type: "unsuback", packetId: 3 }, { type: "pingresp" },
      { type: "disconnect", reason: 0 }, { type: "disconnect", reason: 0x8b },
    ]);
  });

  test("packets are found wherever the frames that carry them are cut", () => {
    const all = bytes("20 03 00 00 00  31 06 0001 61 00 6869  d0 00");
    const whole = new PacketStream(1_000).push(all);
    expect(whole).toHaveLength(3);
    for (let cut = 1; cut < all.length; cut += 1) {
      const stream = new PacketStream(1_000);
      const parts = [all.subarray(0, cut), all.subarray(cut)].flatMap((part) => stream.push(part) ?? []);
      expect(parts).toEqual(whole);
    }
  });

  test.each([
    ["QoS 2, which was not asked for", "34 08 0001 61 0001 00 6869"],
    ["a topic beyond the packet's end", "31 04 0009 61 00"],
    ["properties beyond the packet's end", "31 05 0001 61 09 68"],
    ["a topic that is not UTF-8", "31 04 0001 ff 00"],
    ["a length of five bytes", "31 ff ff ff ff 01"],
    ["a packet above the largest", "31 e9 07"],
    ["a packet that only clients send", "c0 00"],
    ["a SUBACK without an id", "90 01 00"],
    ["an empty CONNACK", "20 00"],
  ])("%s ends the stream", (_what, hex) => {
    expect(read(hex)).toBeUndefined();
  });
});
