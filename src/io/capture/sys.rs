//! What of capture cannot be said in safe Rust? The only unsafe code of farol.
//!
//! Most of it is V4L2, the kernel's video API, as far as an encoder between two queues needs it (kernel
//! documentation, "Memory-to-Memory Stateful Video Encoder Interface"). The last part is two calls that
//! other sources need. Nothing here decides anything: what is safe, and could be written elsewhere, is.
//! Past 500 lines, so that all of it stands in one file.
//!
//! What must hold, and does since the fields are private:
//!
//! 1. A [`Request`] of a struct is encoded from that struct's size, so the kernel reads and writes no
//!    further than the struct that is handed over with it.
//! 2. The two structs that hold pointers, `v4l2_buffer` and `v4l2_ext_controls`, are handed over only where
//!    the pointer is set in the same function to an array that outlives the call.
//! 3. A driver writes into mapped memory only while it owns the buffer. [`Buffers`] alone queues and
//!    dequeues, keeps the account of who owns what, and lends nothing that is the driver's. There is one of
//!    them for each queue of an open file, which [`Node`] sees to.
//!
//! It is longer than other files because the unsafe code is meant to be in one place.
#![expect(unsafe_code, reason = "calls that the crates in use do not wrap; each block says why it is sound")]

use std::fs::{File, OpenOptions};
use std::io;
use std::marker::PhantomData;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use v4l::control::{Description, MenuItem, Type};
use v4l::v4l_sys::{
    self, timeval, v4l2_buffer, v4l2_capability, v4l2_encoder_cmd, v4l2_event, v4l2_event_subscription,
    v4l2_exportbuffer, v4l2_ext_control, v4l2_ext_controls, v4l2_fmtdesc, v4l2_format, v4l2_frmsizeenum,
    v4l2_plane, v4l2_query_ext_ctrl, v4l2_querymenu, v4l2_requestbuffers, v4l2_selection, v4l2_streamparm,
};

/// The most planes that a buffer of the multi-planar API has (`VIDEO_MAX_PLANES`).
const MAX_PLANES: usize = 8;
/// More entries than any driver lists, of formats, controls or a menu; one that never ends its list is not followed further.
const MAX_LISTED: u32 = 256;

