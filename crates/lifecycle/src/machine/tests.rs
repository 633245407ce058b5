//! The machine driven through whole deployments, on simulated time.

use super::*;
use crate::event::{BundleFacts, Failure, TrialSample};
use floorhand_bundle::{BlobRef, Digest, Gates};
use floorhand_protocol::{BundleId, Mode, Parameters};

mod roots;

/// A machine and what it asked for.
struct Bench {
    machine: Machine,
    saved: State,
    actions: Vec<Action>,
}

fn device() -> Device {
    Device {
        hardware: "gateway".parse().unwrap(),
        agent: "0.1.0".parse().unwrap(),
    }
}

fn facts(name: &str, release_counter: u64) -> BundleFacts {
    let id = BundleId {
        digest: Digest::of(name.as_bytes()),
        name: name.parse().unwrap(),
        version: "1.0.0".parse().unwrap(),
    };
    BundleFacts {
        id,
        release_counter,
        floor: 1,
        hardware: vec!["*".parse().unwrap()],
        min_agent: "0.1.0".parse().unwrap(),
        tries: 2,
    }
}

fn assignment(name: &str, seq: u64) -> Assignment {
    Assignment {
        fleet: "f".parse().unwrap(),
        device: "d".parse().unwrap(),
        seq,
        job: format!("job-{seq}"),
        run: Some(Assigned {
            bundle: Digest::of(name.as_bytes()),
            manifest: BlobRef::of(name.as_bytes()),
        }),
        mode: Mode::Run,
        parameters: Parameters::default(),
        issued_ms: seq * 1000,
        expires_ms: u64::MAX,
        critical: vec![],
    }
}

impl Bench {
    fn new() -> Self {
        let mut bench = Self {
            machine: Machine::new(device(), State::default()),
            saved: State::default(),
            actions: vec![],
        };
        bench.event(Event::Boot);
        bench
    }

    fn event(&mut self, event: Event) -> &mut Self {
        self.at(event, 0)
    }

    fn at(&mut self, event: Event, now_ms: u64) -> &mut Self {
        self.actions = self.machine.handle(event, now_ms);
        for action in &self.actions {
            if let Action::Save(state) = action {
                self.saved = (**state).clone();
            }
        }
        assert_eq!(State::decode(&self.saved.encode().unwrap()).unwrap(), self.saved);
        self
    }

    /// Power goes, and comes back.
    fn power_cut(&mut self) -> &mut Self {
        self.machine = Machine::new(device(), self.saved.clone());
        self.event(Event::Boot)
    }

    fn staged(&mut self, name: &str, seq: u64) -> &mut Self {
        self.event(Event::Assigned(assignment(name, seq)));
        self.event(Event::ManifestReady(facts(name, seq)));
        self.event(Event::ComponentsReady)
    }

    fn in_trial(&mut self, name: &str, seq: u64) -> &mut Self {
        self.staged(name, seq);
        self.event(Event::Staged(Ok(Gates {
            samples: 3,
            ..Gates::default()
        })))
    }

    fn committed(&mut self, name: &str, seq: u64) -> &mut Self {
        self.in_trial(name, seq);
        for _ in 0..3 {
            self.event(Event::Trial(TrialSample::default()));
        }
        self
    }

    fn reports(&self) -> Vec<(JobStatus, Step, &str)> {
        let mut reports = Vec::new();
        for action in &self.actions {
            if let Action::Report(report) = action {
                reports.push((report.status, report.step, report.reason.as_str()));
            }
        }
        reports
    }

    fn active(&self) -> &str {
        self.saved
            .active
            .as_ref()
            .map_or("nothing", |active| active.bundle.name.as_str())
    }

    /// True when a save comes before the first action that `later` picks.
    fn saves_before(&self, later: impl Fn(&Action) -> bool) -> bool {
        let save = self.actions.iter().position(|action| matches!(action, Action::Save(_)));
        let later = self.actions.iter().position(later);
        matches!((save, later), (Some(save), Some(later)) if save < later)
    }
}

