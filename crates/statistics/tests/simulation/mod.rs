//! Random numbers for the simulations: seeded, and the same bits on every machine.

#![allow(dead_code, reason = "no test needs all of it")]
#![allow(
    clippy::unwrap_used,
    reason = "a factor that is no number should stop the test where it is"
)]

/// A Weyl sequence whose bits are mixed (SplitMix64; Steele, Lea and Flood 2014, OOPSLA), and normal numbers from it in
/// pairs (Box and Muller 1958).
pub(crate) struct Random {
    state: u64,
    spare: Option<f64>,
}

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            state: seed,
            spare: None,
        }
    }

    pub(crate) fn bits(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.state;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// Evenly distributed over [0, 1).
    pub(crate) fn uniform(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Normal with mean 0 and variance 1.
    pub(crate) fn normal(&mut self) -> f64 {
        if let Some(spare) = self.spare.take() {
            return spare;
        }
        let radius = libm::sqrt(-2.0 * libm::log(1.0 - self.uniform()));
        let angle = std::f64::consts::TAU * self.uniform();
        self.spare = Some(radius * libm::sin(angle));
        radius * libm::cos(angle)
    }
}

/// What a simulation is larger by than in the everyday run: `FLOORHAND_SIMULATION_FACTOR`.
pub(crate) fn factor() -> u32 {
    let factor = std::env::var("FLOORHAND_SIMULATION_FACTOR");
    factor.map_or(1, |factor| factor.parse().unwrap())
}

/// How many windows a simulation runs: `default` in the everyday run, and more for the tables in README.md.
pub(crate) fn windows(default: u32) -> u32 {
    default * factor()
}
