//! What is handed to the thread that serves has been warmed up: after a deployment, and after a start.

use super::bench::Bench;
use super::bundles::WORLD;
use floorhand_bundle::EngineName;
use floorhand_pipeline::{Engine, Engines, InferenceError, LoadOptions, Session, Tract};
use floorhand_store::RealDisk;
use floorhand_tensor::{Signature, Tensor};
use floorhand_testkit::crash::scratch;
use std::sync::{Arc, Mutex};

/// What happened to one session, in order.
type History = Arc<Mutex<Vec<&'static str>>>;

/// tract, and the histories of all its sessions.
#[derive(Debug, Default, Clone)]
struct Watched(Arc<Mutex<Vec<History>>>);

#[derive(Debug)]
struct WatchedSession(Box<dyn Session>, History);

impl Watched {
    /// The histories of all sessions since the last time, in the order in which they were loaded.
    fn take(&self) -> Vec<Vec<&'static str>> {
        let histories = std::mem::take(&mut *self.0.lock().unwrap());
        histories
            .iter()
            .map(|history| history.lock().unwrap().clone())
            .collect()
    }
}

impl Engine for Watched {
    fn name(&self) -> &str {
        Tract.name()
    }

    fn load(&self, onnx: &[u8], options: &LoadOptions) -> Result<Box<dyn Session>, InferenceError> {
        let history = History::default();
        self.0.lock().unwrap().push(Arc::clone(&history));
        Ok(Box::new(WatchedSession(Tract.load(onnx, options)?, history)))
    }
}

impl Session for WatchedSession {
    fn signature(&self) -> &Signature {
        self.0.signature()
    }

    fn run(&mut self, inputs: &[Tensor]) -> Result<Vec<Tensor>, InferenceError> {
        self.1.lock().unwrap().push("run");
        self.0.run(inputs)
    }

    fn warm_up(&mut self) -> Result<(), InferenceError> {
        self.1.lock().unwrap().push("warmed up");
        self.0.warm_up()
    }
}

impl Drop for WatchedSession {
    fn drop(&mut self) {
        self.1.lock().unwrap().push("dropped");
    }
}

#[test]
fn what_is_to_serve_is_warmed_up_before_it_is_handed_over() {
    let dir = scratch().unwrap();
    let root = dir.path().join("state");
    let watched = Watched::default();
    let start = || {
        let engines = Engines::default().with(EngineName::tract(), Ok(Arc::new(watched.clone())));
        Bench::start_among(engines, Arc::new(RealDisk), &root, Arc::new(|_, _| {})).unwrap()
    };
    // The bench drops what is handed to the thread that serves: what a session has seen by then, it was handed over with.
    let warm = || vec!["warmed up", "dropped"];
    let mut bench = start();
    bench.connect();
    bench.assign(1, "a");
    let [tried, candidate] = <[_; 2]>::try_from(watched.take()).unwrap();
    assert!(tried.contains(&"run"), "no golden case was run: {tried:?}");
    assert_eq!((bench.candidate, candidate), (Some(WORLD.bundle("a").digest), warm()));
    bench.try_candidate(true);
    assert_eq!(bench.serves, Some(WORLD.bundle("a").digest));
    assert!(watched.take().is_empty(), "it was loaded once more");

    drop(bench);
    let bench = start();
    assert_eq!(bench.serves, Some(WORLD.bundle("a").digest));
    assert_eq!(watched.take().last(), Some(&warm()));
}
