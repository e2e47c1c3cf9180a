//! An rtnetlink socket (netlink(7), rtnetlink(7)): whole requests out, whole replies back.
//!
//! The kernel works on a request inside send(2), in the caller's thread: when it returns the change is done or
//! refused, and the acknowledgement lies ready. So a request costs two system calls and waits for nobody but
//! the kernel's own lock; the receive time limit is there for what should not happen.

use super::{Failed, check, done, retry};
use std::fmt::{self, Display};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

/// Longest wait for a reply. Replies are ready when the request was sent, so this is only a net.
const PATIENCE: Duration = Duration::from_secs(5);
/// The kernel makes no dump part larger than this (`NLMSG_GOODSIZE` is capped at 32 KiB in af_netlink.c).
const BUFFER: usize = 32 * 1024;
/// How often a dump that the kernel calls inconsistent is asked again before it is refused.
const DUMP_ATTEMPTS: usize = 16;

/// Bytes of `struct nlmsghdr` (linux/netlink.h): len u32, type u16, flags u16, seq u32, pid u32.
pub const HEADER: usize = 16;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_DUMP_INTR: u16 = 0x10;
const NLM_F_CAPPED: u16 = 0x100;
const NLM_F_ACK_TLVS: u16 = 0x200;
/// `NLMSGERR_ATTR_MSG` (linux/netlink.h): the kernel's sentence.
const ATTR_MSG: u16 = 1;

/// The kernel's refusal of a request, or the failure to ask.
#[derive(Debug)]
pub struct Refusal {
    /// The errno, or the failure of the socket itself.
    pub source: Failed,
    /// The kernel's own sentence (extended acknowledgement), empty when it gave none.
    pub text: String,
}

impl Refusal {
    /// Whether the kernel (or the socket) gave this errno.
    pub fn is(&self, errno: i32) -> bool {
        self.source.raw_os_error() == Some(errno)
    }
}

impl Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.text.is_empty() { self.source.fmt(f) } else { f.write_str(&self.text) }
    }
}

impl std::error::Error for Refusal {}

impl From<io::Error> for Refusal {
    fn from(source: io::Error) -> Refusal {
        Failed::from(source).into()
    }
}

impl From<Failed> for Refusal {
    fn from(source: Failed) -> Refusal {
        Refusal { source, text: String::new() }
    }
}

impl From<Refusal> for io::Error {
    /// Keeps the errno where the kernel gave no sentence, else kind and sentence.
    fn from(refusal: Refusal) -> io::Error {
        if refusal.text.is_empty() {
            refusal.source.into()
        } else {
            io::Error::new(refusal.source.kind(), refusal)
        }
    }
}

/// An open `NETLINK_ROUTE` socket of the network namespace that the opening thread was in.
#[derive(Debug)]
pub struct Netlink(OwnedFd);