/// A name as drivers write it: up to the first zero byte.
fn text(bytes: &[u8]) -> String {
    let name = bytes.split(|&byte| byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(name).into_owned()
}

/// A struct that an ioctl fills or reads.
///
/// # Safety
///
/// All its bits may be zero.
unsafe trait Argument: Copy {}

macro_rules! arguments {
    ($($name:ty),* $(,)?) => {
        $(
            // SAFETY: a C struct of integers, arrays and unions of them, and pointers, which may be null.
            unsafe impl Argument for $name {}
        )*
    };
}

arguments!(
    std::ffi::c_int,
    v4l2_buffer,
    v4l2_capability,
    v4l2_encoder_cmd,
    v4l2_event,
    v4l2_event_subscription,
    v4l2_exportbuffer,
    v4l2_ext_control,
    v4l2_ext_controls,
    v4l2_fmtdesc,
    v4l2_format,
    v4l2_frmsizeenum,
    v4l2_plane,
    v4l2_query_ext_ctrl,
    v4l2_querymenu,
    v4l2_requestbuffers,
    v4l2_selection,
    v4l2_streamparm,
);

fn zeroed<T: Argument>() -> T {
    // SAFETY: `Argument` promises that all its bits may be zero.
    unsafe { std::mem::zeroed() }
}

/// An ioctl's number together with the struct that it takes (the kernel's `_IOC`).
struct Request<T> {
    number: libc::Ioctl,
    takes: PhantomData<T>,
}

impl<T: Argument> Request<T> {
    const fn new(direction: u32, index: u32) -> Self {
        // asm-generic/ioctl.h, as on ARM, RISC-V and x86: 2 bits of direction, 14 of size, 8 of type, 8 of
        // index. The largest struct here has 208 bytes.
        let number = direction << 30 | (size_of::<T>() as u32) << 16 | (b'V' as u32) << 8 | index;
        Request { number: number as libc::Ioctl, takes: PhantomData }
    }
    const fn writes(index: u32) -> Self {
        Self::new(1, index)
    }
    const fn reads(index: u32) -> Self {
        Self::new(2, index)
    }
    const fn exchanges(index: u32) -> Self {
        Self::new(3, index)
    }
}

const QUERYCAP: Request<v4l2_capability> = Request::reads(0);
const ENUM_FMT: Request<v4l2_fmtdesc> = Request::exchanges(2);
#[cfg(test)]
const G_FMT: Request<v4l2_format> = Request::exchanges(4);
const S_FMT: Request<v4l2_format> = Request::exchanges(5);
const REQBUFS: Request<v4l2_requestbuffers> = Request::exchanges(8);
const QUERYBUF: Request<v4l2_buffer> = Request::exchanges(9);
const QBUF: Request<v4l2_buffer> = Request::exchanges(15);
const EXPBUF: Request<v4l2_exportbuffer> = Request::exchanges(16);
const DQBUF: Request<v4l2_buffer> = Request::exchanges(17);
const STREAMON: Request<std::ffi::c_int> = Request::writes(18);
const STREAMOFF: Request<std::ffi::c_int> = Request::writes(19);
const S_PARM: Request<v4l2_streamparm> = Request::exchanges(22);
const QUERYMENU: Request<v4l2_querymenu> = Request::exchanges(37);
#[cfg(test)]
const G_EXT_CTRLS: Request<v4l2_ext_controls> = Request::exchanges(71);
const S_EXT_CTRLS: Request<v4l2_ext_controls> = Request::exchanges(72);
const ENUM_FRAMESIZES: Request<v4l2_frmsizeenum> = Request::exchanges(74);
const ENCODER_CMD: Request<v4l2_encoder_cmd> = Request::exchanges(77);
const DQEVENT: Request<v4l2_event> = Request::reads(89);
const SUBSCRIBE_EVENT: Request<v4l2_event_subscription> = Request::writes(90);
const S_SELECTION: Request<v4l2_selection> = Request::exchanges(95);
const QUERY_EXT_CTRL: Request<v4l2_query_ext_ctrl> = Request::exchanges(103);

/// # Safety
///
/// Pointers inside `argument`, where its type has any, are valid for what the request does with them.
unsafe fn ioctl_with_pointers<T: Argument>(
    fd: BorrowedFd<'_>,
    request: &Request<T>,
    argument: &mut T,
) -> io::Result<()> {
    loop {
        // SAFETY: the descriptor is open while it is borrowed; the kernel touches `size_of::<T>()` bytes at
        // `argument`, since the request was encoded with that size; pointers inside are the caller's word.
        if unsafe { libc::ioctl(fd.as_raw_fd(), request.number, std::ptr::from_mut(argument)) } != -1 {
            return Ok(());
        }
        let cause = io::Error::last_os_error();
        if cause.kind() != io::ErrorKind::Interrupted {
            return Err(cause);
        }
    }
}

/// A struct that holds no pointer which the kernel follows.
trait Flat: Argument {}
impl Flat for std::ffi::c_int {}
impl Flat for v4l2_capability {}
impl Flat for v4l2_encoder_cmd {}
impl Flat for v4l2_event {}
impl Flat for v4l2_event_subscription {}
impl Flat for v4l2_exportbuffer {}
impl Flat for v4l2_fmtdesc {}
impl Flat for v4l2_frmsizeenum {}
impl Flat for v4l2_query_ext_ctrl {}
impl Flat for v4l2_querymenu {}
impl Flat for v4l2_requestbuffers {}
impl Flat for v4l2_selection {}
impl Flat for v4l2_streamparm {}
/// Its `win` has pointers, which only the overlay types mean; [`Queue`] has none of those.
impl Flat for v4l2_format {}

fn ioctl<T: Flat>(fd: BorrowedFd<'_>, request: &Request<T>, argument: &mut T) -> io::Result<()> {
    // SAFETY: there is no pointer inside.
    unsafe { ioctl_with_pointers(fd, request, argument) }
}

/// Which of a node's queues: the application's view, so an encoder's coded pictures are *captured*.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Queue {
    /// From the driver.
    Capture,
    /// To the driver.
    Output,
    /// From the driver, by the multi-planar API.
    CaptureMplane,
    /// To the driver, by the multi-planar API.
    OutputMplane,
}

impl Queue {
    fn number(self) -> u32 {
        match self {
            Queue::Capture => v4l_sys::v4l2_buf_type_V4L2_BUF_TYPE_VIDEO_CAPTURE,
            Queue::Output => v4l_sys::v4l2_buf_type_V4L2_BUF_TYPE_VIDEO_OUTPUT,
            Queue::CaptureMplane => v4l_sys::v4l2_buf_type_V4L2_BUF_TYPE_VIDEO_CAPTURE_MPLANE,
            Queue::OutputMplane => v4l_sys::v4l2_buf_type_V4L2_BUF_TYPE_VIDEO_OUTPUT_MPLANE,
        }
    }

    fn bit(self) -> u32 {
        // Numbers are at most 10.
        1 << self.number()
    }

    fn is_multiplanar(self) -> bool {
        matches!(self, Queue::CaptureMplane | Queue::OutputMplane)
    }
}

/// Where a queue's memory comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Memory {
    /// The driver's own, mapped by us.
    Mmap,
    /// Another driver's, handed over as a DMA buffer.
    Dmabuf,
}

/// What a queue's buffers hold.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(super) struct BufferFormat {
    /// Four characters.
    pub fourcc: [u8; 4],
    /// Pixels.
    pub width: u32,
    /// Lines.
    pub height: u32,
    /// For each part of a buffer that is memory of its own: bytes of a line, bytes of the whole. 0 leaves
    /// either to the driver.
    pub planes: Vec<(u32, u32)>,
}

/// What a control takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ControlRange {
    /// The lowest.
    pub min: i64,
    /// The highest.
    pub max: i64,
    /// Between two neighbours; at least 1.
    pub step: i64,
    /// `V4L2_CTRL_FLAG_*`.
    pub flags: u32,
}

/// An open V4L2 node. Copies are the same open file, so what is set through one holds for all.
#[derive(Clone, Debug)]
pub(super) struct Node(Arc<OpenNode>);

