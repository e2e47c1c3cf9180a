//! Interfaces: what there is, and the ifb devices that ingress faults need (rtnetlink(7)).
//! Layouts: linux/rtnetlink.h (`struct ifinfomsg`), linux/if_link.h (`IFLA_*`).

use super::message::{Message, bytes_of, code, find, text, u32_at};
use super::undone;
use crate::linux::sys::netlink::{Netlink, Refusal, messages};
use std::io;

const IFNAME: u16 = 3;
const LINKINFO: u16 = 18;
const INFO_KIND: u16 = 1;
const IFF_UP: u32 = 1;
const IFF_LOOPBACK: u32 = 8;

/// An interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its number, never used twice while the namespace lives (until it wraps).
    pub index: i32,
    /// Its name.
    pub name: String,
    /// `IFF_*` (linux/if.h).
    pub flags: u32,
    /// "veth", "ifb", ...; empty for those without a kind (loopback, most hardware).
    pub kind: String,
}

impl Link {
    /// Whether it is switched on.
    pub fn is_up(&self) -> bool {
        self.flags & IFF_UP != 0
    }

    /// Whether packets never leave by it.
    pub fn is_loopback(&self) -> bool {
        self.flags & IFF_LOOPBACK != 0
    }

    /// Reads the body of an `RTM_NEWLINK`.
    pub fn read(body: &[u8]) -> Option<Link> {
        let attributes = body.get(16..)?;
        let info = find(attributes, LINKINFO).unwrap_or_default();
        Some(Link {
            index: u32_at(body, 4) as i32,
            name: text(find(attributes, IFNAME)?),
            flags: u32_at(body, 8),
            kind: text(find(info, INFO_KIND).unwrap_or_default()),
        })
    }
}

/// `struct ifinfomsg`: family u8, padding, type u16, index i32, flags u32, change (which flags count) u32.
fn message(kind: u16, flags: u16, index: i32, up: bool) -> Message {
    let up = if up { IFF_UP } else { 0 };
    Message::new(kind, flags, &bytes_of(&[0, index as u32, up, up]))
}

/// All interfaces.
///
/// # Errors
/// As [`Netlink::request`].
pub fn links(socket: &Netlink) -> Result<Vec<Link>, Refusal> {
    let replies = socket.request(message(code::RTM_GETLINK, code::DUMP, 0, false).bytes())?;
    Ok(messages(&replies).filter_map(|reply| Link::read(reply.body)).collect())
}

/// The interface of this name; `None` where there is none.
///
/// # Errors
/// As [`Netlink::request`].
pub fn link(socket: &Netlink, name: &str) -> Result<Option<Link>, Refusal> {
    let mut question = message(code::RTM_GETLINK, 0, 0, false);
    question.string(IFNAME, name);
    match socket.request(question.bytes()) {
        Ok(replies) => Ok(messages(&replies).find_map(|reply| Link::read(reply.body))),
        Err(refusal) if refusal.is(libc::ENODEV) => Ok(None),
        Err(refusal) => Err(refusal),
    }
}

/// Creates an ifb device of this name (15 bytes at most) and switches it on, in one request.
///
/// # Errors
/// `EEXIST` where the name is taken, `EOPNOTSUPP` where the kernel has no ifb, `EPERM`.
pub fn create_ifb(socket: &Netlink, name: &str) -> Result<(), Refusal> {
    let mut request = message(code::RTM_NEWLINK, code::CREATE | code::EXCL, 0, true);
    request.string(IFNAME, name);
    let info = request.begin(LINKINFO);
    request.string(INFO_KIND, "ifb");
    request.end(info);
    socket.request(request.bytes()).map(drop)
}

/// Switches an interface on.
///
/// # Errors
/// `ENODEV`, `EPERM`.
pub fn set_up(socket: &Netlink, index: i32) -> Result<(), Refusal> {
    socket.request(message(code::RTM_NEWLINK, 0, index, true).bytes()).map(drop)
}

/// Deletes the interface of this name, with its qdiscs. `false` when there is none. By name, because a number
/// says nothing about whose it is.
///
/// # Errors
/// `EPERM`, or a kind that cannot be deleted.
pub fn delete_link(socket: &Netlink, name: &str) -> io::Result<bool> {
    let mut request = message(code::RTM_DELLINK, 0, 0, false);
    request.string(IFNAME, name);
    undone(socket, &request)
}
