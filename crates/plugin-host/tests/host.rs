//! What is loaded and what is refused, and a plugin's life: samples, snapshots, restarts.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[expect(dead_code, reason = "other tests use the rest")]
mod guests;

use floorhand_plugin_host::{
    Context, Fault, Host, HostConfig, HostError, Limits, Monitor, Origin, Phase, PluginError, Processor, Severity,
    World,
};
use floorhand_tensor::{Datatype, Dim, Tensor};
use guests::{CONTEXT, setup, x};

fn host() -> Host {
    Host::new(HostConfig::default()).unwrap()
}

#[test]
fn a_processor_processes() {
    let plugin = host().component(&guests::Processor::default().component()).unwrap();
    assert_eq!(plugin.world(), World::Processor);
    let mut processor = Processor::start(&plugin, setup(Limits::default())).unwrap();
    let signature = processor.signature();
    assert_eq!(
        (signature.inputs[0].name.as_str(), &signature.inputs[0].shape[..]),
        ("x", &[Dim::Any][..])
    );
    for values in [&[][..], &[1.0], &[f32::NAN, f32::INFINITY, -0.0], &[0.5; 100_000]] {
        let outputs = processor.process(&CONTEXT, &[x(values)]).unwrap();
        assert_eq!(outputs, [x(values).renamed("y")]);
    }
    let pending = "(i32.store (i32.const 168) (i32.const 0))";
    let pending = guests::Processor {
        process: pending,
        ..Default::default()
    }
    .component();
    let mut pending = Processor::start(&host().component(&pending).unwrap(), setup(Limits::default())).unwrap();
    assert_eq!(pending.process(&CONTEXT, &[x(&[1.0])]).unwrap(), [], "not yet");
}

#[test]
fn several_samples_are_one_call() {
    let plugin = host().component(&guests::Processor::default().component()).unwrap();
    let mut processor = Processor::start(&plugin, setup(Limits::default())).unwrap();
    let contexts: Vec<Context> = (0..3).map(|sequence| Context { sequence, ..CONTEXT }).collect();
    let three = Tensor::from_f32("x", vec![3, 2], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]).unwrap();
    let answers = processor.process_batch(&contexts, &[&three]).unwrap();
    let expected = [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]].map(|values| Ok(vec![x(&values).renamed("y")]));
    assert_eq!(answers, expected);
    assert_eq!(processor.snapshot().unwrap(), 1_u32.to_le_bytes(), "it was called once");
    let error = processor.process_batch(&contexts[..2], &[&three]).unwrap_err();
    assert_eq!(error.to_string(), r#"tensor "x" has shape [3, 2], expected [2, -1]"#);
    assert!(processor.process_batch::<Tensor>(&[], &[]).is_err());
    // It refuses the second and answers to the other two.
    let refuse = "(i32.store (i32.const 172) (i32.const 304)) (i32.store (i32.const 176) (i32.const 1))
        (i32.store (i32.const 304) (i32.const 1)) (i32.store (i32.const 312) (i32.const 16))
        (i32.store (i32.const 316) (i32.const 1)) (i32.store (i32.const 1028) (i32.const 2))
        (i32.store (i32.const 292) (i32.const 2)) (i32.store (i32.load (i32.const 196)) (i32.const 2))
        (i32.store (i32.const 208) (i32.const 16))";
    let guest = guests::Processor {
        process: refuse,
        ..Default::default()
    };
    let plugin = host().component(&guest.component()).unwrap();
    let mut processor = Processor::start(&plugin, setup(Limits::default())).unwrap();
    let answers = processor.process_batch(&contexts, &[&three]).unwrap();
    assert_eq!(answers[1], Err(PluginError::BadInput("x".to_owned())));
    assert_eq!(
        answers[2],
        Ok(vec![x(&[3.0, 4.0]).renamed("y")]),
        "the second row of its answer"
    );
}