#[derive(Debug)]
struct OpenNode {
    file: File,
    /// A bit for each queue that has [`Buffers`], by its number.
    taken: AtomicU32,
}

impl AsFd for Node {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.file.as_fd()
    }
}

impl Node {
    /// Opens it so that no call waits; [`rustix::event::poll`] does.
    pub(super) fn open(path: &Path) -> io::Result<Node> {
        let file = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open(path)?;
        Ok(Node(Arc::new(OpenNode { file, taken: AtomicU32::new(0) })))
    }

    /// What the `v4l` crate has opened. It is the same open file, which is what a driver takes for the owner
    /// of a queue. Nobody else asks for buffers there; and if somebody did, the kernel would refuse it while
    /// ours are mapped, or leave ours to us and to nobody else (`V4L2_BUF_CAP_SUPPORTS_ORPHANED_BUFS`).
    pub(super) fn of(device: &v4l::Device) -> io::Result<Node> {
        let handle = device.handle();
        // SAFETY: the handle keeps the descriptor open, and lives until the end of this function.
        let descriptor = unsafe { BorrowedFd::borrow_raw(handle.fd()) };
        let file = File::from(descriptor.try_clone_to_owned()?);
        Ok(Node(Arc::new(OpenNode { file, taken: AtomicU32::new(0) })))
    }

    fn ioctl<T: Flat>(&self, request: &Request<T>, argument: &mut T) -> io::Result<()> {
        ioctl(self.as_fd(), request, argument)
    }

    /// VIDIOC_QUERYCAP.
    pub(super) fn capabilities(&self) -> io::Result<v4l2_capability> {
        let mut capability = zeroed();
        self.ioctl(&QUERYCAP, &mut capability)?;
        Ok(capability)
    }

    /// VIDIOC_ENUM_FMT: four characters of each format; none for a queue that the node does not have.
    pub(super) fn formats(&self, queue: Queue) -> io::Result<Vec<[u8; 4]>> {
        let mut formats = Vec::new();
        for index in 0..MAX_LISTED {
            let mut format = v4l2_fmtdesc { index, type_: queue.number(), ..zeroed() };
            match self.ioctl(&ENUM_FMT, &mut format) {
                Ok(()) => formats.push(format.pixelformat.to_le_bytes()),
                Err(cause) if cause.raw_os_error() == Some(libc::EINVAL) => break,
                Err(cause) => return Err(cause),
            }
        }
        Ok(formats)
    }

    /// VIDIOC_ENUM_FRAMESIZES: the largest width and the largest height of a format.
    pub(super) fn largest_size(&self, fourcc: [u8; 4]) -> Option<(u32, u32)> {
        let mut largest = None;
        for index in 0..MAX_LISTED {
            let pixel_format = u32::from_le_bytes(fourcc);
            let mut size = v4l2_frmsizeenum { index, pixel_format, ..zeroed() };
            if self.ioctl(&ENUM_FRAMESIZES, &mut size).is_err() {
                break;
            }
            // SAFETY: both members are plain integers, and any bits are a number.
            let (discrete, range) =
                unsafe { (size.__bindgen_anon_1.discrete, size.__bindgen_anon_1.stepwise) };
            if size.type_ != v4l_sys::v4l2_frmsizetypes_V4L2_FRMSIZE_TYPE_DISCRETE {
                return Some((range.max_width, range.max_height));
            }
            largest = largest.max(Some((discrete.width, discrete.height)));
        }
        largest
    }

    /// VIDIOC_G_FMT.
    #[cfg(test)]
    pub(super) fn format(&self, queue: Queue) -> io::Result<BufferFormat> {
        let mut format = v4l2_format { type_: queue.number(), ..zeroed() };
        self.ioctl(&G_FMT, &mut format)?;
        Ok(read_format(queue, &format))
    }

    /// VIDIOC_S_FMT: what the driver made of the wish.
    pub(super) fn set_format(&self, queue: Queue, wanted: &BufferFormat) -> io::Result<BufferFormat> {
        let mut format = written_format(queue, wanted);
        self.ioctl(&S_FMT, &mut format)?;
        Ok(read_format(queue, &format))
    }

    /// VIDIOC_S_SELECTION, `V4L2_SEL_TGT_CROP` from the top left: the size that the driver took. The
    /// single-planar type stands for both APIs here (kernel documentation of the ioctl).
    pub(super) fn set_crop(&self, width: u32, height: u32) -> io::Result<(u32, u32)> {
        let r = v4l_sys::v4l2_rect { left: 0, top: 0, width, height };
        let target = v4l_sys::V4L2_SEL_TGT_CROP;
        let mut selection = v4l2_selection { type_: Queue::Output.number(), target, r, ..zeroed() };
        self.ioctl(&S_SELECTION, &mut selection)?;
        Ok((selection.r.width, selection.r.height))
    }

    /// VIDIOC_S_PARM: the seconds from one raw picture to the next, as a fraction; the driver's answer.
    pub(super) fn set_raw_interval(&self, queue: Queue, interval: (u32, u32)) -> io::Result<(u32, u32)> {
        let mut parameters = v4l2_streamparm { type_: queue.number(), ..zeroed() };
        let timeperframe = v4l_sys::v4l2_fract { numerator: interval.0, denominator: interval.1 };
        parameters.parm.output.timeperframe = timeperframe;
        self.ioctl(&S_PARM, &mut parameters)?;
        // SAFETY: any bits are a number.
        let taken = unsafe { parameters.parm.output.timeperframe };
        Ok((taken.numerator, taken.denominator))
    }

