//! Any of the detectors, by the names and parameters that River gives them.

use floorhand_statistics::{
    adwin::{self, Adwin},
    ddm::{self, Ddm},
    detection::Level,
    hddm::{AverageConfig, HddmA, HddmW, WeightedConfig},
    page_hinkley::{self, Direction, PageHinkley},
};
use serde_json::Value;

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Any {
    Adwin(Adwin, adwin::Config),
    HddmA(HddmA, AverageConfig),
    HddmW(HddmW, WeightedConfig),
    Ddm(Ddm, ddm::Config),
    PageHinkley(PageHinkley, page_hinkley::Config),
}

impl Any {
    /// As River's of this name with these parameters. One that isn't known stops the test.
    pub(crate) fn recorded(name: &str, parameters: &Value) -> Self {
        let parameters = parameters.as_object().unwrap();
        let each = parameters.iter().map(|(key, value)| (key.as_str(), value));
        match name {
            "adwin" => {
                let config = each.fold(adwin::Config::default(), set_adwin);
                Self::Adwin(Adwin::new(config).unwrap(), config)
            }
            "hddm_a" => {
                let config = each.fold(AverageConfig::default(), set_hddm_a);
                Self::HddmA(HddmA::new(config).unwrap(), config)
            }
            "hddm_w" => {
                let config = each.fold(WeightedConfig::default(), set_hddm_w);
                Self::HddmW(HddmW::new(config).unwrap(), config)
            }
            "ddm" => {
                let config = each.fold(ddm::Config::default(), set_ddm);
                Self::Ddm(Ddm::new(config).unwrap(), config)
            }
            "page_hinkley" => {
                let config = each.fold(page_hinkley::Config::default(), set_page_hinkley);
                Self::PageHinkley(PageHinkley::new(config).unwrap(), config)
            }
            other => panic!("no detector {other}"),
        }
    }

    pub(crate) fn push(&mut self, value: f64) -> Level {
        match self {
            Self::Adwin(detector, _) => detector.push(value),
            Self::HddmA(detector, _) => detector.push(value),
            Self::HddmW(detector, _) => detector.push(value),
            Self::Ddm(detector, _) => detector.push(value == 1.0),
            Self::PageHinkley(detector, _) => detector.push(value),
        }
    }

    /// A new detector of the same configuration which goes on from this one's state.
    pub(crate) fn restored(&self) -> Self {
        match self {
            Self::Adwin(detector, config) => {
                let mut new = Adwin::new(*config).unwrap();
                new.restore(detector.state().clone()).unwrap();
                Self::Adwin(new, *config)
            }
            Self::HddmA(detector, config) => {
                let mut new = HddmA::new(*config).unwrap();
                new.restore(detector.state()).unwrap();
                Self::HddmA(new, *config)
            }
            Self::HddmW(detector, config) => {
                let mut new = HddmW::new(*config).unwrap();
                new.restore(detector.state()).unwrap();
                Self::HddmW(new, *config)
            }
            Self::Ddm(detector, config) => {
                let mut new = Ddm::new(*config).unwrap();
                new.restore(detector.state()).unwrap();
                Self::Ddm(new, *config)
            }
            Self::PageHinkley(detector, config) => {
                let mut new = PageHinkley::new(*config).unwrap();
                new.restore(detector.state()).unwrap();
                Self::PageHinkley(new, *config)
            }
        }
    }

    /// The numbers that `oracle_detectors.py` records of River's, in its order.
    pub(crate) fn numbers(&self) -> Vec<f64> {
        match self {
            Self::Adwin(detector, _) => vec![detector.width() as f64, detector.mean(), detector.variance()],
            Self::HddmA(detector, _) => {
                let state = detector.state();
                let means = [state.all, state.lowest, state.highest];
                means.iter().flat_map(|mean| [mean.count as f64, mean.mean]).collect()
            }
            Self::HddmW(detector, _) => {
                let state = detector.state();
                let means = [state.all, state.rise.before, state.rise.after];
                means
                    .iter()
                    .flat_map(|mean| [mean.mean, mean.squared_weights])
                    .collect()
            }
            Self::Ddm(detector, _) => {
                let lowest = detector.lowest().map(|lowest| [lowest.rate, lowest.deviation]);
                let errors = [detector.state().errors.count as f64, detector.rate()];
                errors.into_iter().chain(lowest.into_iter().flatten()).collect()
            }
            Self::PageHinkley(detector, _) => {
                let count = detector.state().values.count as f64;
                vec![count, detector.mean(), detector.rise(), detector.fall()]
            }
        }
    }
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap()
}

fn whole(value: &Value) -> u32 {
    u32::try_from(value.as_u64().unwrap()).unwrap()
}

fn set_adwin(mut config: adwin::Config, (key, value): (&str, &Value)) -> adwin::Config {
    match key {
        "delta" => config.delta = number(value),
        "clock" => config.clock = whole(value),
        "max_buckets" => config.max_buckets = whole(value),
        "min_window_length" => config.min_window_length = whole(value),
        "grace_period" => config.grace_period = whole(value),
        other => panic!("no parameter {other}"),
    }
    config
}

fn set_hddm_a(mut config: AverageConfig, (key, value): (&str, &Value)) -> AverageConfig {
    match key {
        "drift_confidence" => config.drift_confidence = number(value),
        "warning_confidence" => config.warning_confidence = number(value),
        "two_sided_test" => config.two_sided = value.as_bool().unwrap(),
        other => panic!("no parameter {other}"),
    }
    config
}

fn set_hddm_w(mut config: WeightedConfig, (key, value): (&str, &Value)) -> WeightedConfig {
    match key {
        "drift_confidence" => config.drift_confidence = number(value),
        "warning_confidence" => config.warning_confidence = number(value),
        "lambda_val" => config.lambda = number(value),
        "two_sided_test" => config.two_sided = value.as_bool().unwrap(),
        other => panic!("no parameter {other}"),
    }
    config
}

fn set_ddm(mut config: ddm::Config, (key, value): (&str, &Value)) -> ddm::Config {
    match key {
        "warm_start" => config.warm_start = u64::from(whole(value)),
        "warning_threshold" => config.warning_threshold = number(value),
        "drift_threshold" => config.drift_threshold = number(value),
        other => panic!("no parameter {other}"),
    }
    config
}

fn set_page_hinkley(mut config: page_hinkley::Config, (key, value): (&str, &Value)) -> page_hinkley::Config {
    match key {
        "min_instances" => config.min_instances = u64::from(whole(value)),
        "delta" => config.delta = number(value),
        "threshold" => config.threshold = number(value),
        "alpha" => config.alpha = number(value),
        "mode" => {
            config.direction = match value.as_str().unwrap() {
                "up" => Direction::Up,
                "down" => Direction::Down,
                other => panic!("no mode {other}"),
            }
        }
        other => panic!("no parameter {other}"),
    }
    config
}
