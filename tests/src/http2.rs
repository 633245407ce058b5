//! What little of HTTP/2 a client needs that writes its own frames: one that means harm, or one that is timed.

/// What a connection begins with.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Kinds of frames.
pub const DATA: u8 = 0;
/// The head of a call or of an answer, and what stands behind it.
pub const HEADERS: u8 = 1;
/// The end of a stream before its time.
pub const RESET: u8 = 3;
/// How a side wants to be spoken to.
pub const SETTINGS: u8 = 4;
/// Whether anybody is there.
pub const PING: u8 = 6;
/// The end of a connection.
pub const GOAWAY: u8 = 7;
/// How much more may be sent.
pub const WINDOW_UPDATE: u8 = 8;
/// More of a head.
pub const CONTINUATION: u8 = 9;
/// Flag of DATA and HEADERS: nothing follows on this stream.
pub const END_STREAM: u8 = 1;
/// Flag of SETTINGS and PING: an answer to the same.
pub const ACK: u8 = 1;
/// Flag of HEADERS: the head is whole.
pub const END_HEADERS: u8 = 4;

/// A frame.
#[must_use]
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let [_, length @ ..] = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_be_bytes();
    [&length[..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// The head of an inference over gRPC, in HPACK without compression.
#[must_use]
pub fn grpc_head() -> Vec<u8> {
    let literal = |name: &str, value: &str| {
        let length = |text: &str| u8::try_from(text.len()).unwrap_or(127);
        [&[0, length(name)], name.as_bytes(), &[length(value)], value.as_bytes()].concat()
    };
    [
        literal(":method", "POST"),
        literal(":scheme", "http"),
        literal(":path", "/inference.GRPCInferenceService/ModelInfer"),
        literal(":authority", "x"),
        literal("content-type", "application/grpc"),
        literal("te", "trailers"),
    ]
    .concat()
}