    /// VIDIOC_ENCODER_CMD: `V4L2_ENC_CMD_START` or `V4L2_ENC_CMD_STOP`.
    pub(super) fn command_encoder(&self, command: u32) -> io::Result<()> {
        self.ioctl(&ENCODER_CMD, &mut v4l2_encoder_cmd { cmd: command, ..zeroed() })
    }

    /// VIDIOC_SUBSCRIBE_EVENT: be told of the end of the stream.
    pub(super) fn subscribe_end_of_stream(&self) -> io::Result<()> {
        let mut subscription = v4l2_event_subscription { type_: v4l_sys::V4L2_EVENT_EOS, ..zeroed() };
        self.ioctl(&SUBSCRIBE_EVENT, &mut subscription)
    }

    /// VIDIOC_DQEVENT: whether an end of the stream was among the events, all of which are taken.
    pub(super) fn take_end_of_stream(&self) -> bool {
        let mut is_end = false;
        for _ in 0..MAX_LISTED {
            let mut event: v4l2_event = zeroed();
            if self.ioctl(&DQEVENT, &mut event).is_err() {
                break;
            }
            is_end |= event.type_ == v4l_sys::V4L2_EVENT_EOS;
        }
        is_end
    }

    /// VIDIOC_QUERY_EXT_CTRL: what a control takes; `None` when there is none of that id.
    pub(super) fn control_range(&self, id: u32) -> Option<ControlRange> {
        let mut query = v4l2_query_ext_ctrl { id, ..zeroed() };
        self.ioctl(&QUERY_EXT_CTRL, &mut query).ok()?;
        let step = i64::try_from(query.step).unwrap_or(1).max(1);
        let is_off = query.flags & v4l_sys::V4L2_CTRL_FLAG_DISABLED != 0;
        let range = ControlRange { min: query.minimum, max: query.maximum, step, flags: query.flags };
        (!is_off).then_some(range)
    }

    /// VIDIOC_QUERY_EXT_CTRL with `V4L2_CTRL_FLAG_NEXT_CTRL`: all controls with a single value, of types that
    /// are known here; drivers of tomorrow have others, which are passed over.
    pub(super) fn controls(&self) -> io::Result<Vec<Description>> {
        let mut controls = Vec::new();
        let mut id = 0;
        for _ in 0..MAX_LISTED {
            let mut query = v4l2_query_ext_ctrl { id: id | v4l_sys::V4L2_CTRL_FLAG_NEXT_CTRL, ..zeroed() };
            match self.ioctl(&QUERY_EXT_CTRL, &mut query) {
                Ok(()) if query.id > id => id = query.id,
                Ok(()) => break,
                Err(cause) if cause.raw_os_error() == Some(libc::EINVAL) => break,
                Err(cause) => return Err(cause),
            }
            let Ok(typ) = Type::try_from(query.type_) else { continue };
            let is_menu = matches!(typ, Type::Menu | Type::IntegerMenu);
            controls.push(Description {
                id,
                typ,
                name: text(&query.name.map(|byte| byte as u8)),
                minimum: query.minimum,
                maximum: query.maximum,
                step: query.step,
                default: query.default_value,
                flags: query.flags.into(),
                items: is_menu.then(|| self.menu(id, typ, query.minimum, query.maximum)),
            });
        }
        Ok(controls)
    }

    /// VIDIOC_QUERYMENU: the entries that there are; gaps are possible.
    fn menu(&self, id: u32, typ: Type, first: i64, last: i64) -> Vec<(u32, MenuItem)> {
        let last = last.min(first.saturating_add(i64::from(MAX_LISTED)));
        let entry = |index: i64| {
            let index = u32::try_from(index).ok()?;
            let mut menu = v4l2_querymenu { id, index, ..zeroed() };
            self.ioctl(&QUERYMENU, &mut menu).ok()?;
            let entry = menu.__bindgen_anon_1;
            // SAFETY: both members are plain bytes and numbers, and any bits are one of them.
            let (name, value) = unsafe { (entry.name, entry.value) };
            let item = if typ == Type::Menu { MenuItem::Name(text(&name)) } else { MenuItem::Value(value) };
            Some((index, item))
        };
        (first..=last).filter_map(entry).collect()
    }

    /// VIDIOC_QUERYMENU: whether a menu has an entry.
    pub(super) fn has_menu_entry(&self, id: u32, index: u32) -> bool {
        self.ioctl(&QUERYMENU, &mut v4l2_querymenu { id, index, ..zeroed() }).is_ok()
    }

    /// VIDIOC_G_EXT_CTRLS for one control of up to 32 bits.
    #[cfg(test)]
    pub(super) fn control(&self, id: u32) -> io::Result<i32> {
        self.exchange_control(&G_EXT_CTRLS, id, 0)
    }

