//! How is an encoder opened? Node, terms, controls, buffers, both queues on: in this order, which the
//! kernel's "Memory-to-Memory Stateful Video Encoder Interface" gives.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use super::controls::Controls;
use super::find::Encoder;
use super::setup::{self, Terms};
use super::{EncoderSettings, Imports, M2mEncoder, lost};
use crate::engine::h264::ParameterSets;
use crate::engine::picture::PixelFormat;
use crate::io::capture::Loss;
use crate::io::capture::sys::{Memory, Node};
use crate::units::MediaTime;

/// One being filled, one being encoded, and one on its way each time; more would only be delay.
const RAW_BUFFERS: u32 = 4;
/// As many as a camera has: a DMA buffer keeps the place where it was taken in first.
const IMPORT_BUFFERS: u32 = 8;
/// Emptied at each look, so that few are enough.
const CODED_BUFFERS: u32 = 4;
/// An encoder that knows what it gets, and has no buffers yet.
pub(super) struct Session {
    path: PathBuf,
    node: Node,
    encoder: Encoder,
    settings: EncoderSettings,
    pub terms: Terms,
}

impl Session {
    /// Opens the node and agrees on formats. `stride` is that of pictures that are not ours to lay out.
    pub(super) fn agree(
        path: &Path,
        settings: &EncoderSettings,
        (format, stride): (PixelFormat, Option<usize>),
    ) -> Result<Session, Loss> {
        let node = Node::open(path).map_err(|cause| lost("open", path, cause))?;
        let encoder = Encoder::of(&node, path)?;
        let terms = setup::agree(&node, path, &encoder, settings, (format, stride))?;
        Ok(Session { path: path.to_owned(), node, encoder, settings: settings.clone(), terms })
    }

    /// Sets the controls, makes the buffers and starts. `import_bytes` is the size of each DMA buffer that
    /// will come, when raw pictures stay where they are.
    pub(super) fn start(self, import_bytes: Option<usize>) -> Result<M2mEncoder, Loss> {
        let Session { path, node, encoder, settings, terms } = self;
        let (memory, count) = match import_bytes {
            Some(_) => (Memory::Dmabuf, IMPORT_BUFFERS),
            None => (Memory::Mmap, RAW_BUFFERS),
        };
        let mut controls = Controls::of(&node, &path);
        controls.set_up(&settings);
        let failed = |operation| {
            let path = &path;
            move |cause| lost(operation, path, cause)
        };
        let raw = node.buffers(encoder.raw, memory, count).map_err(failed("make buffers for pictures"))?;
        let coded = node
            .buffers(encoder.coded, Memory::Mmap, CODED_BUFFERS)
            .map_err(failed("make buffers for coded pictures"))?;
        if let Err(cause) = node.subscribe_end_of_stream() {
            // The flag on the last picture says the same, and is what newer drivers have.
            log::debug!(device:% = path.display(), cause:% = cause; "the encoder announces no end of stream");
        }
        let tokens = vec![None; raw.count()];
        let imports =
            import_bytes.map(|size_bytes| Imports { size_bytes, tokens, released: VecDeque::new() });
        let mut encoder = M2mEncoder {
            name: encoder.name,
            node,
            controls,
            settings,
            layout: terms.layout,
            parts: terms.parts,
            seen: terms.seen,
            raw,
            coded,
            filling: None,
            imports,
            parameter_sets: ParameterSets::new(),
            awaits_keyframe: true,
            unanswered: 0,
            unanswered_since: MediaTime::default(),
            restarts: 0,
            path: path.clone(),
        };
        encoder.begin().map_err(failed("start streaming"))?;
        Ok(encoder)
    }
}
