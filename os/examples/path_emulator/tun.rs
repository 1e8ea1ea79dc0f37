//! A TUN device: whole IP packets of one network, read and written.
//!
//! The kernel cuts large TCP segments and fills in checksums before a packet gets here.
#![allow(unsafe_code)]

use std::{
    ffi::{c_char, c_short},
    fs::{File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::{
        fd::{AsFd, AsRawFd as _, BorrowedFd},
        unix::fs::OpenOptionsExt as _,
    },
};

/// TUNSETIFF of linux/if_tun.h: _IOW('T', 202, int), though it takes a struct ifreq.
const TUNSETIFF: u32 = 0x4004_54ca;

/// Most bytes of a packet: more than the MTU of any device of ours.
pub(crate) const PACKET_BYTES_MAX: usize = 65_536;

/// The device is there until this is dropped.
#[derive(Debug)]
pub(crate) struct Tun(File);

impl Tun {
    /// Makes a device of this name in the network of the calling thread. Its packets have no header
    /// of the device before them. Reads and writes do not wait.
    pub(crate) fn open(name: &str) -> io::Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
            .open("/dev/net/tun")?;
        let mut request = libc::ifreq {
            ifr_name: [0; libc::IFNAMSIZ],
            ifr_ifru: libc::__c_anonymous_ifr_ifru {
                ifru_flags: (libc::IFF_TUN | libc::IFF_NO_PI) as c_short,
            },
        };
        // The last place stays 0, which ends the name.
        for (place, byte) in request.ifr_name[..libc::IFNAMSIZ - 1]
            .iter_mut()
            .zip(name.bytes())
        {
            *place = byte as c_char;
        }
        // SAFETY: TUNSETIFF reads and writes one ifreq, which lives until the call has returned.
        let result = unsafe { libc::ioctl(file.as_raw_fd(), TUNSETIFF as _, &raw mut request) };
        match result {
            0 => Ok(Self(file)),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// The next packet that the network sends into the device; `None`: there is none now.
    pub(crate) fn receive(&mut self, packet: &mut [u8]) -> io::Result<Option<usize>> {
        match self.0.read(packet) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            // The device is down.
            Err(error) if error.raw_os_error() == Some(libc::EIO) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Hands a packet to the network, as if it had come from a cable. False where the network does
    /// not take it: the device is down.
    pub(crate) fn send(&mut self, packet: &[u8]) -> bool {
        self.0.write(packet).is_ok()
    }
}

impl AsFd for Tun {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