    /// VIDIOC_S_EXT_CTRLS for one control of up to 32 bits: the value that the driver took.
    pub(super) fn set_control(&self, id: u32, value: i32) -> io::Result<i32> {
        self.exchange_control(&S_EXT_CTRLS, id, value)
    }

    fn exchange_control(&self, request: &Request<v4l2_ext_controls>, id: u32, value: i32) -> io::Result<i32> {
        let mut control = v4l2_ext_control { id, ..zeroed() };
        control.__bindgen_anon_1.value = value;
        let mut controls = v4l2_ext_controls { count: 1, controls: &raw mut control, ..zeroed() };
        // SAFETY: `controls` says one, and one lives until the end of this function. Its size is 0, so the
        // kernel takes its value for a number and not for a pointer; for a control that has a payload it
        // answers ENOSPC and writes the size alone (kernel documentation of the ioctl).
        unsafe { ioctl_with_pointers(self.as_fd(), request, &mut controls)? };
        // SAFETY: any bits are a number.
        Ok(unsafe { control.__bindgen_anon_1.value })
    }

    /// VIDIOC_REQBUFS, then VIDIOC_QUERYBUF and mmap for each buffer: the queue's buffers, all of them ours.
    /// The driver may make more or fewer than asked.
    pub(super) fn buffers(&self, queue: Queue, memory: Memory, count: u32) -> io::Result<Buffers> {
        let number = match memory {
            Memory::Mmap => v4l_sys::v4l2_memory_V4L2_MEMORY_MMAP,
            Memory::Dmabuf => v4l_sys::v4l2_memory_V4L2_MEMORY_DMABUF,
        };
        if self.0.taken.fetch_or(queue.bit(), Ordering::SeqCst) & queue.bit() != 0 {
            return Err(io::Error::from_raw_os_error(libc::EBUSY));
        }
        // From here on dropping it gives the queue free again.
        let mut buffers = Buffers { node: self.clone(), queue, memory: number, buffers: Vec::new() };
        let mut request = v4l2_requestbuffers { count, type_: queue.number(), memory: number, ..zeroed() };
        self.ioctl(&REQBUFS, &mut request)?;
        if request.count == 0 {
            return Err(io::Error::from_raw_os_error(libc::ENOMEM));
        }
        for index in 0..request.count {
            let planes = if memory == Memory::Mmap { buffers.map(index)? } else { Vec::new() };
            buffers.buffers.push(Buffer { planes, is_queued: false });
        }
        Ok(buffers)
    }
}

/// VIDIOC_EXPBUF: a buffer of a queue as a DMA buffer, which another driver can take. It lives on, with its
/// memory, until the descriptor is closed, also after the queue is gone.
pub(super) fn export_buffer(fd: BorrowedFd<'_>, queue: Queue, index: u32, plane: u32) -> io::Result<OwnedFd> {
    let flags = (libc::O_RDONLY | libc::O_CLOEXEC) as u32;
    let mut export = v4l2_exportbuffer { type_: queue.number(), index, plane, flags, ..zeroed() };
    ioctl(fd, &EXPBUF, &mut export)?;
    // SAFETY: the kernel has just made this descriptor for us, and nobody else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(export.fd) })
}

fn written_format(queue: Queue, wanted: &BufferFormat) -> v4l2_format {
    let mut format = v4l2_format { type_: queue.number(), ..zeroed() };
    let pixelformat = u32::from_le_bytes(wanted.fourcc);
    let field = v4l_sys::v4l2_field_V4L2_FIELD_NONE;
    if queue.is_multiplanar() {
        // SAFETY: the union is all zero, and so may this member be: integers alone.
        let mut pix = unsafe { format.fmt.pix_mp };
        pix.num_planes = wanted.planes.len().min(MAX_PLANES) as u8;
        (pix.width, pix.height, pix.pixelformat, pix.field) =
            (wanted.width, wanted.height, pixelformat, field);
        for (plane, &(stride, size)) in pix.plane_fmt.iter_mut().zip(&wanted.planes) {
            (plane.bytesperline, plane.sizeimage) = (stride, size);
        }
        format.fmt.pix_mp = pix;
    } else {
        // SAFETY: the union is all zero, and so may this member be: integers alone.
        let mut pix = unsafe { format.fmt.pix };
        (pix.width, pix.height, pix.pixelformat, pix.field) =
            (wanted.width, wanted.height, pixelformat, field);
        (pix.bytesperline, pix.sizeimage) = wanted.planes.first().copied().unwrap_or_default();
        format.fmt.pix = pix;
    }
    format
}

fn read_format(queue: Queue, format: &v4l2_format) -> BufferFormat {
    if queue.is_multiplanar() {
        // SAFETY: integers alone, for which any bits are a number; some are in a packed struct and are copied.
        let pix = unsafe { format.fmt.pix_mp };
        let count = usize::from(pix.num_planes).min(MAX_PLANES);
        let planes = pix.plane_fmt;
        BufferFormat {
            fourcc: { pix.pixelformat }.to_le_bytes(),
            width: pix.width,
            height: pix.height,
            planes: planes[..count].iter().map(|plane| (plane.bytesperline, plane.sizeimage)).collect(),
        }
    } else {
        // SAFETY: integers alone, for which any bits are a number.
        let pix = unsafe { format.fmt.pix };
        BufferFormat {
            fourcc: pix.pixelformat.to_le_bytes(),
            width: pix.width,
            height: pix.height,
            planes: vec![(pix.bytesperline, pix.sizeimage)],
        }
    }
}