#[test]
fn a_bundle_is_fetched_tried_and_committed() {
    let mut bench = Bench::new();
    bench.event(Event::Assigned(assignment("a", 1)));
    assert_eq!(bench.reports(), [(JobStatus::InProgress, Step::Assigned, "")]);
    assert!(bench.saves_before(|action| matches!(action, Action::Answer { .. })));
    bench.event(Event::ManifestReady(facts("a", 1)));
    assert!(
        bench
            .actions
            .iter()
            .any(|action| matches!(action, Action::FetchComponents(_)))
    );
    bench.event(Event::ComponentsReady);
    assert!(matches!(bench.actions[0], Action::Keep(_)));
    assert!(bench.saves_before(|action| matches!(action, Action::Stage(_))));
    assert_eq!(
        bench.saved.candidate.as_ref().unwrap().tries_left,
        1,
        "a try is taken before anything is loaded"
    );
    bench.event(Event::Staged(Ok(Gates {
        samples: 2,
        ..Gates::default()
    })));
    assert!(
        bench
            .actions
            .iter()
            .any(|action| matches!(action, Action::StartTrial(_)))
    );
    bench.event(Event::Trial(TrialSample::default()));
    assert_eq!(bench.active(), "nothing");
    bench.event(Event::Trial(TrialSample::default()));
    assert_eq!(bench.reports(), [(JobStatus::Succeeded, Step::Committed, "")]);
    assert!(bench.saves_before(|action| matches!(action, Action::Promote(_))));
    assert_eq!((bench.active(), bench.saved.floor), ("a", 1));
}

#[test]
fn golden_cases_that_fail_end_it_before_it_starts() {
    let mut bench = Bench::new();
    bench.committed("a", 1).staged("b", 2);
    bench.event(Event::Staged(Err("golden case 3".to_owned())));
    assert_eq!(bench.reports(), [(JobStatus::Failed, Step::Staged, "golden case 3")]);
    assert_eq!(bench.active(), "a");
    assert!(bench.saved.candidate.is_none());
}

#[test]
fn a_trial_that_fails_is_rolled_back_and_not_tried_again_until_assigned_anew() {
    let mut bench = Bench::new();
    bench.committed("a", 1).in_trial("b", 2);
    bench.event(Event::Trial(TrialSample {
        failure: Some("no flow".to_owned()),
        ..TrialSample::default()
    }));
    let [(status, step, _)] = bench.reports()[..] else {
        panic!("{:?}", bench.actions)
    };
    assert_eq!(
        (status, step, bench.active()),
        (JobStatus::Failed, Step::RolledBack, "a")
    );
    bench.event(Event::Assigned(assignment("b", 2)));
    assert!(
        bench.actions.is_empty(),
        "the retained assignment comes again at every connect"
    );
    bench.power_cut();
    assert!(!bench.actions.iter().any(|action| matches!(action, Action::Stage(_))));
    bench.event(Event::Assigned(assignment("b", 3)));
    assert!(
        bench
            .actions
            .iter()
            .any(|action| matches!(action, Action::FetchManifest(_)))
    );
}

#[test]
fn power_cuts_in_a_trial_use_up_its_tries() {
    let mut bench = Bench::new();
    bench.committed("a", 1).in_trial("b", 2).power_cut();
    assert!(
        bench
            .actions
            .iter()
            .any(|action| matches!(action, Action::Activate(active) if active.number == 1))
    );
    assert!(bench.actions.iter().any(|action| matches!(action, Action::Stage(_))));
    bench.power_cut();
    assert!(!bench.actions.iter().any(|action| matches!(action, Action::Stage(_))));
    assert!(matches!(
        bench.reports()[..],
        [(JobStatus::Failed, Step::RolledBack, _)]
    ));
    assert_eq!(bench.active(), "a");
}

#[test]
fn power_cuts_while_fetching_cost_nothing() {
    let mut bench = Bench::new();
    bench.event(Event::Assigned(assignment("a", 1))).power_cut();
    assert!(
        bench
            .actions
            .iter()
            .any(|action| matches!(action, Action::FetchManifest(_)))
    );
    bench.event(Event::ManifestReady(facts("a", 1))).power_cut();
    assert!(
        bench
            .actions
            .iter()
            .any(|action| matches!(action, Action::FetchManifest(_)))
    );
}

