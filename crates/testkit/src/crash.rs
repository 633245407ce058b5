//! What a power cut can leave of a state directory: a disk that records every durable step, and every state that the steps
//! up to some moment can have brought about.
//!
//! The model is strict. A step is durable when an fsync of what it changed came after it: of the file for its content and
//! length, of the directory for a name. Until then it may be on the disk or not, whatever came later: in every state the
//! steps up to one moment are all done, but for one that wasn't durable by then, which is left out or done by half; and in
//! one more state none of those is done. A rename between two directories is done by half when the new name is there and the
//! old one still is.

//!
//! A spool's database has a record of its own: see [`Tape`].

mod failing;
mod hasty;
mod random;
mod recorder;
mod states;
mod tape;

pub use failing::{Ailment, Failing, Spell};
pub use hasty::{Hasty, scratch};
pub use random::Random;
pub use recorder::{Recorder, Step};
pub use states::{Crash, Fault, Loss, crashes, pairs};
pub use tape::{Tape, TapeFault, TapeStep, sample_tape};
