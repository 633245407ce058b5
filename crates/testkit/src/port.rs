//! A port that nobody listens on.

use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::net::{Ipv4Addr, TcpListener};

/// Below the ports that systems give to outgoing connections (Linux: from 32768 on), one of which could take a free port
/// between now and the server's start; above those that services are registered for.
const FROM: u16 = 20_000;
const COUNT: u16 = 12_000;
/// On a machine where so many in a row are taken, something is wrong.
const TRIES: u32 = 100;

/// A loopback TCP port that was free a moment ago, drawn by lot so that tests that run beside each other draw different
/// ones.
///
/// # Errors
/// When no port can be bound.
pub fn free_port() -> io::Result<u16> {
    let mut refused = io::Error::other("no port was tried");
    for _ in 0..TRIES {
        let lot = RandomState::new().hash_one(()) % u64::from(COUNT);
        let port = FROM + u16::try_from(lot).unwrap_or_default();
        match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            Ok(_) => return Ok(port),
            Err(error) => refused = error,
        }
    }
    Err(refused)
}
