// Two pages that show Janus's mountpoint: one with the least that it takes, a script of 60 lines and no library; and
// one as Janus's documentation has people write it, with the library for pages that comes with Janus.
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";

const LIBRARIES = ["webrtc-adapter/adapter.min.js", "janus-gateway/janus.min.js"];
const SCRIPT = "text/javascript";

/** Serves one of them for a Janus; its address. Ended with the scope. */
export async function page(scope, webSocketPort, { hasLibrary }) {
  const libraries = hasLibrary ? LIBRARIES : [];
  const read = libraries.map(async (name) => [`/${name}`, [SCRIPT, await readFile(`/usr/share/javascript/${name}`)]]);
  const files = {
    "/": ["text/html", html([...libraries, "watch.js"])],
    "/watch.js": [SCRIPT, `(${hasLibrary ? watchByLibrary : watch})(${webSocketPort});`],
    ...Object.fromEntries(await Promise.all(read)),
  };
  const server = createServer((request, response) => {
    const [type, text] = files[request.url] ?? [];
    response.writeHead(type ? 200 : 404, { "content-type": type ?? "text/plain" });
    response.end(text);
  });
  await new Promise((listening) => server.listen(0, "127.0.0.1", listening));
  scope.after(() => {
    server.closeAllConnections();
    return new Promise((closed) => server.close(closed));
  });
  return `http://127.0.0.1:${server.address().port}/`;
}

const html = (scripts) => `<!doctype html>
<meta charset="utf-8">
<title>Janus</title>
${scripts.map((name) => `<script src="${name}" defer></script>`).join("\n")}
<video autoplay muted playsinline></video>`;

/** Runs in the page: asks to watch, answers the offer, shows what comes. */
function watch(port) {
  const socket = new WebSocket(`ws://127.0.0.1:${port}/`, "janus-protocol");
  const waiting = new Map();
  let [session_id, handle_id, transaction] = [undefined, undefined, 0];
  function ask(request, kind) {
    transaction += 1;
    const key = `${kind} ${transaction}`;
    socket.send(JSON.stringify({ ...request, session_id, handle_id, transaction: String(transaction) }));
    return new Promise((resolve) => waiting.set(key, resolve));
  }
  socket.onmessage = ({ data }) => {
    const said = JSON.parse(data);
    waiting.get(`${said.janus} ${said.transaction}`)?.(said);
  };
  socket.onopen = async () => {
    session_id = (await ask({ janus: "create" }, "success")).data.id;
    handle_id = (await ask({ janus: "attach", plugin: "janus.plugin.streaming" }, "success")).data.id;
    const { jsep } = await ask({ janus: "message", body: { request: "watch", id: 1 } }, "event");
    const peer = new RTCPeerConnection();
    const video = document.querySelector("video");
    peer.ontrack = ({ track }) => {
      video.srcObject = new MediaStream([track]);
      video.requestVideoFrameCallback(() => {});
    };
    // It does not wait for its own candidates: Janus learns its address from its checks.
    peer.onicecandidate = ({ candidate }) => {
      if (candidate) void ask({ janus: "trickle", candidate }, "ack");
    };
    await peer.setRemoteDescription(jsep);
    const answer = await peer.createAnswer();
    void ask({ janus: "message", body: { request: "start" }, jsep: answer }, "event");
    await peer.setLocalDescription(answer);
  };
}

/** Runs in the page: the same with `janus.js`, in the order of its documentation. */
function watchByLibrary(port) {
  const { Janus } = globalThis;
  Janus.init({
    debug: false,
    callback() {
      const session = new Janus({ server: `ws://127.0.0.1:${port}/`, success: attach });
      function attach() {
        let streaming;
        session.attach({
          plugin: "janus.plugin.streaming",
          success(handle) {
            streaming = handle;
            streaming.send({ message: { request: "watch", id: 1 } });
          },
          onmessage(_message, jsep) {
            if (!jsep) return;
            streaming.createAnswer({
              jsep,
              tracks: [],
              success: (answer) => streaming.send({ message: { request: "start" }, jsep: answer }),
            });
          },
          onremotetrack(track, _mid, isOn) {
            const video = document.querySelector("video");
            if (!isOn || video.srcObject) return;
            Janus.attachMediaStream(video, new MediaStream([track]));
            video.requestVideoFrameCallback(() => {});
          },
        });
      }
    },
  });
}