/// The buffers of one queue, and whose each of them is.
#[derive(Debug)]
pub(super) struct Buffers {
    node: Node,
    queue: Queue,
    /// `V4L2_MEMORY_*`.
    memory: u32,
    buffers: Vec<Buffer>,
}

#[derive(Debug)]
struct Buffer {
    /// Its memory; none for a DMA buffer of others.
    planes: Vec<Mapping>,
    /// It is the driver's, and its memory may change at any time.
    is_queued: bool,
}

/// What came back from a driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Dequeued {
    /// Which buffer.
    pub index: usize,
    /// Where the first plane's contents begin and end.
    pub contents: (usize, usize),
    /// The time that was queued with the picture, in whole microseconds.
    pub timestamp: Duration,
    /// The time is on `CLOCK_MONOTONIC` (`V4L2_BUF_FLAG_TIMESTAMP_MONOTONIC`), as a camera's should be.
    pub is_monotonic: bool,
    /// The driver's number for it.
    pub sequence: u32,
    /// Nothing comes after it (`V4L2_BUF_FLAG_LAST`).
    pub is_last: bool,
    /// `V4L2_BUF_FLAG_ERROR`.
    pub is_damaged: bool,
}

/// A `v4l2_buffer` with its planes beside it.
struct Exchange {
    buffer: v4l2_buffer,
    planes: [v4l2_plane; MAX_PLANES],
}

impl Buffers {
    pub(super) fn count(&self) -> usize {
        self.buffers.len()
    }

    /// How many are the driver's.
    pub(super) fn queued(&self) -> usize {
        self.buffers.iter().filter(|buffer| buffer.is_queued).count()
    }

    /// One that is ours.
    pub(super) fn free(&self) -> Option<usize> {
        self.buffers.iter().position(|buffer| !buffer.is_queued)
    }

    pub(super) fn is_free(&self, index: usize) -> bool {
        self.buffers.get(index).is_some_and(|buffer| !buffer.is_queued)
    }

    /// The first plane of a buffer that is ours.
    pub(super) fn bytes(&self, index: usize) -> Option<&[u8]> {
        let buffer = self.buffers.get(index).filter(|buffer| !buffer.is_queued)?;
        let mapping = buffer.planes.first()?;
        // SAFETY: the mapping is `length` readable bytes for as long as it lives. The buffer is ours, so the
        // driver does not write (invariant 3), and it cannot be queued while `self` is borrowed.
        Some(unsafe { std::slice::from_raw_parts(mapping.start.as_ptr(), mapping.length) })
    }

    /// The planes of a buffer that is ours; none of one that is not.
    pub(super) fn planes_mut(&mut self, index: usize) -> Vec<&mut [u8]> {
        let Some(buffer) = self.buffers.get_mut(index).filter(|buffer| !buffer.is_queued) else {
            return Vec::new();
        };
        let lend = |mapping: &mut Mapping| {
            // SAFETY: as in `bytes`; and writable, disjoint from every other mapping, and lent only once,
            // since `self` is borrowed mutably.
            unsafe { std::slice::from_raw_parts_mut(mapping.start.as_ptr(), mapping.length) }
        };
        buffer.planes.iter_mut().map(lend).collect()
    }

    /// VIDIOC_QBUF with the mapped memory; `used` are the bytes of each plane that hold something.
    pub(super) fn queue(&mut self, index: usize, used: &[u32], timestamp: Duration) -> io::Result<()> {
        let mut exchange = self.exchange(index as u32, timestamp);
        let Some(buffer) = self.buffers.get(index).filter(|buffer| !buffer.is_queued) else {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        };
        for (position, mapping) in buffer.planes.iter().enumerate().take(MAX_PLANES) {
            exchange.planes[position].length = mapping.length as u32;
            exchange.planes[position].bytesused = used.get(position).copied().unwrap_or(0);
        }
        self.hand_over(index, exchange, buffer.planes.len())
    }

