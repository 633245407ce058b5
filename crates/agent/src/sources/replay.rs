//! Files that are replayed, each on a thread of its own.
//!
//! A line that is no sample costs that sample. What is wrong with a file as a whole is told once for as long as it lasts;
//! a file that is to be repeated is tried again.

use super::pace::{Pace, rest};
use crate::clock::system_ms;
use crate::config::{FileFormat, FileSource};
use crate::serving::{Input, Message, Payload, ServeSender};
use floorhand_pipeline::decode::{Line, Lines, MAX_SAMPLE_BYTES, Table};
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// A file that has no rows yet is read again this often: it would take a whole CPU otherwise.
const EMPTY_REST: Duration = Duration::from_secs(1);
/// A file that can't be read is tried again this often: somebody may be putting another one there.
const RETRY: Duration = Duration::from_secs(10);

/// Replays a file on a thread of its own, until it is at its end or `stop` is set.
pub(crate) fn replay(source: FileSource, serving: ServeSender, stop: Arc<AtomicBool>) -> io::Result<()> {
    let mut replay = Replay::new(source, serving, stop);
    std::thread::Builder::new()
        .name("replay".to_owned())
        .spawn(move || replay.run())?;
    Ok(())
}

/// Who takes samples: the serving thread, or a test.
trait Taker {
    /// Takes a sample when there is room for it. False when nobody takes any more.
    fn take(&self, input: Input) -> bool;

    /// Hears what is wrong with a source.
    fn hear(&self, source: &str, problem: String);

    /// Hears that something of a source was passed over.
    fn miss(&self);
}

impl Taker for ServeSender {
    fn take(&self, input: Input) -> bool {
        self.sample_blocking(input)
    }

    fn hear(&self, source: &str, problem: String) {
        self.source_error(source, problem);
    }

    fn miss(&self) {
        self.tell(Message::Missed);
    }
}

/// One file, again and again.
struct Replay<T> {
    source: FileSource,
    /// As messages and the status name it.
    name: String,
    /// As a decoder is told.
    file_name: String,
    taker: T,
    stop: Arc<AtomicBool>,
    pace: Pace,
    /// Whether it was replayed to its end before: not every time is news.
    replayed: bool,
    /// The problem that was told last.
    told: Option<String>,
}

/// How one time through a file ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lap {
    /// At the file's end, with so many samples.
    Whole(u64),
    /// The agent stops, or nobody takes samples any more.
    Stopped,
}

impl<T: Taker> Replay<T> {
    fn new(source: FileSource, taker: T, stop: Arc<AtomicBool>) -> Self {
        Self {
            name: format!("file:{}", source.path.display()),
            file_name: source
                .path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned(),
            pace: Pace::new(source.rate_hz),
            source,
            taker,
            stop,
            replayed: false,
            told: None,
        }
    }

    fn run(&mut self) {
        while let Some(wait) = self.once() {
            if !rest(wait, &self.stop) {
                return;
            }
        }
    }

    /// Replays the file once. How long to wait before the next time; `None` when there is none.
    fn once(&mut self) -> Option<Duration> {
        let wait = match self.lap() {
            Ok(Lap::Stopped) => return None,
            Ok(Lap::Whole(0)) => self.trouble("the file has no rows", EMPTY_REST),
            Ok(Lap::Whole(samples)) => self.at_end(samples),
            Err(error) => self.trouble(&error.to_string(), RETRY),
        };
        self.source.repeat.then_some(wait)
    }

    fn at_end(&mut self, samples: u64) -> Duration {
        let source = &self.name;
        if self.replayed {
            tracing::debug!(source, samples, "the file was replayed to its end once more");
        } else {
            tracing::info!(source, samples, "the file was replayed to its end");
        }
        self.replayed = true;
        self.told = None;
        Duration::ZERO
    }

