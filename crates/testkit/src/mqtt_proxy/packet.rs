//! The packets of MQTT 5, as far as the proxy has to know them.

use std::io::{self, Read as _};
use std::net::TcpStream;

/// MQTT's own limit is 256 MiB; nothing in these tests is a hundredth of this.
const MAX_PACKET_BYTES: usize = 4 << 20;
const PUBLISH: u8 = 3;
const PUBACK: u8 = 4;

/// A QoS 1 publish: what else there is isn't touched.
pub(super) fn is_publish(packet: &[u8]) -> bool {
    packet
        .first()
        .is_some_and(|first| first >> 4 == PUBLISH && first & 0b110 == 0b010)
}

/// Where a packet's variable header begins.
pub(super) fn head(packet: &[u8]) -> Option<usize> {
    let last = packet.iter().skip(1).position(|byte| byte & 0x80 == 0)?;
    Some(last + 2)
}

fn topic_end(packet: &[u8], at: usize) -> Option<usize> {
    let length = packet.get(at..at + 2)?;
    Some(at + 2 + usize::from(u16::from_be_bytes(length.try_into().ok()?)))
}

pub(super) fn identifier(packet: &[u8]) -> Option<[u8; 2]> {
    let end = topic_end(packet, head(packet)?)?;
    packet.get(end..end + 2)?.try_into().ok()
}

/// Topic and payload of a QoS 1 publish of MQTT 5. Its properties are shorter than 128 bytes here.
pub(super) fn parts(packet: &[u8], at: usize) -> Option<(&[u8], &[u8])> {
    let end = topic_end(packet, at)?;
    let properties = usize::from(*packet.get(end + 2)?);
    Some((packet.get(at + 2..end)?, packet.get(end + 3 + properties..)?))
}

/// PUBACK: success, no properties.
pub(super) fn acknowledgement(packet: &[u8]) -> Vec<u8> {
    let [high, low] = identifier(packet).unwrap_or_default();
    vec![PUBACK << 4, 2, high, low]
}

/// Whether a packet acknowledges a QoS 1 publish.
pub(super) fn is_acknowledgement(packet: &[u8]) -> bool {
    packet.first().map(|first| first >> 4) == Some(PUBACK)
}

/// One whole packet: its type, the length in up to four bytes of seven bits, and the rest.
pub(super) fn read_packet(from: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut packet = vec![0; 1];
    from.read_exact(&mut packet)?;
    let mut length = 0;
    for shift in [0, 7, 14, 21] {
        let mut byte = [0];
        from.read_exact(&mut byte)?;
        let [byte] = byte;
        packet.push(byte);
        length |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            break;
        }
    }
    if length > MAX_PACKET_BYTES {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let start = packet.len();
    packet.resize(start + length, 0);
    from.read_exact(packet.get_mut(start..).unwrap_or_default())?;
    Ok(packet)
}
