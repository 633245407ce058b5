//! False alarms where people meet them: a device's, over all of its features, in a day.

mod simulation;

use floorhand_statistics::{
    drift::{Criterion, DriftReport},
    false_alarms::Reporting,
    kolmogorov_smirnov::{self, TumblingKolmogorovSmirnov},
    psi::{PsiReport, Reference, TumblingPsi},
    sample::SortedSample,
};
use simulation::{Random, windows};

const WINDOW: u64 = 100;

#[test]
fn a_day_has_the_false_alarms_that_it_was_configured_for() {
    // Eight features at one sample a second: 6912 windows a day.
    const FEATURES: u32 = 8;
    let reporting = Reporting::new(WINDOW, 1.0, FEATURES).unwrap();
    assert_eq!(reporting.windows_per_day(), 6912.0);
    let days = windows(1);
    let mut random = Random::new(5);
    for (wanted, least, most) in [(10.0, 2, 23), (100.0, 60, 140)] {
        let criterion = Criterion::noise(reporting.confidence_for(wanted).unwrap(), 0.0).unwrap();
        let mut alarms = 0;
        for _ in 0..days * FEATURES {
            let training: Vec<f64> = (0..10_000).map(|_| random.normal()).collect();
            let reference = Reference::from_samples(&training, 10).unwrap();
            let mut monitor = TumblingPsi::new(reference, WINDOW).unwrap().with_criterion(criterion);
            let reports = (0..86_400).filter_map(|_| monitor.push(random.normal()));
            alarms += reports.filter(PsiReport::drifted).count() as u32;
        }
        println!("wanted {wanted} a day, were {}", f64::from(alarms) / f64::from(days));
        assert!(
            (least * days..=most * days).contains(&alarms),
            "{alarms} in {days} days"
        );
    }
}

#[test]
fn features_that_share_a_criterion_keep_it_together() {
    const FEATURES: u32 = 20;
    let rounds = windows(300);
    let mut random = Random::new(6);
    let training: Vec<f64> = (0..10_000).map(|_| random.normal()).collect();
    let sample = SortedSample::from_samples(&training, 1000).unwrap();
    let criterion = Criterion::noise(0.99, 0.0).unwrap().shared_by(FEATURES).unwrap();
    let monitor = TumblingKolmogorovSmirnov::new(sample, WINDOW)
        .unwrap()
        .with_criterion(criterion);
    let textbook = kolmogorov_smirnov::noise(0.95, 10_000.0, WINDOW as f64);
    let (mut together, mut by_textbook) = (0, 0);
    for _ in 0..rounds {
        // Half of what each feature shows is common to all: the rule holds however they depend on each other.
        let common: Vec<f64> = (0..WINDOW).map(|_| random.normal()).collect();
        let reports: Vec<DriftReport> = (0..FEATURES)
            .map(|_| {
                let mut monitor = monitor.clone();
                let value = |common: &f64| (common + random.normal()) / 2.0_f64.sqrt();
                common
                    .iter()
                    .map(value)
                    .collect::<Vec<f64>>()
                    .iter()
                    .find_map(|&value| monitor.push(value))
                    .unwrap()
            })
            .collect();
        together += u32::from(reports.iter().any(DriftReport::drifted));
        by_textbook += u32::from(reports.iter().any(|report| report.statistic > textbook));
    }
    println!("together {together}, by p < 0.05 each {by_textbook} of {rounds}");
    // Of 100 rounds one at most may alarm; four standard deviations and three above that.
    let expected = f64::from(rounds) * 0.01;
    assert!(
        f64::from(together) <= expected + 4.0 * expected.sqrt() + 3.0,
        "{together} of {rounds}"
    );
    assert!(by_textbook * 3 > rounds, "{by_textbook} of {rounds}");
}
