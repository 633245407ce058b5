//! Which device shall be what: pure decisions about assignments. It knows no database, no clock and no client; it is given
//! what the hub knows of a device and gives the state that the device shall have.

use floorhand_bundle::{HardwareClass, Version};
use floorhand_protocol::{Assigned, Hello, Mode, Parameters};

/// What an operator wants of a device.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Change {
    /// To run a bundle, newer or older.
    Run(Assigned),
    /// To work or to let samples go by.
    Mode(Mode),
    /// To report this share of its predictions, in parts per million.
    Sampling(u32),
    /// To be told the same again, under another key.
    Key,
}

/// The newest assignment of a device.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Current {
    /// What it assigned.
    pub(crate) run: Option<Assigned>,
    /// Whether that can still be what the device has or gets: not refused, not failed, not expired.
    pub(crate) holds: bool,
    /// Whether to work.
    pub(crate) mode: Mode,
    /// Settings.
    pub(crate) parameters: Parameters,
}

/// The whole state that a device shall have.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Desired {
    /// What to run. `None`: what runs already.
    pub(crate) run: Option<Assigned>,
    /// Whether to run it.
    pub(crate) mode: Mode,
    /// Settings.
    pub(crate) parameters: Parameters,
}

/// The state that a change leads to. What the change doesn't speak of stays as it was assigned, or, before the first
/// assignment, as the device says it is.
///
/// A bundle that was refused or failed isn't assigned again by a change that doesn't name it: a new assignment is a new
/// try.
pub(crate) fn desired(current: Option<&Current>, hello: Option<&Hello>, change: Change) -> Desired {
    let mut desired = match (current, hello) {
        (Some(current), _) => Desired {
            run: current.run.clone().filter(|_| current.holds),
            mode: current.mode,
            parameters: current.parameters.clone(),
        },
        (None, Some(hello)) => Desired {
            run: None,
            mode: hello.mode,
            parameters: hello.parameters.clone(),
        },
        (None, None) => Desired {
            run: None,
            mode: Mode::Run,
            parameters: Parameters::default(),
        },
    };
    match change {
        Change::Run(assigned) => desired.run = Some(assigned),
        Change::Mode(mode) => desired.mode = mode,
        Change::Sampling(ppm) => desired.parameters.sampling_ppm = ppm,
        Change::Key => {}
    }
    desired
}

/// What a bundle asks of the device it runs on.
#[derive(Debug, Clone)]
pub(crate) struct Demands<'a> {
    /// The hardware classes it is made for.
    pub(crate) hardware: &'a [HardwareClass],
    /// The oldest agent that can run it.
    pub(crate) min_agent: &'a Version,
    /// Its release.
    pub(crate) release_counter: u64,
}

/// Why a device would refuse a bundle, by what its last hello says. A device that hasn't said hello yet isn't prejudged:
/// it checks for itself.
pub(crate) fn unfit(demands: &Demands<'_>, hello: Option<&Hello>) -> Option<String> {
    let hello = hello?;
    if !demands.hardware.iter().any(|class| class.takes_in(&hello.hardware)) {
        let classes: Vec<&str> = demands.hardware.iter().map(HardwareClass::as_str).collect();
        return Some(format!(
            "its hardware is {}, and the bundle is for {}",
            hello.hardware,
            classes.join(", ")
        ));
    }
    if hello
        .agent
        .parse::<Version>()
        .is_ok_and(|agent| agent < *demands.min_agent)
    {
        return Some(format!(
            "its agent is {}, and the bundle needs {} or newer",
            hello.agent, demands.min_agent
        ));
    }
    if demands.release_counter < hello.floor {
        let release = demands.release_counter;
        return Some(format!(
            "its floor is release {}, and the bundle is release {release}",
            hello.floor
        ));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::hello;
    use floorhand_bundle::{BlobRef, Digest};

    fn assigned(name: &[u8]) -> Assigned {
        Assigned {
            bundle: Digest::of(name),
            manifest: BlobRef::of(name),
        }
    }

    fn current(holds: bool) -> Current {
        let parameters = Parameters { sampling_ppm: 5 };
        Current {
            run: Some(assigned(b"old")),
            holds,
            mode: Mode::Paused,
            parameters,
        }
    }

    #[test]
    fn a_change_changes_only_what_it_speaks_of() {
        let deployed = desired(Some(&current(true)), None, Change::Run(assigned(b"new")));
        let expected = Desired {
            run: Some(assigned(b"new")),
            mode: Mode::Paused,
            parameters: Parameters { sampling_ppm: 5 },
        };
        assert_eq!(deployed, expected);
        let resumed = desired(Some(&current(true)), None, Change::Mode(Mode::Run));
        assert_eq!((resumed.run, resumed.mode), (Some(assigned(b"old")), Mode::Run));
        let failed = desired(Some(&current(false)), None, Change::Sampling(7));
        assert_eq!(
            (failed.run, failed.parameters.sampling_ppm),
            (None, 7),
            "what failed isn't tried again"
        );
    }

    #[test]
    fn before_the_first_assignment_the_device_knows() {
        let mut device = hello("a", 1, 1);
        device.mode = Mode::Paused;
        device.parameters.sampling_ppm = 9;
        let state = desired(None, Some(&device), Change::Run(assigned(b"new")));
        assert_eq!((state.mode, state.parameters.sampling_ppm), (Mode::Paused, 9));
        assert_eq!(desired(None, None, Change::Sampling(3)).mode, Mode::Run);
    }

    #[test]
    fn devices_that_would_refuse_are_named_with_the_reason() {
        let check = |hardware: &str, min_agent: &str, release_counter: u64, expected: Option<&str>| {
            let (hardware, min_agent) = ([hardware.parse().unwrap()], min_agent.parse().unwrap());
            let demands = Demands {
                hardware: &hardware,
                min_agent: &min_agent,
                release_counter,
            };
            let mut device = hello("a", 1, 1);
            device.floor = 3;
            let reason = unfit(&demands, Some(&device));
            assert_eq!(reason.is_some(), expected.is_some(), "{reason:?}");
            assert!(reason.unwrap_or_default().contains(expected.unwrap_or_default()));
            assert_eq!(unfit(&demands, None), None);
        };
        check("*", "0.1.0", 3, None);
        check(
            "other",
            "0.1.0",
            3,
            Some("its hardware is gateway, and the bundle is for other"),
        );
        check("gateway", "0.2.0", 3, Some("needs 0.2.0 or newer"));
        check("gateway", "0.1.0", 2, Some("its floor is release 3"));
    }
}
