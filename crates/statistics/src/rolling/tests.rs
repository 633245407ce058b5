//! Tests of what is in a window when, and of what it amounts to.

use super::*;

fn sample(time_ms: i64, value: f64) -> Sample {
    Sample { time_ms, value }
}

fn over_time(width_ms: u64, max_samples: usize) -> RollingWindow {
    RollingWindow::new(Extent::Time { width_ms, max_samples }).unwrap()
}

fn values(window: &RollingWindow) -> Vec<f64> {
    window.state().0.map(|sample| sample.value).collect()
}

#[test]
fn extents_are_bounded() {
    let time = |width_ms, max_samples| Extent::Time { width_ms, max_samples };
    for extent in [
        Extent::Samples(0),
        Extent::Samples(MAX_SAMPLES + 1),
        time(0, 5),
        time(5, 0),
        time(5, MAX_SAMPLES + 1),
    ] {
        assert!(RollingWindow::new(extent).is_err(), "{extent:?}");
    }
    const { assert!(BYTES_PER_SAMPLE * MAX_SAMPLES <= 3 << 20) };
    const { assert!(size_of::<Sample>() * MAX_SAMPLES <= 1 << 19) };
}

#[test]
fn a_straight_line_in_the_year_2026() {
    let mut window = RollingWindow::new(Extent::Samples(4)).unwrap();
    let summary = RollingWindow::summary;
    assert_eq!(
        (summary(&window).mean(), summary(&window).slope_per_second()),
        (None, None)
    );
    for step in 0..50 {
        window.push(sample(1_790_000_000_000 + 3 * step, 5.0 - 0.25 * step as f64));
        assert_eq!(summary(&window).count(), 4.min(step as u64 + 1));
        if step > 0 {
            let slope = summary(&window).slope_per_second().unwrap();
            assert!((slope / (-0.25 / 0.003) - 1.0).abs() < 1e-14, "{step}: {slope}");
        }
    }
    assert_eq!(
        (summary(&window).min(), summary(&window).max()),
        (Some(-7.25), Some(-6.5))
    );
    assert_eq!(summary(&window).mean(), Some(-6.875));
}

#[test]
fn a_sample_as_old_as_the_width_is_out() {
    let mut window = over_time(100, 8);
    for (time_ms, value) in [(0, 1.0), (0, 2.0), (99, 3.0), (100, 4.0), (100, 5.0)] {
        assert_eq!(window.push(sample(time_ms, value)), Push::Taken);
    }
    assert_eq!(values(&window), [3.0, 4.0, 5.0]);
    window.push(sample(i64::MAX, 6.0));
    assert_eq!(values(&window), [6.0]);
    assert_eq!(window.summary().slope_per_second(), None, "one time has no slope");
}

#[test]
fn time_that_goes_back_is_late_or_a_clock_set_back() {
    let mut window = over_time(100, 8);
    let pushes = [
        (500, 1.0),
        (550, 2.0),
        (549, 3.0),
        (451, 4.0),
        (550, 5.0),
        (450, 6.0),
        (470, 7.0),
    ];
    let answers = pushes.map(|(time_ms, value)| window.push(sample(time_ms, value)));
    let expected = [
        Push::Taken,
        Push::Taken,
        Push::Late,
        Push::Late,
        Push::Taken,
        Push::Restarted,
        Push::Taken,
    ];
    assert_eq!(answers, expected);
    assert_eq!(values(&window), [6.0, 7.0]);
    assert_eq!(window.push(sample(i64::MIN, 8.0)), Push::Restarted);
    assert_eq!((window.summary().count(), window.summary().mean()), (1, Some(8.0)));
}

#[test]
fn samples_over_the_bound_push_the_oldest_out() {
    let mut window = over_time(1_000, 3);
    let answers = [1, 2, 3, 4, 5].map(|time_ms| window.push(sample(time_ms, time_ms as f64)));
    assert_eq!(answers, [Push::Taken, Push::Taken, Push::Taken, Push::Full, Push::Full]);
    assert_eq!(values(&window), [3.0, 4.0, 5.0]);
}

#[test]
fn missing_values_take_a_place_and_count_for_nothing() {
    let mut window = RollingWindow::new(Extent::Samples(3)).unwrap();
    for (time_ms, value) in [(0, 1.0), (1, f64::NAN), (2, f64::INFINITY), (3, f64::NAN)] {
        window.push(sample(time_ms, value));
    }
    let summary = window.summary();
    assert_eq!((summary.count(), summary.mean(), summary.min()), (0, None, None));
    window.push(sample(4, 7.0));
    let summary = window.summary();
    assert_eq!(
        (summary.mean(), summary.deviation(), summary.sample_deviation()),
        (Some(7.0), Some(0.0), None)
    );
}

#[test]
fn a_huge_sample_leaves_nothing_behind() {
    let mut window = RollingWindow::new(Extent::Samples(5)).unwrap();
    for step in 0..40 {
        let value = if step == 20 { 1e200 } else { 0.1 * (step % 3) as f64 };
        window.push(sample(step, value));
    }
    let deviation = window.summary().sample_deviation().unwrap();
    // 2, 0, 1, 2, 0 tenths: mean 1, squares 4, four degrees of freedom.
    assert!((deviation - 0.1).abs() < 1e-16, "{deviation}");
}

#[test]
fn restored_windows_go_on_with_the_same_bits() {
    let pushes: Vec<Sample> = (0..200)
        .map(|n| sample(n * 7 % 5 + 6 * n, libm::sin(n as f64) * 1e3))
        .collect();
    for extent in [
        Extent::Samples(17),
        Extent::Time {
            width_ms: 90,
            max_samples: 12,
        },
    ] {
        for stop in [0, 1, 16, 17, 18, 30, 101] {
            let mut whole = RollingWindow::new(extent).unwrap();
            pushes.iter().take(stop).for_each(|&sample| {
                whole.push(sample);
            });
            let (samples, older) = whole.state();
            let samples: Vec<Sample> = samples.collect();
            let mut restored = RollingWindow::new(extent).unwrap();
            restored.push(sample(9, 9.0));
            restored.restore(&samples, older).unwrap();
            for &sample in pushes.iter().skip(stop) {
                assert_eq!(whole.push(sample), restored.push(sample));
                assert_eq!(whole.summary(), restored.summary());
            }
        }
    }
}

#[test]
fn state_of_another_window_is_refused() {
    let mut window = over_time(100, 2);
    let at = |times: &[i64]| times.iter().map(|&time_ms| sample(time_ms, 0.0)).collect::<Vec<_>>();
    for (times, older) in [(vec![1, 2, 3], 0), (vec![2, 1], 0), (vec![0, 100], 0), (vec![0, 1], 3)] {
        assert!(
            matches!(window.restore(&at(&times), older), Err(StatisticsError::State(_))),
            "{times:?}"
        );
    }
    assert!(window.restore(&at(&[i64::MIN, i64::MAX]), 0).is_err());
    window.restore(&at(&[0, 99]), 2).unwrap();
}
