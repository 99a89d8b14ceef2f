// A name server for the guest, with the names that a test gives it: IPv4 addresses (RFC 1035, §4.1).
import { createSocket } from "node:dgram";

const A = 1;
const HEADER_BYTES = 12;
/** In the flags: a response, with authority (AA), recursion as it was asked for (RD), and available (RA). */
const RESPONSE = 0x8480;
const RECURSION_DESIRED = 0x0100;
const NO_SUCH_NAME = 3;

/** Answers at an address until it is closed; `asked` is every name that was asked for. */
export async function nameServer({ address, names }) {
  const socket = createSocket("udp4");
  const asked = [];
  socket.on("message", (query, { address, port }) => {
    const { name, type, end } = question(query);
    asked.push(name);
    const found = type === A ? names[name] : undefined;
    const header = Buffer.from(query.subarray(0, HEADER_BYTES));
    const status = name in names ? 0 : NO_SUCH_NAME;
    header.writeUInt16BE(RESPONSE | (query.readUInt16BE(2) & RECURSION_DESIRED) | status, 2);
    // One question, as asked; what follows it in the query (EDNS) is left out.
    [1, found === undefined ? 0 : 1, 0, 0].forEach((count, at) => header.writeUInt16BE(count, 4 + 2 * at));
    // A pointer to the name in the question; type A, class IN, good for no second, four bytes.
    const answer = found === undefined ? [] : [0xc0, HEADER_BYTES, 0, A, 0, 1, 0, 0, 0, 0, 0, 4, ...found.split(".").map(Number)];
    socket.send(Buffer.concat([header, query.subarray(HEADER_BYTES, end), Buffer.from(answer)]), port, address);
  });
  await new Promise((bound, failed) => socket.once("error", failed).bind(53, address, bound));
  return { asked, close: () => new Promise((closed) => socket.close(closed)) };
}

/** The one question of a query, and where it ends. */
function question(query) {
  const labels = [];
  let at = HEADER_BYTES;
  for (let length; (length = query[at]) > 0; at += 1 + length) labels.push(query.toString("latin1", at + 1, at + 1 + length));
  return { name: labels.join(".").toLowerCase(), type: query.readUInt16BE(at + 1), end: at + 5 };
}
