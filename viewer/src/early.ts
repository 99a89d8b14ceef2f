// How the broker's WebSocket is opened before anything else of the page is ready.
//
// A handshake takes one to several round trips, in which the rest of the script can be evaluated.

const SUBPROTOCOL = "mqtt";
let early: { url: string; socket: WebSocket } | undefined;

/** Opens the socket; whoever connects to the same address next gets it. */
export function openEarlySocket(url: string): void {
  try {
    const socket = new WebSocket(url, SUBPROTOCOL);
    socket.binaryType = "arraybuffer";
    early = { url, socket };
  } catch {
    // The same attempt is made again, and reported, where it is used.
    early = undefined;
  }
}

/** The socket that was opened for this address, once, and only while it can still be used. */
export function takeEarlySocket(url: string): WebSocket | undefined {
  const taken = early;
  early = undefined;
  if (taken === undefined) return undefined;
  const { socket } = taken;
  if (taken.url === url && socket.readyState <= WebSocket.OPEN) return socket;
  socket.close();
  return undefined;
}