#[test]
fn silence_in_a_trial_times_out() {
    let mut bench = Bench::new();
    bench.committed("a", 1).in_trial("b", 2).at(Event::Tick, 3_600_000);
    let [(status, step, _)] = bench.reports()[..] else {
        panic!("{:?}", bench.actions)
    };
    assert_eq!((status, step), (JobStatus::TimedOut, Step::RolledBack));
}

#[test]
fn an_operator_goes_back_and_forth_without_a_trial() {
    let mut bench = Bench::new();
    bench.committed("a", 1).committed("b", 2);
    assert_eq!(bench.active(), "b");
    bench.event(Event::Assigned(assignment("a", 3)));
    assert!(bench.saves_before(|action| matches!(action, Action::Activate(_))));
    bench.event(Event::Activated(Ok(())));
    assert_eq!(bench.reports(), [(JobStatus::Succeeded, Step::Committed, "")]);
    assert_eq!(bench.active(), "a");
    bench
        .event(Event::Assigned(assignment("b", 4)))
        .event(Event::Activated(Err("disk".to_owned())));
    assert_eq!(bench.reports(), [(JobStatus::Failed, Step::Staged, "disk")]);
    assert_eq!(bench.active(), "a");
}

#[test]
fn what_is_not_for_this_device_is_rejected_for_its_reason() {
    let check = |change: fn(&mut BundleFacts), part: &str| {
        let mut bench = Bench::new();
        bench.committed("a", 5).event(Event::Assigned(assignment("b", 6)));
        let mut facts = facts("b", 6);
        change(&mut facts);
        bench.event(Event::ManifestReady(facts));
        let [(JobStatus::Rejected, Step::Fetching, reason)] = bench.reports()[..] else {
            panic!("{:?}", bench.actions)
        };
        assert!(reason.contains(part), "{reason}");
        assert_eq!(bench.active(), "a");
    };
    check(
        |facts| facts.release_counter = 0,
        "release counter 0 is below this device's floor 1",
    );
    check(
        |facts| facts.hardware = vec!["press".parse().unwrap()],
        "made for press, and this device is gateway",
    );
    check(
        |facts| facts.min_agent = "9.0.0".parse().unwrap(),
        "needs agent 9.0.0 and this is 0.1.0",
    );
    check(|facts| facts.id.digest = Digest::of(b"c"), "was not assigned");
}

#[test]
fn older_assignments_are_rejected_and_newer_ones_take_over() {
    let mut bench = Bench::new();
    bench.committed("a", 5).event(Event::Assigned(assignment("b", 4)));
    assert!(matches!(
        bench.actions[..],
        [Action::Answer {
            seq: 4,
            outcome: Outcome::Rejected { .. }
        }]
    ));
    bench.in_trial("b", 6).event(Event::Assigned(assignment("c", 7)));
    assert_eq!(bench.reports()[0].0, JobStatus::Canceled);
    assert!(bench.actions.contains(&Action::DropCandidate));
    bench.event(Event::Assigned(assignment("a", 8)));
    assert_eq!(
        bench.reports().last().unwrap().0,
        JobStatus::Succeeded,
        "what runs already is done"
    );
    assert!(bench.actions.contains(&Action::StopFetching));
}

#[test]
fn a_committed_bundle_that_breaks_gives_way_to_the_one_before() {
    let mut bench = Bench::new();
    bench.committed("a", 1).committed("b", 2);
    bench.event(Event::Broken {
        generation: 2,
        reason: "three traps".to_owned(),
    });
    assert_eq!(bench.reports(), [(JobStatus::Failed, Step::RolledBack, "three traps")]);
    assert_eq!(bench.active(), "a");
    assert!(bench.saved.previous.is_none(), "nobody goes back to what broke");
    bench.event(Event::Activated(Ok(()))).event(Event::Broken {
        generation: 1,
        reason: "again".to_owned(),
    });
    assert!(matches!(&bench.actions[..], [Action::Alarm { reason, .. }] if reason.contains("no other generation")));
    assert_eq!(bench.active(), "a");
}

