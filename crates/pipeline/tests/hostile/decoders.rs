//! Decoders that answer with too much, or to what nobody sent.

use crate::guests;
use crate::neighbour::{beside, host};
use crate::worlds::decoder;
use floorhand_plugin_host::{DecodedMessage, Decoder, Limits, Message, PluginError};

/// What comes of so many messages, in forty mebibytes of memory.
fn decode(messages: usize, decode: &str) -> Result<Vec<DecodedMessage>, PluginError> {
    let host = host();
    let plugin = host.component(&decoder(800, decode)).unwrap();
    let limits = Limits {
        memory_bytes: 64 << 20,
        ..Limits::default()
    };
    beside(&host, || {
        let mut decoder = Decoder::start(&plugin, guests::setup(limits)).unwrap();
        let decoded = decoder.decode_all(&vec![Message::default(); messages]);
        assert_eq!(decoder.is_running(), !decoded.as_ref().is_err_and(PluginError::is_trap));
        decoded
    })
}

fn wrong(code: &str, expected: &str) {
    match decode(1, code) {
        Err(PluginError::BadOutput { reason, .. }) => assert!(reason.contains(expected), "{reason}"),
        other => panic!("{code}: {:?}", other.map(|decoded| decoded.len())),
    }
}

fn too_large(messages: usize, code: &str) {
    let error = decode(messages, code).unwrap_err();
    assert!(matches!(error, PluginError::OutputTooLarge { .. }), "{code}: {error}");
}

/// So many samples, of one element each, of the first message.
fn samples(count: u32) -> String {
    format!(
        "(i32.store (i32.const 288) (i32.const 65536)) (i32.store (i32.const 292) (i32.const {count}))
         (i32.store (i32.const 224) (i32.const {count})) (i32.store (i32.const 208) (i32.mul (i32.const 4) (i32.const {count})))
         (i32.store (i32.const 204) (i32.const 65536))"
    )
}

/// So many failures of the first message, with no text, in front of all samples.
fn failures(count: u32) -> String {
    format!("(i32.store (i32.const 172) (i32.const 65536)) (i32.store (i32.const 176) (i32.const {count}))")
}

#[test]
fn as_many_samples_and_failures_as_there_may_be() {
    let decoded = decode(1, &format!("{} {}", samples(4096), failures(4096))).unwrap();
    let (read, refused): (Vec<_>, Vec<_>) = decoded[0].iter().partition(|sample| sample.is_ok());
    assert_eq!((read.len(), refused.len()), (4096, 4096));
}

#[test]
fn more_samples_or_failures_than_there_may_be() {
    wrong(&samples(4097), "over 4096 samples");
    wrong(&failures(4097), "over 4096 failures");
}

#[test]
fn a_million_of_everything() {
    too_large(1, &samples(1_000_000));
    too_large(1, &failures(1_000_000));
    let batches = |count: u32| {
        format!("(i32.store (i32.const 164) (i32.const 65536)) (i32.store (i32.const 168) (i32.const {count}))")
    };
    too_large(1, &batches(1_000_000));
    wrong(&batches(100_000), "0 tensors, and it promised 1");
    // A thousand failures with the same text of eight million bytes, in a call for as many messages.
    let texts = "(loop $on
        (i32.store offset=65560 (i32.shl (local.get $i) (i32.const 5)) (i32.const 131072))
        (i32.store offset=65564 (i32.shl (local.get $i) (i32.const 5)) (i32.const 8000000))
        (br_if $on (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 1000))))";
    too_large(1024, &format!("{texts} {}", failures(1000)));
}

#[test]
fn a_message_that_nobody_sent() {
    wrong(
        "(i32.store (i32.const 320) (i32.const 1))",
        "message 1 of a call with 1",
    );
    wrong("(i32.store (i32.const 320) (i32.const -1))", "message 4294967295");
    let failure = format!("{} (i32.store (i32.const 65536) (i32.const 7))", failures(1));
    wrong(&failure, "message 7 of a call with 1");
}

#[test]
fn impossible_failures() {
    let behind = format!("{} (i32.store (i32.const 65540) (i32.const 2))", failures(1));
    wrong(&behind, "a failure behind 2 samples of a message with 1");
    let everywhere = behind.replace("(i32.const 2)", "(i32.const -1)");
    wrong(&everywhere, "a failure behind 4294967295 samples");
    let backwards = format!("{} (i32.store (i32.const 65540) (i32.const 1))", failures(2));
    wrong(&backwards, "failures that aren't in their order");
    let key = format!("{} (i32.store8 (i32.const 65544) (i32.const 1))", failures(1));
    wrong(&key, "a failure's key has 0 bytes");
}

#[test]
fn impossible_heads() {
    let time = "(i32.store8 (i32.const 352) (i32.const 1)) (i64.store (i32.const 360) (i64.const -1))";
    wrong(time, "time is 2^63 ns or more");
    wrong("(i32.store8 (i32.const 324) (i32.const 1))", "id has 0 bytes");
    let key = "(i32.store8 (i32.const 336) (i32.const 1)) (i32.store (i32.const 340) (i32.const 65536))
        (i32.store (i32.const 344) (i32.const LENGTH))";
    wrong(&key.replace("LENGTH", "8000000"), "key has 8000000 bytes");
    too_large(1, &key.replace("LENGTH", "40000000"));
    let text = "(i32.store8 (i32.const 65536) (i32.const 255))";
    let error = decode(1, &format!("{text} {}", key.replace("LENGTH", "1"))).unwrap_err();
    assert!(matches!(error, PluginError::Trap { .. }), "{error}");
}