    /// VIDIOC_QBUF with a DMA buffer of one plane: the bytes that hold something, and all of them. The kernel holds on to it by itself until the buffer
    /// comes back, so the descriptor may be closed at once.
    pub(super) fn queue_import(
        &mut self,
        index: usize,
        fd: BorrowedFd<'_>,
        (used, length): (u32, u32),
        timestamp: Duration,
    ) -> io::Result<()> {
        if !self.is_free(index) {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        let mut exchange = self.exchange(index as u32, timestamp);
        exchange.planes[0].m.fd = fd.as_raw_fd();
        (exchange.planes[0].bytesused, exchange.planes[0].length) = (used, length);
        self.hand_over(index, exchange, 1)
    }

    /// VIDIOC_DQBUF; `None` when the driver has finished none.
    pub(super) fn dequeue(&mut self) -> io::Result<Option<Dequeued>> {
        let mut exchange = self.exchange(0, Duration::ZERO);
        match self.call(&DQBUF, &mut exchange, MAX_PLANES) {
            Ok(()) => {}
            Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(cause) => return Err(cause),
        }
        let index = exchange.buffer.index as usize;
        let Some(buffer) = self.buffers.get_mut(index) else {
            return Err(io::Error::other("the driver gave back a buffer that it never had"));
        };
        buffer.is_queued = false;
        let plane = exchange.planes[0];
        let (flags, timeval { tv_sec, tv_usec }) = (exchange.buffer.flags, exchange.buffer.timestamp);
        let timestamp = Duration::from_secs(u64::try_from(tv_sec).unwrap_or(0))
            + Duration::from_micros(u64::try_from(tv_usec).unwrap_or(0));
        Ok(Some(Dequeued {
            index,
            contents: (plane.data_offset as usize, plane.bytesused as usize),
            timestamp,
            is_monotonic: flags & v4l_sys::V4L2_BUF_FLAG_TIMESTAMP_MASK
                == v4l_sys::V4L2_BUF_FLAG_TIMESTAMP_MONOTONIC,
            sequence: exchange.buffer.sequence,
            is_last: flags & v4l_sys::V4L2_BUF_FLAG_LAST != 0,
            is_damaged: flags & v4l_sys::V4L2_BUF_FLAG_ERROR != 0,
        }))
    }

    /// VIDIOC_STREAMON.
    pub(super) fn start(&mut self) -> io::Result<()> {
        self.node.ioctl(&STREAMON, &mut (self.queue.number() as std::ffi::c_int))
    }

    /// VIDIOC_STREAMOFF: what is in the driver is dropped, and every buffer is ours again.
    pub(super) fn stop(&mut self) -> io::Result<()> {
        self.node.ioctl(&STREAMOFF, &mut (self.queue.number() as std::ffi::c_int))?;
        self.buffers.iter_mut().for_each(|buffer| buffer.is_queued = false);
        Ok(())
    }

    fn hand_over(&mut self, index: usize, mut exchange: Exchange, planes: usize) -> io::Result<()> {
        self.call(&QBUF, &mut exchange, planes)?;
        // From here on it is the driver's; a call that failed has left it with us.
        self.buffers[index].is_queued = true;
        Ok(())
    }

    fn exchange(&self, index: u32, timestamp: Duration) -> Exchange {
        let mut buffer = v4l2_buffer { index, type_: self.queue.number(), memory: self.memory, ..zeroed() };
        buffer.field = v4l_sys::v4l2_field_V4L2_FIELD_NONE;
        buffer.timestamp.tv_sec = timestamp.as_secs() as _;
        buffer.timestamp.tv_usec = timestamp.subsec_micros() as _;
        Exchange { buffer, planes: [zeroed(); MAX_PLANES] }
    }

    /// The ioctl, with the planes where the queue's API has them.
    fn call(&self, request: &Request<v4l2_buffer>, exchange: &mut Exchange, planes: usize) -> io::Result<()> {
        let Exchange { buffer, planes: array } = exchange;
        if self.queue.is_multiplanar() {
            buffer.m.planes = array.as_mut_ptr();
            buffer.length = planes.min(MAX_PLANES) as u32;
            // SAFETY: `planes` points to MAX_PLANES of them, `length` says no more, and they outlive the call.
            return unsafe { ioctl_with_pointers(self.node.as_fd(), request, buffer) };
        }
        (buffer.bytesused, buffer.length) = (array[0].bytesused, array[0].length);
        if self.memory == v4l_sys::v4l2_memory_V4L2_MEMORY_DMABUF {
            // SAFETY: it was zero or set to a descriptor; any bits are a number.
            buffer.m.fd = unsafe { array[0].m.fd };
        }
        // SAFETY: for a single-planar queue the kernel takes `m` for an offset or a descriptor.
        unsafe { ioctl_with_pointers(self.node.as_fd(), request, buffer)? };
        (array[0].bytesused, array[0].length, array[0].data_offset) = (buffer.bytesused, buffer.length, 0);
        // SAFETY: any bits are a number.
        array[0].m.mem_offset = unsafe { buffer.m.offset };
        Ok(())
    }

    /// VIDIOC_QUERYBUF and mmap for each plane.
    fn map(&self, index: u32) -> io::Result<Vec<Mapping>> {
        let mut exchange = self.exchange(index, Duration::ZERO);
        self.call(&QUERYBUF, &mut exchange, MAX_PLANES)?;
        let count = if self.queue.is_multiplanar() { exchange.buffer.length as usize } else { 1 };
        let planes = exchange.planes.iter().take(count);
        planes
            .map(|plane| {
                // SAFETY: any bits are a number.
                let offset = unsafe { plane.m.mem_offset };
                Mapping::new(self.node.as_fd(), plane.length as usize, offset)
            })
            .collect()
    }
}

impl Drop for Buffers {
    /// VIDIOC_REQBUFS with none: the queue's format can be set again while the node stays open.
    fn drop(&mut self) {
        let (type_, memory) = (self.queue.number(), self.memory);
        // Memory that is still mapped counts as in use.
        self.buffers.clear();
        // A device that is gone has no queue any more. What a driver refuses to take back now the next
        // REQBUFS takes back, before it makes new ones.
        let _ = self.node.ioctl(&REQBUFS, &mut v4l2_requestbuffers { type_, memory, ..zeroed() });
        self.node.0.taken.fetch_and(!self.queue.bit(), Ordering::SeqCst);
    }
}

/// Memory of a driver, mapped by us. [`Buffers`] sees to it that it is touched only while it is ours.
#[derive(Debug)]
struct Mapping {
    start: NonNull<u8>,
    length: usize,
}

// SAFETY: the memory belongs to the process, not to a thread, and only the owner of the mapping reaches it.
unsafe impl Send for Mapping {}

impl Mapping {
    fn new(fd: BorrowedFd<'_>, length: usize, offset: u32) -> io::Result<Mapping> {
        let access = libc::PROT_READ | libc::PROT_WRITE;
        let (nowhere, offset) = (std::ptr::null_mut(), offset as libc::off_t);
        // SAFETY: a new mapping at an address that the kernel chooses touches no memory that is in use.
        let start = unsafe { libc::mmap(nowhere, length, access, libc::MAP_SHARED, fd.as_raw_fd(), offset) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or_else(|| io::Error::other("mapped at address 0"))?;
        Ok(Mapping { start, length })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: this is the whole of a mapping that `new` made; slices of it borrow the `Buffers` around.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.length) };
    }
}