    /// Tells what is wrong with the file and what becomes of the source, if it isn't what was told last.
    fn trouble(&mut self, problem: &str, wait: Duration) -> Duration {
        if self.told.as_deref() != Some(problem) {
            let outlook = if self.source.repeat {
                format!("it is tried again every {} s", wait.as_secs())
            } else {
                "the source has stopped: correct the file and restart the agent".to_owned()
            };
            self.taker.hear(&self.name, format!("{problem}; {outlook}"));
            self.told = Some(problem.to_owned());
        }
        wait
    }

    fn lap(&mut self) -> io::Result<Lap> {
        let file = BufReader::new(File::open(&self.source.path)?);
        let mut lines = Lines::new(file, MAX_SAMPLE_BYTES, Arc::clone(&self.stop));
        let Some(mut rows) = Rows::begin(&mut lines, &self.source)? else {
            return Ok(self.end(0));
        };
        let (mut line, mut samples) = (Vec::new(), 0);
        while let Some(found) = lines.read(&mut line)? {
            let Some(payload) = rows.payload(found, &mut line)? else {
                continue;
            };
            if found == Line::TooLong {
                let problem = format!(
                    "line {} is longer than {MAX_SAMPLE_BYTES} bytes and is no sample",
                    lines.number()
                );
                self.taker.hear(&self.name, problem);
                self.taker.miss();
            }
            if !self.hand_over(payload) {
                return Ok(Lap::Stopped);
            }
            samples += 1;
        }
        Ok(self.end(samples))
    }

    /// There are no more lines, or the agent stops.
    fn end(&self, samples: u64) -> Lap {
        if self.stop.load(Ordering::Relaxed) {
            Lap::Stopped
        } else {
            Lap::Whole(samples)
        }
    }

    fn hand_over(&mut self, payload: Payload) -> bool {
        self.pace.wait(&self.stop)
            && self.taker.take(Input {
                payload,
                time_ms: system_ms(),
                source: self.name.clone(),
                topic: self.file_name.clone(),
                retained: false,
                content_type: String::new(),
                properties: Vec::new(),
            })
    }
}

/// How the lines of a file are read.
enum Rows {
    Csv(Table),
    Jsonl,
}

impl Rows {
    /// `None` when the file ends before its first row.
    fn begin(lines: &mut Lines<impl BufRead>, source: &FileSource) -> io::Result<Option<Self>> {
        match source.format {
            FileFormat::Csv => Ok(Table::begin(lines, source.delimiter)?.map(Self::Csv)),
            FileFormat::Jsonl => Ok(Some(Self::Jsonl)),
        }
    }

