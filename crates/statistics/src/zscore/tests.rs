//! Tests of the alarm: when it is raised, what it learns from, and what it goes on from.

use super::*;

fn noise(step: u32) -> f64 {
    // No pattern that a baseline could miss, and no randomness.
    libm::sin(f64::from(step) * 12.9898) * 2.0
}

fn steady(config: Config, samples: u32) -> ZScore {
    let mut score = ZScore::new(config).unwrap();
    for step in 0..samples {
        if let Some(report) = score.push(10.0 + noise(step)) {
            assert!(!report.raised, "{step}: {report:?}");
        }
    }
    score
}

#[test]
fn there_is_no_answer_before_the_baseline() {
    for (baseline, needed) in [(Baseline::Rolling(20), 20), (Baseline::HalfLife(10.0), 44)] {
        let mut score = ZScore::new(Config {
            baseline,
            ..Config::default()
        })
        .unwrap();
        let silent = (0..100).take_while(|&step| score.push(noise(step)).is_none()).count();
        assert_eq!(silent, needed);
        assert_eq!(score.push(f64::NAN), None);
    }
}

#[test]
fn a_new_level_is_the_new_normal_or_is_not() {
    for baseline in [Baseline::Rolling(50), Baseline::HalfLife(20.0)] {
        for learn_outliers in [true, false] {
            let mut score = steady(
                Config {
                    baseline,
                    learn_outliers,
                    ..Config::default()
                },
                200,
            );
            let answers: Vec<bool> = (0..500)
                .map(|step| score.push(40.0 + noise(step)).unwrap().raised)
                .collect();
            assert!(answers[0]);
            assert_eq!(answers[499], !learn_outliers, "{baseline:?}");
            let back: Vec<bool> = (0..500)
                .map(|step| score.push(10.0 + noise(step)).unwrap().raised)
                .collect();
            assert_eq!(
                back[0..4],
                if learn_outliers {
                    [true; 4]
                } else {
                    [true, true, false, false]
                }
            );
            assert!(!back[499]);
        }
    }
}

#[test]
fn nothing_is_learned_while_the_alarm_is_raised() {
    for baseline in [Baseline::Rolling(50), Baseline::HalfLife(20.0)] {
        let config = Config {
            baseline,
            learn_outliers: false,
            clear_after: 5,
            ..Config::default()
        };
        let mut score = steady(config, 200);
        let before = score.state().baseline;
        assert!(score.push(90.0).unwrap().raised);
        // Near again, but not for long enough.
        for step in 0..4 {
            assert!(score.push(10.0 + noise(step)).unwrap().raised);
            assert_eq!(score.state().baseline, before, "{step}");
        }
        assert!(!score.push(10.0).unwrap().raised);
        assert_ne!(score.state().baseline, before);
    }
}

#[test]
fn sides_and_infinities() {
    for (side, above, below) in [
        (Side::Both, true, true),
        (Side::Above, true, false),
        (Side::Below, false, true),
    ] {
        for (value, expected) in [
            (90.0, above),
            (f64::INFINITY, above),
            (-90.0, below),
            (f64::NEG_INFINITY, below),
        ] {
            let mut score = steady(
                Config {
                    side,
                    ..Config::default()
                },
                200,
            );
            let report = score.push(value).unwrap();
            assert_eq!(report.raised, expected, "{side:?} {value} {report:?}");
        }
    }
    for baseline in [Baseline::Rolling(50), Baseline::HalfLife(20.0)] {
        for value in [f64::INFINITY, f64::MIN, 1e101] {
            let mut score = steady(
                Config {
                    baseline,
                    ..Config::default()
                },
                200,
            );
            let before = score.state().baseline;
            assert!(score.push(value).unwrap().raised);
            assert_eq!(score.state().baseline, before, "{value} isn't learned");
        }
    }
}

#[test]
fn a_value_that_stands_still() {
    let config = Config {
        baseline: Baseline::Rolling(8),
        ..Config::default()
    };
    let mut still = ZScore::new(config).unwrap();
    (0..8).for_each(|_| assert_eq!(still.push(3.0), None));
    assert_eq!(still.push(3.0).unwrap().z, 0.0);
    assert_eq!(still.push(2.999).unwrap().z, f64::NEG_INFINITY);
    let mut coarse = ZScore::new(Config {
        least_deviation: 0.5,
        ..config
    })
    .unwrap();
    (0..8).for_each(|_| assert_eq!(coarse.push(3.0), None));
    assert_eq!(coarse.push(4.0).unwrap().z, 2.0);
}