#[test]
fn texts_go_to_a_plugin_and_back() {
    let guest = guests::Processor {
        // The datatypes of the specs of input and output: byte strings.
        configure: "(i32.store8 (i32.const 48) (i32.const 13)) (i32.store8 (i32.const 76) (i32.const 13))",
        ..Default::default()
    };
    let plugin = host().component(&guest.component()).unwrap();
    let mut processor = Processor::start(&plugin, setup(Limits::default())).unwrap();
    assert_eq!(processor.signature().outputs[0].datatype, Datatype::Bytes);
    let contexts = vec![CONTEXT; 3];
    let texts = ["worn", "", "w\u{e4}rm", "a", "b", ""];
    let batch = Tensor::from_elements("x", vec![3, 2], &texts).unwrap();
    let answers = processor.process_batch(&contexts, &[&batch]).unwrap();
    let expected = texts
        .chunks(2)
        .map(|texts| Ok(vec![Tensor::from_elements("y", vec![2], texts).unwrap()]));
    assert_eq!(answers, expected.collect::<Vec<_>>());
    // Answers whose lengths don't add up are the plugin's fault.
    let guest = guests::Processor {
        process: "(i32.store8 (i32.load (i32.const 204)) (i32.const 99))",
        ..guest
    };
    let plugin = host().component(&guest.component()).unwrap();
    let mut processor = Processor::start(&plugin, setup(Limits::default())).unwrap();
    let error = processor.process_batch(&contexts, &[&batch]).unwrap_err();
    assert!(
        matches!(&error, PluginError::BadOutput { reason, .. } if reason.contains("cut short")),
        "{error}"
    );
}

#[test]
fn a_call_holds_no_more_samples_than_the_plugin_says() {
    let guest = guests::Processor {
        configure: "(i32.store (i32.const 120) (i32.const 2))",
        ..Default::default()
    };
    let plugin = host().component(&guest.component()).unwrap();
    let mut processor = Processor::start(&plugin, setup(Limits::default())).unwrap();
    assert_eq!(processor.max_samples(), 2);
    let contexts = vec![CONTEXT; 3];
    let batch = |samples: u64| Tensor::from_f32("x", vec![samples, 1], &vec![1.0; samples as usize]).unwrap();
    assert_eq!(processor.process_batch(&contexts[..2], &[&batch(2)]).unwrap().len(), 2);
    let error = processor.process_batch(&contexts, &[&batch(3)]).unwrap_err();
    assert_eq!(
        error,
        PluginError::BadInput("3 samples in a call, not 1 to 2".to_owned())
    );
    assert!(processor.is_running());
}

/// Neither function is called, and none can do harm.
#[test]
fn a_plugin_without_state_is_asked_for_none_and_given_none() {
    let guest = guests::Processor {
        configure: "(i32.store (i32.const 116) (i32.const 0))",
        snapshot: "(unreachable)",
        restore: "(unreachable)",
        ..Default::default()
    };
    let plugin = host().component(&guest.component()).unwrap();
    let mut processor = Processor::start(&plugin, setup(Limits::default())).unwrap();
    processor.process(&CONTEXT, &[x(&[1.0])]).unwrap();
    let state = processor.snapshot().unwrap();
    assert_eq!(state, b"");
    processor.restore(&state).unwrap();
    processor.restart().unwrap();
    processor.process(&CONTEXT, &[x(&[1.0])]).unwrap();
    let error = processor.restore(b"of another version").unwrap_err();
    assert!(matches!(error, PluginError::BadConfig(_)), "{error}");
    processor.process(&CONTEXT, &[x(&[1.0])]).unwrap();
}

#[test]
fn plugins_move_between_threads() {
    fn moves<T: Send>() {}
    moves::<Processor>();
    moves::<Monitor>();
    moves::<Host>();
}

