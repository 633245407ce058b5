//! A port that nobody listens on.

use std::net::{Ipv4Addr, TcpListener};

/// A loopback TCP port that was free a moment ago. Another process can still take it first: start the server in a loop
/// that asks for a new one.
///
/// # Errors
/// When no port can be bound.
pub fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}
