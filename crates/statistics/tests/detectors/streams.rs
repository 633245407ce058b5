//! The detectors on the Harvard concept-drift streams: see [`harvard`](crate::harvard).

use crate::{any::Any, harvard};
use floorhand_statistics::detection::Level;

#[test]
fn the_harvard_streams_drifts_are_found_as_river_finds_them() {
    harvard::check(None, |detector, parameters| {
        let mut detector = Any::recorded(detector, parameters);
        move |wrong| detector.push(f64::from(u8::from(wrong))) == Level::Drift
    });
}