#[test]
fn limits_grow_for_small_baselines_and_only_there() {
    let limit_of = |baseline| {
        ZScore::new(Config {
            baseline,
            raise: 3.0,
            ..Config::default()
        })
        .unwrap()
        .limit
    };
    assert!(limit_of(Baseline::Rolling(8)) > 4.7);
    let large = limit_of(Baseline::Rolling(MAX_SAMPLES));
    assert!(large > 3.0 && large < 3.001, "{large}");
    let largest = limit_of(Baseline::HalfLife(MAX_HALF_LIFE));
    assert!(largest > 3.0 && largest < 3.001, "{largest}");
    for clear in (1..500).map(|step| 0.01 * f64::from(step)) {
        // Their quotient is 1 or below whatever the rounding.
        assert!(
            ZScore::new(Config {
                raise: clear,
                clear,
                ..Config::default()
            })
            .is_ok(),
            "{clear}"
        );
    }
    for raise in [1e-3, 10.0, MAX_RAISE] {
        assert!(limit(raise, 8.0) > raise && limit(raise, 8.0).is_finite(), "{raise}");
    }
}

#[test]
fn restored_alarms_go_on_with_the_same_bits() {
    for baseline in [Baseline::Rolling(30), Baseline::HalfLife(7.5)] {
        for stop in [0, 5, 29, 30, 31, 60, 61, 95] {
            let config = Config {
                baseline,
                raise: 2.0,
                clear: 1.0,
                raise_after: 2,
                ..Config::default()
            };
            let mut whole = ZScore::new(config).unwrap();
            let value = |step: u32| noise(step) + if step % 60 > 55 { 9.0 } else { 0.0 };
            (0..stop).for_each(|step| {
                whole.push(value(step));
            });
            let mut restored = ZScore::new(config).unwrap();
            restored.push(1.0);
            restored.restore(&whole.state()).unwrap();
            for step in stop..200 {
                assert_eq!(
                    whole.push(value(step)),
                    restored.push(value(step)),
                    "{baseline:?} {stop} {step}"
                );
            }
            assert_eq!(whole.state(), restored.state());
        }
    }
}

#[test]
fn state_of_another_configuration_is_refused() {
    let rolling = steady(Config::default(), 100).state();
    let halving_config = Config {
        baseline: Baseline::HalfLife(9.0),
        ..Config::default()
    };
    let halving = steady(halving_config, 100).state();
    assert!(ZScore::new(halving_config).unwrap().restore(&rolling).is_err());
    let short = Config {
        baseline: Baseline::Rolling(50),
        ..Config::default()
    };
    assert!(ZScore::new(short).unwrap().restore(&rolling).is_err());
    let broken = State {
        baseline: vec![1.0, f64::NAN, 0.0, 1.0, 1.0],
        ..halving.clone()
    };
    assert!(ZScore::new(halving_config).unwrap().restore(&broken).is_err());
    ZScore::new(halving_config).unwrap().restore(&halving).unwrap();
}

#[test]
fn parameters_are_checked() {
    let base = Config::default();
    for config in [
        Config { raise: 0.0, ..base },
        Config {
            raise: f64::NAN,
            ..base
        },
        Config { raise: 31.0, ..base },
        Config { clear: 5.1, ..base },
        Config { clear: -1.0, ..base },
        Config {
            least_deviation: -1.0,
            ..base
        },
        Config {
            least_deviation: f64::INFINITY,
            ..base
        },
        Config { raise_after: 0, ..base },
        Config {
            baseline: Baseline::Rolling(7),
            ..base
        },
        Config {
            baseline: Baseline::Rolling(MAX_SAMPLES + 1),
            ..base
        },
        Config {
            baseline: Baseline::HalfLife(2.9),
            ..base
        },
        Config {
            baseline: Baseline::HalfLife(f64::NAN),
            ..base
        },
    ] {
        assert!(ZScore::new(config).is_err(), "{config:?}");
    }
}