    /// What is on a line; `None` when nothing is. One that was passed over is handed on without content: that is no
    /// sample, and is counted and reported where the others that are none are.
    fn payload(&mut self, found: Line, line: &mut Vec<u8>) -> io::Result<Option<Payload>> {
        let blank = match self {
            // A row of tabs or blanks has values, which are missing.
            Self::Csv(_) => line.is_empty(),
            Self::Jsonl => line.trim_ascii().is_empty(),
        };
        if blank && found == Line::Whole {
            return Ok(None);
        }
        Ok(Some(match self {
            Self::Csv(table) => {
                let row = table.row(line)?;
                Payload::Csv {
                    header: table.header(),
                    row,
                    line: std::mem::take(line),
                }
            }
            Self::Jsonl => Payload::Json(std::mem::take(line)),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::path::Path;

    /// Keeps what it gets.
    #[derive(Default)]
    struct Kept {
        samples: RefCell<Vec<String>>,
        problems: RefCell<Vec<String>>,
        /// Set when a sample has come.
        stop: Option<Arc<AtomicBool>>,
    }

    impl Taker for Kept {
        fn take(&self, input: Input) -> bool {
            self.samples.borrow_mut().push(match input.payload {
                Payload::Json(bytes) | Payload::Raw(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
                Payload::Csv { header, row, .. } => {
                    let fields = header.iter().zip(&row).map(|(name, value)| format!("{name}={value}"));
                    fields.collect::<Vec<_>>().join(" ")
                }
            });
            if let Some(stop) = &self.stop {
                stop.store(true, Ordering::Relaxed);
            }
            true
        }

        fn hear(&self, _: &str, problem: String) {
            self.problems.borrow_mut().push(problem);
        }

        fn miss(&self) {
            self.samples.borrow_mut().push("a gap".to_owned());
        }
    }

    fn replay_of(path: &Path, format: FileFormat, repeat: bool) -> Replay<Kept> {
        let source = FileSource {
            path: path.to_owned(),
            format,
            delimiter: None,
            rate_hz: None,
            repeat,
        };
        Replay::new(source, Kept::default(), Arc::default())
    }

    /// Replays a file of this content once; returns what was handed over and what was told.
    fn check(format: FileFormat, content: &[u8], samples: &[&str], problems: &[&str]) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("recording");
        std::fs::write(&path, content).unwrap();
        let mut replay = replay_of(&path, format, false);
        assert_eq!(replay.once(), None, "the end of a file that isn't repeated");
        assert_eq!(*replay.taker.samples.borrow(), samples);
        assert_eq!(*replay.taker.problems.borrow(), problems);
    }

    #[test]
    fn what_is_no_sample_takes_no_other_with_it() {
        check(
            FileFormat::Csv,
            b"a,b\n1,2\n\n\"3,4\n5\xb0,6\n7,8\n",
            &["a=1 b=2", "a=3,4", "a=5\u{fffd} b=6", "a=7 b=8"],
            &[],
        );
        check(
            FileFormat::Jsonl,
            b"\xef\xbb\xbf{\"a\": 1}\r\n  \r\nno sample\r\n{\"a\": 2}",
            &["{\"a\": 1}", "no sample", "{\"a\": 2}"],
            &[],
        );
    }

    #[test]
    fn a_line_that_is_too_long_is_one_bad_sample() {
        let long = "1".repeat(MAX_SAMPLE_BYTES + 1);
        let told = ["line 3 is longer than 33554432 bytes and is no sample"];
        let text = format!("a\n1\n{long}\n2\n");
        check(FileFormat::Csv, text.as_bytes(), &["a=1", "a gap", "", "a=2"], &told);
        let text = format!("1\n2\n{long}\n3\n");
        check(FileFormat::Jsonl, text.as_bytes(), &["1", "2", "a gap", "", "3"], &told);
    }

    #[test]
    fn a_source_that_has_ended_says_so() {
        let stopped = "the file has no rows; the source has stopped: correct the file and restart the agent";
        check(FileFormat::Csv, b"a,b\n", &[], &[stopped]);
        check(FileFormat::Jsonl, b"", &[], &[stopped]);
    }

    #[test]
    fn a_file_that_is_repeated_is_waited_for_and_told_of_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("recording.csv");
        let mut replay = replay_of(&path, FileFormat::Csv, true);
        assert_eq!([replay.once(), replay.once()], [Some(RETRY); 2], "not there");
        std::fs::write(&path, "a,b\n").unwrap();
        assert_eq!([replay.once(), replay.once()], [Some(EMPTY_REST); 2], "no rows");
        std::fs::write(&path, "a,b\n1,2\n").unwrap();
        assert_eq!([replay.once(), replay.once()], [Some(Duration::ZERO); 2]);
        assert_eq!(*replay.taker.samples.borrow(), ["a=1 b=2"; 2]);
        let problems = replay.taker.problems.take();
        assert!(
            problems.len() == 2 && problems[0].ends_with("; it is tried again every 10 s"),
            "{problems:?}"
        );
        assert_eq!(problems[1], "the file has no rows; it is tried again every 1 s");
    }

    #[test]
    fn a_stop_ends_the_replay_behind_the_sample_it_is_at() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("recording.csv");
        std::fs::write(&path, "a\n1\n2\n").unwrap();
        let mut replay = replay_of(&path, FileFormat::Csv, true);
        replay.taker.stop = Some(Arc::clone(&replay.stop));
        replay.run();
        assert_eq!(*replay.taker.samples.borrow(), ["a=1"]);
        assert!(replay.taker.problems.borrow().is_empty());
    }
}