impl Netlink {
    /// Opens the socket, with extended acknowledgements where the kernel has them.
    ///
    /// # Errors
    /// socket(2): no descriptor left, or a kernel without netlink.
    pub fn open() -> super::Result<Netlink> {
        // SAFETY: takes three integers and returns a descriptor; no pointer is involved.
        let fd = unsafe {
            libc::socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC, libc::NETLINK_ROUTE)
        };
        let fd = check(fd, "socket(AF_NETLINK, SOCK_RAW|SOCK_CLOEXEC, NETLINK_ROUTE)", 0, 0)?;
        // SAFETY: the kernel returned this descriptor just now and nobody else knows it.
        let socket = Netlink(unsafe { OwnedFd::from_raw_fd(fd) });
        let patience = libc::timeval { tv_sec: PATIENCE.as_secs() as _, tv_usec: 0 };
        socket.option(libc::SOL_SOCKET, libc::SO_RCVTIMEO, &patience)?;
        // Kernels before 4.12 (EXT_ACK), 4.3 (CAP_ACK) and 4.20 (STRICT_CHK) refuse these and work without.
        for option in [libc::NETLINK_EXT_ACK, libc::NETLINK_CAP_ACK, libc::NETLINK_GET_STRICT_CHK] {
            let _ = socket.option(libc::SOL_NETLINK, option, &1i32);
        }
        Ok(socket)
    }

    /// Sends one message and returns the messages that answer it, headers included and acknowledgement
    /// excluded: nothing for a change, one for a get, many for a dump ([`messages`] takes them apart). The
    /// message must ask for an acknowledgement (`NLM_F_ACK`) or be a dump, and carry a sequence number of its
    /// own; answers to older requests that timed out are passed over.
    ///
    /// # Errors
    /// What the kernel said no with, in its own words where it has some; `ETIMEDOUT` after five seconds;
    /// `EINTR` for a dump that changed under way 16 times.
    pub fn request(&self, message: &[u8]) -> Result<Vec<u8>, Refusal> {
        for _ in 0..DUMP_ATTEMPTS {
            self.send(message)?;
            if let Some(replies) = self.collect(u32_at(message, 8))? {
                return Ok(replies);
            }
        }
        Err(io::Error::from_raw_os_error(libc::EINTR).into())
    }

    /// Reads until the end of the answer to `sequence`; `None` when a dump was interrupted by a change.
    fn collect(&self, sequence: u32) -> Result<Option<Vec<u8>>, Refusal> {
        let mut replies = Vec::new();
        let mut buffer = vec![0; BUFFER];
        let mut interrupted = false;
        loop {
            let received = self.receive(&mut buffer)?;
            let bytes = buffer.get(..received).ok_or_else(|| io::Error::from_raw_os_error(libc::EMSGSIZE))?;
            for message in messages(bytes).filter(|message| message.sequence == sequence) {
                interrupted |= message.flags & NLM_F_DUMP_INTR != 0;
                match message.kind {
                    NLMSG_ERROR | NLMSG_DONE => {
                        verdict(&message)?;
                        return Ok((!interrupted).then_some(replies));
                    }
                    _ => replies.extend_from_slice(message.whole),
                }
            }
        }
    }

    fn option<T>(&self, level: libc::c_int, name: libc::c_int, value: &T) -> super::Result<()> {
        let pointer: *const T = value;
        // SAFETY: `pointer` comes from a live reference and the length is that of its type.
        let result = unsafe {
            libc::setsockopt(
                self.0.as_raw_fd(),
                level,
                name,
                pointer.cast(),
                size_of::<T>() as libc::socklen_t,
            )
        };
        done(result, "setsockopt(%, %, %, ...)", self.0.as_raw_fd().into(), level.into())
            .map_err(|failed| failed.and(name.into()))
    }

    /// An unbound, unconnected netlink socket sends to the kernel.
    fn send(&self, message: &[u8]) -> super::Result<()> {
        let call = "sendto(%, ..., %, 0, NULL, 0)";
        retry(call, self.0.as_raw_fd().into(), message.len() as i64, || {
            // SAFETY: pointer and length are those of a live slice that the kernel only reads.
            unsafe { libc::send(self.0.as_raw_fd(), message.as_ptr().cast(), message.len(), 0) as _ }
        })
        .map(drop)
    }

    /// The true length of the datagram, which may be more than fits (`MSG_TRUNC`).
    fn receive(&self, buffer: &mut [u8]) -> super::Result<usize> {
        let (pointer, room) = (buffer.as_mut_ptr(), buffer.len());
        let call = "recvfrom(%, ..., %, MSG_TRUNC, NULL, NULL)";
        let result = retry(call, self.0.as_raw_fd().into(), room as i64, || {
            // SAFETY: pointer and length are those of a live, exclusive slice; the kernel writes at most `room`.
            unsafe { libc::recv(self.0.as_raw_fd(), pointer.cast(), room, libc::MSG_TRUNC) as _ }
        });
        match result {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                Err(io::Error::from_raw_os_error(libc::ETIMEDOUT).into())
            }
            other => other.map(|length| length.unsigned_abs() as usize),
        }
    }
}

/// One message of a reply.
#[derive(Clone, Copy, Debug)]
pub struct Reply<'a> {
    /// `nlmsg_type`: `RTM_NEWQDISC` and the like.
    pub kind: u16,
    /// `nlmsg_flags`.
    pub flags: u16,
    /// `nlmsg_seq`.
    pub sequence: u32,
    /// What follows the header.
    pub body: &'a [u8],
    whole: &'a [u8],
}

/// Takes a buffer of messages apart; ends at the first that is shorter than it says.
pub fn messages(mut bytes: &[u8]) -> impl Iterator<Item = Reply<'_>> {
    std::iter::from_fn(move || {
        let length = usize::try_from(u32_at(bytes, 0)).ok()?;
        let (whole, body) = (bytes.get(..length)?, bytes.get(HEADER..length)?);
        // The next one begins at a multiple of four; the last may come without its padding.
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        let flags = u16_at(whole, 6);
        Some(Reply { kind: u16_at(whole, 4), flags, sequence: u32_at(whole, 8), body, whole })
    })
}

/// `struct nlmsgerr` (linux/netlink.h): error i32, the header refused (and its payload unless capped), and
/// attributes; at the end of a dump error i32 and attributes.
fn verdict(message: &Reply<'_>) -> Result<(), Refusal> {
    let errno = i32::from_ne_bytes(u32_at(message.body, 0).to_ne_bytes()).unsigned_abs();
    if errno == 0 {
        return Ok(());
    }
    let refused = match message.kind {
        NLMSG_DONE => 0,
        _ if message.flags & NLM_F_CAPPED != 0 => HEADER,
        _ => u32_at(message.body, 4) as usize,
    };
    let mut attributes = match message.flags & NLM_F_ACK_TLVS {
        0 => &[],
        _ => message.body.get(refused.saturating_add(4)..).unwrap_or_default(),
    };
    let mut text = String::new();
    // `struct nlattr`: len u16 (header included), type u16, payload, padding to four bytes.
    while let Some(payload) = attributes.get(4..usize::from(u16_at(attributes, 0))) {
        if u16_at(attributes, 2) == ATTR_MSG {
            text = String::from_utf8_lossy(payload).trim_end_matches('\0').to_owned();
        }
        attributes = attributes.get((4 + payload.len()).next_multiple_of(4)..).unwrap_or_default();
    }
    let errno = i32::try_from(errno).unwrap_or(libc::EIO);
    Err(Refusal { source: io::Error::from_raw_os_error(errno).into(), text })
}