/// Makes a program die with the thread that starts it, gives it a process group of its own, and keeps all
/// descriptors but the three standard ones from it.
///
/// The kernel sends it SIGKILL when that *thread* ends (prctl(2), `PR_SET_PDEATHSIG`), also when farol is
/// killed; so it is to be started from the thread that reads from it. What the program starts itself is
/// reached by a signal to its group.
pub(super) fn die_with_parent(command: &mut Command) {
    let parent = std::process::id();
    command.process_group(0);
    let before_exec = move || {
        // SAFETY: both calls take and give plain numbers, and are safe after fork(2) (signal-safety(7):
        // prctl and getppid are bare system calls that take no lock).
        let (armed, now) = unsafe { (libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL), libc::getppid()) };
        if armed != 0 {
            return Err(io::Error::last_os_error());
        }
        // A library may have opened something without O_CLOEXEC. Before Linux 5.11 this fails, and nothing
        // more can be done here.
        let (first, last) = (3 as libc::c_uint, libc::c_uint::MAX);
        // SAFETY: a bare system call that takes plain numbers; it closes nothing before exec.
        unsafe { libc::syscall(libc::SYS_close_range, first, last, libc::CLOSE_RANGE_CLOEXEC) };
        // Whoever died between fork and prctl sends no signal any more; the child then has another parent.
        if u32::try_from(now) == Ok(parent) { Ok(()) } else { Err(io::Error::from_raw_os_error(libc::ESRCH)) }
    };
    // SAFETY: the closure runs in the child between fork and exec. It allocates nothing, takes no lock and
    // cannot panic; what it captured is a number.
    unsafe { command.pre_exec(before_exec) };
}

/// Sets the bitrate and the frame rate of an OpenH264 encoder that runs: no new encoder, no keyframe.
///
/// The error is OpenH264's number (`CM_RETURN`); 4, `cmInitExpected`, comes before the first picture, when
/// the encoder still begins with its configuration. So does one that a picture of another size restarts:
/// set it anew then.
#[cfg(feature = "openh264")]
pub(super) fn set_openh264_bitrate(
    encoder: &mut openh264::encoder::Encoder,
    bps: u32,
    fps: f32,
) -> Result<(), i32> {
    use openh264_sys2::{
        ENCODER_OPTION_BITRATE as TARGET, ENCODER_OPTION_FRAME_RATE, ENCODER_OPTION_MAX_BITRATE as LIMIT,
        SBitrateInfo, SPATIAL_LAYER_0, cmInitParaError,
    };

    let bitrate = std::ffi::c_int::try_from(bps).map_err(|_| cmInitParaError)?;
    let taken = |outcome| if outcome == 0 { Ok(()) } else { Err(outcome) };
    // SAFETY: what is set here the crate neither relies on nor reads back: it keeps its own configuration.
    let api = unsafe { encoder.raw_api() };
    let (mut rate, mut present) = (fps, SBitrateInfo { iLayer: SPATIAL_LAYER_0, iBitrate: 0 });
    // SAFETY: codec_app_def.h has a `float` behind this option's pointer; it is read and not kept.
    taken(unsafe { api.set_option(ENCODER_OPTION_FRAME_RATE, (&raw mut rate).cast()) })?;
    // SAFETY: codec_app_def.h has an `SBitrateInfo` behind this option's pointer; it is filled and not kept.
    taken(unsafe { api.get_option(TARGET, (&raw mut present).cast()) })?;
    // The limit may at no time be below the target. Both are of the one layer: with SPATIAL_LAYER_ALL the
    // limit is written down and has no effect.
    let order = if bitrate > present.iBitrate { [LIMIT, TARGET] } else { [TARGET, LIMIT] };
    for option in order {
        let mut wanted = SBitrateInfo { iLayer: SPATIAL_LAYER_0, iBitrate: bitrate };
        // SAFETY: codec_app_def.h has an `SBitrateInfo` behind both; it is read and not kept.
        taken(unsafe { api.set_option(option, (&raw mut wanted).cast()) })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
