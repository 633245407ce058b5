//! The smallest program that is a worker: it does with its input what the input says.

use rustix::process::{Resource, Signal, getpid, getrlimit, kill_process};
use std::process::ExitCode;

fn main() -> ExitCode {
    floorhand_worker::serve(b"fhexampl", 1 << 20, |input| match input.as_slice() {
        b"memory" => {
            let hold = vec![1_u8; 1 << 30];
            Err(format!("had {} bytes", hold.len()))
        }
        b"time" => loop {
            std::hint::spin_loop();
        },
        b"refuse" => Err("this is refused,\nand more is said".to_owned()),
        b"exit" => std::process::exit(7),
        b"killed" => {
            let killed = kill_process(getpid(), Signal::KILL);
            Err(format!("it lives: {killed:?}"))
        }
        b"seconds" => {
            let limit = getrlimit(Resource::Cpu);
            Ok(format!("{:?} {:?}", limit.current, limit.maximum).into_bytes())
        }
        b"score" => std::fs::read("/proc/self/oom_score_adj").map_err(|error| error.to_string()),
        b"much" => Ok(vec![0; 1 << 20]),
        b"peak" => Ok(floorhand_worker::peak_memory_bytes()
            .unwrap_or(0)
            .to_le_bytes()
            .to_vec()),
        other => Ok(other.iter().rev().copied().collect()),
    })
}