#[test]
fn inputs_are_held_against_the_signature() {
    let plugin = host().component(&guests::Processor::default().component()).unwrap();
    let limits = Limits {
        input_bytes: 16,
        ..Limits::default()
    };
    let mut processor = Processor::start(&plugin, setup(limits)).unwrap();
    let other = x(&[0.0]).renamed("z");
    let error = processor.process(&CONTEXT, &[&other]).unwrap_err();
    assert_eq!(error.to_string(), r#"tensor "x" is missing; there are ["z"]"#);
    let error = processor.process(
        &CONTEXT,
        &[Tensor::from_f64("x", Datatype::Fp64, vec![1], &[0.0]).unwrap()],
    );
    assert_eq!(error.unwrap_err().fault(), Fault::Bundle);
    let error = processor.process(&CONTEXT, &[x(&[0.0; 5])]).unwrap_err();
    assert_eq!(
        error,
        PluginError::InputTooLarge {
            bytes: 20,
            limit_bytes: 16
        }
    );
    assert!(
        processor.process(&CONTEXT, &[&other, &x(&[0.0; 4])]).is_ok(),
        "others are ignored"
    );
}

#[test]
fn a_restart_goes_on_from_the_last_good_snapshot() {
    let trap = "(if (f32.lt (f32.load (i32.load (i32.const 204))) (f32.const 0)) (then (unreachable)))";
    let guest = guests::Processor {
        process: trap,
        ..Default::default()
    };
    let plugin = host().component(&guest.component()).unwrap();
    let mut processor = Processor::start(&plugin, setup(Limits::default())).unwrap();
    let samples = |processor: &mut Processor, n: u32| {
        (0..n).for_each(|_| drop(processor.process(&CONTEXT, &[x(&[1.0])]).unwrap()));
    };
    samples(&mut processor, 3);
    assert_eq!(processor.snapshot().unwrap(), 3_u32.to_le_bytes());
    samples(&mut processor, 2);
    assert!(processor.process(&CONTEXT, &[x(&[-1.0])]).unwrap_err().is_trap());
    assert_eq!(processor.snapshot(), Err(PluginError::Stopped));
    processor.restart().unwrap();
    samples(&mut processor, 1);
    assert_eq!(processor.snapshot().unwrap(), 4_u32.to_le_bytes());
    processor.restore(&9_u32.to_le_bytes()).unwrap();
    assert_eq!(processor.snapshot().unwrap(), 9_u32.to_le_bytes());
    let mut moved = Processor::start(&plugin, setup(Limits::default())).unwrap();
    moved.restore(&processor.snapshot().unwrap()).unwrap();
    samples(&mut moved, 1);
    assert_eq!(moved.snapshot().unwrap(), 10_u32.to_le_bytes());
}

#[test]
fn snapshots_are_bounded_and_refusals_are_not_fatal() {
    let large = "(i32.store (i32.const 264) (i32.const 5000))";
    let guest = guests::Processor {
        snapshot: large,
        ..Default::default()
    };
    let limits = Limits {
        state_bytes: 4999,
        ..Limits::default()
    };
    let plugin = host().component(&guest.component()).unwrap();
    let mut processor = Processor::start(&plugin, setup(limits)).unwrap();
    let error = processor.snapshot().unwrap_err();
    assert_eq!(
        error,
        PluginError::OutputTooLarge {
            function: "snapshot",
            limit_bytes: 4999
        }
    );
    let refuse = "(i32.store (i32.const 272) (i32.const 1)) (i32.store (i32.const 276) (i32.const 1))
        (i32.store (i32.const 280) (i32.const 16)) (i32.store (i32.const 284) (i32.const 1))";
    let guest = guests::Processor {
        restore: refuse,
        ..Default::default()
    };
    let plugin = host().component(&guest.component()).unwrap();
    let mut processor = Processor::start(&plugin, setup(Limits::default())).unwrap();
    assert_eq!(processor.restore(&[0; 4]), Err(PluginError::BadConfig("x".to_owned())));
    assert!(!processor.is_running(), "nobody knows what it has taken of the state");
    processor.restart().unwrap();
    assert!(processor.process(&CONTEXT, &[x(&[1.0])]).is_ok());
    // A state that was good, and isn't any more: one restart begins without it.
    processor.snapshot().unwrap();
    processor.restart().unwrap();
    assert!(processor.process(&CONTEXT, &[x(&[1.0])]).is_ok());
}

#[test]
fn a_monitor_finds() {
    let plugin = host().component(&guests::monitor()).unwrap();
    assert_eq!(plugin.world(), World::Monitor);
    let mut monitor = Monitor::start(&plugin, setup(Limits::default())).unwrap();
    let watch = &monitor.watches()[0];
    assert_eq!((watch.origin, watch.spec.name.as_str()), (Origin::Features, "x"));
    let findings = monitor
        .observe(&CONTEXT, &[x(&[1.0, 2.0]).renamed("whatever")])
        .unwrap();
    assert_eq!(findings.len(), 2);
    let finding = &findings[0];
    assert_eq!(
        (finding.kind.as_str(), finding.subject.as_str(), finding.severity),
        ("drift", "x", Severity::Alarm)
    );
    assert_eq!(
        (finding.value, finding.threshold, finding.message.len()),
        (Some(0.5), Some(0.25), 1024)
    );
    assert_eq!((finding.phase, finding.watch), (Phase::Raised, Some(0)));
    assert_eq!(monitor.observe(&CONTEXT, &[x(&[0.0; 100])]).unwrap().len(), 64);
    assert_eq!(monitor.take_telemetry().findings_dropped, 36);
    assert!(monitor.observe::<Tensor>(&CONTEXT, &[]).is_err());
    assert_eq!(monitor.snapshot().unwrap(), [0; 4]);
    monitor.restart().unwrap();
    let error = Processor::start(&plugin, setup(Limits::default())).unwrap_err();
    assert_eq!(
        error,
        PluginError::World {
            wanted: "processor",
            actual: "monitor"
        }
    );
}

#[test]
fn what_is_no_plugin_is_refused() {
    let host = host();
    let refused = |text: &str| host.component(&wat::parse_str(text).unwrap()).unwrap_err();
    let error = refused(
        r#"(component (import "wasi:cli/environment@0.2.0"
            (instance (export "get-arguments" (func (result (list string)))))))"#,
    );
    assert!(
        matches!(&error, HostError::Import { import } if import == "wasi:cli/environment@0.2.0"),
        "{error}"
    );
    let two =
        r#"(component (core module $m (memory 1)) (core instance (instantiate $m)) (core instance (instantiate $m)))"#;
    assert!(matches!(refused(two), HostError::Memories { count: 2 }));
    assert!(matches!(refused("(component)"), HostError::World(_)));
    assert!(matches!(
        refused("(module)"),
        HostError::NotAComponent("it is a core module")
    ));
    let other = r#"(component (core module $m (func (export "f"))) (core instance $i (instantiate $m))
        (func (export "process") (canon lift (core func $i "f"))))"#;
    assert!(matches!(refused(other), HostError::World(_)));
    let both = r#"(component (instance $nothing)
        (export "floorhand:plugin/processing@0.1.0" (instance $nothing))
        (export "floorhand:plugin/monitoring@0.1.0" (instance $nothing)))"#;
    let error = refused(both).to_string();
    assert!(error.contains("both processing and monitoring"), "{error}");
    let unknown = r#"(component (import "floorhand:plugin/host@0.1.0" (instance (export "sleep" (func))))
        (core module $m (func (export "f"))) (core instance $i (instantiate $m))
        (func (export "process") (canon lift (core func $i "f"))))"#;
    let error = refused(unknown).to_string();
    assert!(error.contains("sleep"), "{error}");
    assert!(matches!(
        host.component(b"\x7fELF machine code"),
        Err(HostError::NotAComponent("it is machine code"))
    ));
    assert!(matches!(host.component(b""), Err(HostError::NotAComponent(_))));
    let whole = guests::Processor::default().component();
    for end in [9, whole.len() / 2, whole.len() - 1] {
        assert!(
            matches!(host.component(&whole[..end]), Err(HostError::Refused(_))),
            "{end}"
        );
    }
}
