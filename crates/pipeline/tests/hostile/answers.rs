//! Processors whose answers are too many, too long or impossible. The records' places are those of `guests`.

use crate::guests;
use crate::neighbour::{processing, run};
use floorhand_plugin_host::{Limits, PluginError};

/// Stores numbers at places.
fn store(numbers: &[(u32, u32)]) -> String {
    numbers
        .iter()
        .map(|(at, number)| format!("(i32.store (i32.const {at}) (i32.const {number}))"))
        .collect()
}

fn too_large(error: &PluginError) {
    assert!(matches!(error, PluginError::OutputTooLarge { .. }), "{error}");
}

/// A wrong answer, and what is said about it is no book.
fn wrong(error: &PluginError, expected: &str) {
    match error {
        PluginError::BadOutput { reason, .. } => {
            assert!(reason.len() <= 1024 && reason.contains(expected), "{reason}");
        }
        other => panic!("{other}"),
    }
}

#[test]
fn huge_lists() {
    let answers = store(&[(164, 65536), (168, 700_000)]);
    too_large(&processing(&answers).unwrap_err());
    let refusals = store(&[(172, 65536), (176, 700_000)]);
    too_large(&processing(&refusals).unwrap_err());
    let refusals = store(&[(172, 65536), (176, 100_000)]);
    wrong(&processing(&refusals).unwrap_err(), "twice");
    let places = store(&[(288, 65536), (292, 3_000_000)]);
    too_large(&processing(&places).unwrap_err());
    let tensors = store(&[(296, 65536), (300, 600_000)]);
    too_large(&processing(&tensors).unwrap_err());
    let beyond = store(&[(288, 65536), (292, u32::MAX)]);
    let error = processing(&beyond).unwrap_err();
    assert!(matches!(error, PluginError::Trap { .. }), "{error}");
}

#[test]
fn a_long_complaint_is_cut_and_given_back() {
    let complaint = format!(
        "(i32.store8 (i32.const 160) (i32.const 1)) {}",
        store(&[(164, 0), (168, 65536), (172, 8_000_000)])
    );
    match processing(&complaint).unwrap_err() {
        PluginError::BadInput(text) => assert_eq!((text.len(), text.capacity()), (1024, 1024)),
        other => panic!("{other}"),
    }
}

#[test]
fn impossible_shapes() {
    let rank = |rank: u32| store(&[(196, 65536), (200, rank), (208, 0)]);
    wrong(&processing(&rank(2_000_000)).unwrap_err(), "2000000 dimensions");
    wrong(&processing(&rank(17)).unwrap_err(), "17 dimensions");
    wrong(&processing(&rank(0)).unwrap_err(), "0 dimensions");
    let error = processing(&rank(u32::MAX)).unwrap_err();
    assert!(matches!(error, PluginError::Trap { .. }), "{error}");
    let sizes = |first: u32, second: u32| store(&[(196, 224), (200, 2), (224, first), (228, second)]);
    for (first, second) in [(u32::MAX, u32::MAX), (1, u32::MAX), (1 << 31, 1 << 31), (0, u32::MAX)] {
        let error = processing(&sizes(first, second)).unwrap_err();
        wrong(&error, "whose product isn't below 2^31");
    }
    let large = (1 << 31) - 1;
    wrong(&processing(&sizes(1, large)).unwrap_err(), "needs 8589934588 bytes");
    wrong(&processing(&sizes(0, large)).unwrap_err(), "needs 0 bytes");
    let nothing = format!("{} {}", sizes(0, large), store(&[(208, 0)]));
    wrong(&processing(&nothing).unwrap_err(), "shape [0, 2147483647]");
}

#[test]
fn huge_promises() {
    let promise = |configure: &str| {
        let guest = guests::Processor {
            configure,
            pages: 200,
            ..Default::default()
        };
        run(guest, Limits::default()).0.unwrap_err()
    };
    too_large(&promise(&store(&[(100, 65536), (104, 400_000)])));
    too_large(&promise(&store(&[(80, 65536), (84, 3_000_000)])));
    too_large(&promise(&store(&[(88, 65536), (92, 500_000)])));
    wrong(&promise(&store(&[(88, 65536), (92, 4097)])), "names 4097 fields");
    wrong(&promise(&store(&[(80, 65536), (84, 16)])), "16 dimensions");
    wrong(&promise(&store(&[(68, 65536), (72, 257)])), "257 bytes");
}