/// The u32 (host order) at `offset`, 0 where the bytes end before.
pub fn u32_at(bytes: &[u8], offset: usize) -> u32 {
    let field = bytes.get(offset..).and_then(|rest| rest.first_chunk());
    field.map_or(0, |field| u32::from_ne_bytes(*field))
}

/// The u16 (host order) at `offset`, 0 where the bytes end before.
pub fn u16_at(bytes: &[u8], offset: usize) -> u16 {
    let field = bytes.get(offset..).and_then(|rest| rest.first_chunk());
    field.map_or(0, |field| u16::from_ne_bytes(*field))
}

/// if_nametoindex(3): the index of the interface with this name, `None` where there is none.
pub fn index_of(name: &str) -> Option<i32> {
    let name = std::ffi::CString::new(name).ok()?;
    // SAFETY: `name` is a NUL-terminated string that outlives the call.
    let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
    i32::try_from(index).ok().filter(|index| *index != 0)
}

/// if_indextoname(3): the name of the interface with this index, `None` where there is none.
pub fn name_of(index: i32) -> Option<String> {
    let mut buffer = [0u8; libc::IF_NAMESIZE];
    // SAFETY: `buffer` is live, exclusive and has the IF_NAMESIZE bytes that the function may write.
    let found = unsafe { libc::if_indextoname(index.unsigned_abs(), buffer.as_mut_ptr().cast()) };
    let name = std::ffi::CStr::from_bytes_until_nul(&buffer).ok()?;
    (!found.is_null()).then(|| name.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(kind: u16, flags: u16, body: &[u8]) -> Vec<u8> {
        let mut bytes = ((HEADER + body.len()) as u32).to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(flags.to_ne_bytes());
        bytes.extend([7, 0, 0, 0, 0, 0, 0, 0]);
        bytes.extend(body);
        bytes
    }

    #[test]
    fn a_refusal_carries_errno_and_the_kernels_sentence() {
        let mut body = (-libc::EEXIST).to_ne_bytes().to_vec();
        body.extend([0; HEADER]);
        body.extend([10, 0, 1, 0]);
        body.extend(b"no way\0\0");
        let bytes = reply(NLMSG_ERROR, NLM_F_CAPPED | NLM_F_ACK_TLVS, &body);
        let refusal = verdict(&messages(&bytes).next().unwrap()).unwrap_err();
        assert!(refusal.is(libc::EEXIST));
        assert_eq!(refusal.to_string(), "no way");
        assert_eq!(io::Error::from(refusal).kind(), io::ErrorKind::AlreadyExists);
    }

    #[test]
    fn cut_or_hostile_replies_end_early_and_never_panic() {
        let mut body = (-libc::EPERM).to_ne_bytes().to_vec();
        body.extend([0xff; 40]);
        let whole = [reply(NLMSG_ERROR, NLM_F_ACK_TLVS, &body), reply(36, 2, &[1, 2, 3])].concat();
        assert_eq!(messages(&whole).count(), 2);
        for end in 0..whole.len() {
            for message in messages(&whole[..end]) {
                let _ = verdict(&message);
            }
        }
        let mut random = fastrand::Rng::with_seed(3);
        for _ in 0..20_000 {
            let bytes: Vec<u8> = (0..64).map(|_| random.u8(0..40)).collect();
            assert!(messages(&bytes).count() <= 4);
            let _ = verdict(&Reply {
                kind: 2,
                flags: random.u16(..),
                sequence: 0,
                body: &bytes[16..],
                whole: &bytes,
            });
        }
    }

    #[test]
    fn the_kernel_answers_a_dump_and_refuses_nonsense() {
        let socket = Netlink::open().unwrap();
        // RTM_GETLINK (18) with NLM_F_REQUEST|NLM_F_DUMP and an empty struct ifinfomsg.
        let mut dump = reply(18, 0x301, &[0; 16]);
        let links = socket.request(&dump).unwrap();
        assert!(messages(&links).any(|link| link.kind == 16 && u32_at(link.body, 4) == 1), "no loopback");
        // The same for one link that cannot be there: index -2, NLM_F_ACK instead of NLM_F_DUMP.
        dump[6..8].copy_from_slice(&5u16.to_ne_bytes());
        dump[20..24].copy_from_slice(&(-2i32).to_ne_bytes());
        let refusal = socket.request(&dump).unwrap_err();
        assert!(refusal.source.raw_os_error().is_some_and(|errno| errno > 0), "{refusal:?}");
        assert_eq!(name_of(index_of("lo").unwrap()).as_deref(), Some("lo"));
        assert_eq!((index_of("no\0such"), name_of(i32::MAX)), (None, None));
    }
}
