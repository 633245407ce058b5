//! The demo's machines: simulated vibration of a bearing, by the formulas of `demo/PHYSICS.md`, sample for sample.

use std::f64::consts::TAU;

const SAMPLE_RATE_HZ: f64 = 12_000.0;
/// Samples of one message.
pub(super) const CHUNK: usize = 256;
/// Turns of the shaft between two balls at the fault, inverted: n/2 * (1 - d/D * cos 0) for a 6205 bearing.
const BALLS_PER_TURN: f64 = 9.0 / 2.0 * (1.0 - 7.94 / 39.04);
const RING_HZ: f64 = 3200.0;
const RING_DAMPING: f64 = 0.03;
/// Wear that a chunk adds once wear has begun, and where it ends.
const WEAR_PER_CHUNK: f64 = 0.9 / 800.0;
const MOST_WEAR: f64 = 0.9;

/// What sets one machine of the type apart from the next.
#[derive(Debug, Clone, Copy)]
pub(super) struct Machine {
    /// Its seed.
    pub seed: u64,
    /// Its shaft's speed at load 1, in Hz.
    pub shaft_hz: f64,
    /// The gain of sensor and mounting.
    pub gain: f64,
    /// A factor on the noise.
    pub noise: f64,
}

/// The machines of the demo.
pub(super) const MACHINES: [Machine; 3] = [
    Machine {
        seed: 1546,
        shaft_hz: 29.45,
        gain: 1.003,
        noise: 0.995,
    },
    Machine {
        seed: 2177,
        shaft_hz: 29.55,
        gain: 0.998,
        noise: 1.004,
    },
    Machine {
        seed: 3667,
        shaft_hz: 29.50,
        gain: 1.000,
        noise: 1.000,
    },
];

/// SplitMix64.
struct Stream(u64);

impl Stream {
    fn new(seed: u64, stream: u64) -> Self {
        Self(mix(4_u64.wrapping_mul(seed).wrapping_add(stream)))
    }

    fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        (mix(self.0) >> 11) as f64 * 2_f64.powi(-53)
    }

    fn normal(&mut self) -> f64 {
        let (first, second) = (self.uniform(), self.uniform());
        (-2.0 * (1.0 - first).ln()).sqrt() * (TAU * second).cos()
    }
}

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// One machine as it runs.
pub(super) struct Vibration {
    machine: Machine,
    noise: Stream,
    load: Stream,
    impact: Stream,
    knot: f64,
    turns: f64,
    /// The turn at which the next ball reaches the fault.
    next_ball: f64,
    /// The two last samples of the ringing, and the last blow.
    ringing: (f64, f64),
    blow: f64,
    wear: f64,
    wears: bool,
}

impl Vibration {
    /// A machine that is started now, in good order.
    pub(super) fn new(machine: Machine) -> Self {
        let mut vibration = Self {
            machine,
            noise: Stream::new(machine.seed, 0),
            load: Stream::new(machine.seed, 1),
            impact: Stream::new(machine.seed, 2),
            knot: 0.0,
            turns: 0.0,
            next_ball: 0.0,
            ringing: (0.0, 0.0),
            blow: 0.0,
            wear: 0.0,
            wears: false,
        };
        vibration.knot = vibration.next_knot();
        vibration.next_ball = vibration.ball_after(0.0);
        vibration
    }

    /// Its bearing wears from now on.
    pub(super) fn begin_to_wear(&mut self) {
        self.wears = true;
    }

    /// The next chunk, in m/s².
    pub(super) fn chunk(&mut self) -> [f32; CHUNK] {
        if self.wears {
            self.wear = (self.wear + WEAR_PER_CHUNK).min(MOST_WEAR);
        }
        let (from, to) = (self.knot, self.next_knot());
        self.knot = to;
        let mut samples = [0.0; CHUNK];
        for (place, sample) in samples.iter_mut().enumerate() {
            *sample = self.sample(from + (to - from) * place as f64 / CHUNK as f64);
        }
        samples
    }

    fn sample(&mut self, load: f64) -> f32 {
        let turns = self.turns;
        let shaft =
            0.8 * (TAU * turns).sin() + 0.3 * (2.0 * TAU * turns + 0.7).sin() + 0.15 * (3.0 * TAU * turns + 1.9).sin();
        let noise = 0.5 * self.machine.noise * (0.5 + 0.5 * load) * self.noise.normal();
        let ringing = self.ring();
        self.blow = if turns >= self.next_ball { self.ball(load) } else { 0.0 };
        self.turns += self.machine.shaft_hz * (1.0 - 0.017 * (load - 1.0)) / SAMPLE_RATE_HZ;
        let acceleration = (self.machine.gain * (load * shaft + noise + ringing)).clamp(-80.0, 80.0);
        ((acceleration * 1000.0).round_ties_even() / 1000.0) as f32
    }

    /// The structure's answer to the blows so far.
    fn ring(&mut self) -> f64 {
        let omega = TAU * RING_HZ / SAMPLE_RATE_HZ;
        let decay = (-RING_DAMPING * omega).exp();
        let damped = omega * (1.0 - RING_DAMPING * RING_DAMPING).sqrt();
        let (last, before) = self.ringing;
        let now = 2.0 * decay * damped.cos() * last - decay * decay * before + decay * damped.sin() * self.blow;
        self.ringing = (now, last);
        now
    }

    /// A ball passes the fault: the blow, and when the next one comes.
    fn ball(&mut self, load: f64) -> f64 {
        let strength = 1.0 + 0.1 * self.impact.normal();
        self.next_ball = self.ball_after(self.next_ball);
        12.0 * self.wear * load * strength
    }

    fn ball_after(&mut self, turn: f64) -> f64 {
        turn + (1.0 + 0.01 * self.impact.normal()) / BALLS_PER_TURN
    }

    fn next_knot(&mut self) -> f64 {
        1.0 + 0.2 * self.load.normal().clamp(-2.5, 2.5)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    #[test]
    fn it_is_the_simulator_that_the_models_were_trained_on() {
        let vectors: Value = serde_json::from_str(include_str!("../../demo/vectors.json")).unwrap();
        let cases = vectors["vibration"].as_array().unwrap();
        assert!(!cases.is_empty());
        for case in cases {
            check(case);
        }
    }

    fn check(case: &Value) {
        let number = |key: &str| case["machine"][key].as_f64().unwrap();
        let seed = case["machine"]["seed"].as_u64().unwrap();
        let machine = Machine {
            seed,
            shaft_hz: number("speed_hz"),
            gain: number("gain"),
            noise: number("noise"),
        };
        let mut vibration = Vibration::new(machine);
        for (k, wear) in case["wear_of_chunk"].as_array().unwrap().iter().enumerate() {
            vibration.wear = wear.as_f64().unwrap();
            let chunk = vibration.chunk();
            let first = case["first_32_samples_of_chunk"][k].as_array().unwrap();
            for (sample, expected) in chunk.iter().zip(first) {
                assert!(
                    (f64::from(*sample) - expected.as_f64().unwrap()).abs() < 0.0011,
                    "chunk {k}"
                );
            }
            let squares: f64 = chunk.iter().map(|&sample| f64::from(sample).powi(2)).sum();
            let expected = case["sum_of_squares_of_chunk"][k].as_f64().unwrap();
            assert!(
                (squares - expected).abs() < 1e-3 * expected,
                "chunk {k}: {squares} and {expected}"
            );
        }
    }
}