#[test]
fn a_crash_loop_gives_way_to_the_one_before() {
    let mut bench = Bench::new();
    bench.committed("a", 1).committed("b", 2);
    for _ in 0..5 {
        bench.power_cut();
        assert_eq!(bench.active(), "b");
    }
    bench.power_cut();
    assert_eq!(bench.active(), "a");
    assert!(
        bench
            .actions
            .iter()
            .any(|action| matches!(action, Action::Alarm { .. }))
    );
}

#[test]
fn ends_in_order_are_no_crashes() {
    let mut bench = Bench::new();
    bench.committed("old", 1).committed("new", 2);
    for _ in 0..20 {
        bench.event(Event::Stopping);
        bench.power_cut();
    }
    assert_eq!(bench.active(), "new");
}

#[test]
fn what_is_damaged_on_the_disk_is_made_whole_and_serves_again() {
    let mut bench = Bench::new();
    bench.committed("only", 1).power_cut();
    bench.event(Event::Activated(Err("model.onnx is damaged".to_owned())));
    assert!(bench.machine.unserved().is_some());
    assert!(bench.actions.contains(&Action::SayHello));
    bench.event(Event::Repaired);
    assert!(matches!(bench.actions.as_slice(), [Action::Activate(_)]));
    bench.event(Event::Activated(Ok(())));
    assert!(bench.machine.unserved().is_none());
}

#[test]
fn a_bundle_that_can_not_serve_is_fetched_again_when_it_is_assigned_again() {
    let mut bench = Bench::new();
    bench.committed("only", 1).power_cut();
    bench.event(Event::Activated(Err("model.onnx is damaged".to_owned())));
    bench.event(Event::Assigned(assignment("only", 2)));
    assert_eq!(bench.reports(), [(JobStatus::InProgress, Step::Assigned, "")]);
    bench.event(Event::ManifestReady(facts("only", 1)));
    bench.event(Event::ComponentsReady);
    bench.event(Event::Staged(Ok(Gates {
        samples: 1,
        ..Gates::default()
    })));
    bench.event(Event::Trial(TrialSample::default()));
    assert_eq!(bench.reports(), [(JobStatus::Succeeded, Step::Committed, "")]);
    assert!(bench.machine.unserved().is_none());
    assert_eq!(
        bench.saved.previous, None,
        "what can't be loaded is nothing to go back to"
    );
}

#[test]
fn a_minute_of_uptime_ends_the_count() {
    let mut bench = Bench::new();
    bench.committed("a", 1).committed("b", 2).power_cut().power_cut();
    assert_eq!(bench.saved.short_runs, 2);
    bench.at(Event::Tick, 60_000);
    assert_eq!(bench.saved.short_runs, 0);
}

#[test]
fn a_fetch_that_fails_leaves_everything_else_alone() {
    let mut bench = Bench::new();
    bench.committed("a", 1).event(Event::Assigned(assignment("b", 2)));
    bench.event(Event::FetchFailed(Failure::TimedOut("slow".to_owned())));
    assert_eq!(bench.reports(), [(JobStatus::TimedOut, Step::Fetching, "slow")]);
    assert_eq!(bench.active(), "a");
    bench.event(Event::ComponentsReady);
    assert!(bench.actions.is_empty(), "late news of what was given up");
}

#[test]
fn what_is_not_carried_on_begins_again_when_it_is_assigned_again() {
    for staged in [false, true] {
        let mut bench = Bench::new();
        bench.committed("a", 1).event(Event::Assigned(assignment("b", 2)));
        if staged {
            bench.staged("b", 2);
        }
        bench.event(Event::Stalled).event(Event::Assigned(assignment("b", 3)));
        let fetched = |action: &Action| matches!(action, Action::FetchManifest(pending) if pending.seq == 3);
        assert!(bench.actions.iter().any(fetched), "{staged}: {:?}", bench.actions);
        assert_eq!(bench.reports()[0].0, JobStatus::Canceled, "{staged}");
        assert_eq!((bench.active(), &bench.saved.candidate), ("a", &None));
    }
}

#[test]
fn time_and_commands_only_rise() {
    let mut bench = Bench::new();
    bench
        .event(Event::SignedTime(500))
        .event(Event::SignedTime(400))
        .event(Event::CommandTaken(3));
    assert_eq!((bench.saved.clock_ms, bench.saved.command_id), (500, 3));
}
