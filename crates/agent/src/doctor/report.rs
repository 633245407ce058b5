//! What the checks found, and how it is told: aligned lines for people, one object for programs.

use std::fmt::Display;
use std::io::Write as _;
use std::process::ExitCode;

use serde::Serialize;

use crate::exit::Exit;

/// How it stands with one thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Verdict {
    /// Well.
    Ok,
    /// It works, and may not for long, or not as somebody expects.
    Warn,
    /// It doesn't work.
    Fail,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Check {
    pub(super) name: &'static str,
    pub(super) verdict: Verdict,
    /// What was found.
    pub(super) finding: String,
    /// What to do; nothing when it is well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) advice: Option<String>,
}

/// All that was looked at.
#[derive(Debug, Default)]
pub(super) struct Report {
    pub(super) checks: Vec<Check>,
    exit: Option<Exit>,
}

impl Report {
    pub(super) fn ok(&mut self, name: &'static str, finding: impl Display) {
        self.add(name, Verdict::Ok, finding, None);
    }

    pub(super) fn warn(&mut self, name: &'static str, finding: impl Display, advice: impl Display) {
        self.add(name, Verdict::Warn, finding, Some(advice.to_string()));
    }

    pub(super) fn fail(&mut self, name: &'static str, exit: Exit, finding: impl Display, advice: impl Display) {
        self.exit.get_or_insert(exit);
        self.add(name, Verdict::Fail, finding, Some(advice.to_string()));
    }

    fn add(&mut self, name: &'static str, verdict: Verdict, finding: impl Display, advice: Option<String>) {
        let finding = finding.to_string();
        self.checks.push(Check {
            name,
            verdict,
            finding,
            advice,
        });
    }

    /// Prints to standard output, and gives the code to end with.
    pub(super) fn print(&self, json: bool) -> ExitCode {
        let text = if json { self.json() } else { self.text() };
        // Nobody is left to be told when the stream is closed.
        drop(std::io::stdout().lock().write_all(text.as_bytes()));
        self.exit.map_or(ExitCode::SUCCESS, ExitCode::from)
    }

    fn json(&self) -> String {
        let value = serde_json::json!({"ok": self.exit.is_none(), "checks": self.checks});
        format!("{value}\n")
    }

    fn text(&self) -> String {
        let width = self
            .checks
            .iter()
            .map(|check| check.name.len())
            .max()
            .unwrap_or_default();
        let mut text = String::new();
        for check in &self.checks {
            let word = match check.verdict {
                Verdict::Ok => "ok  ",
                Verdict::Warn => "warn",
                Verdict::Fail => "FAIL",
            };
            text += &format!("{word}  {:width$}  {}\n", check.name, check.finding);
            if let Some(advice) = &check.advice {
                text += &format!("      {:width$}  -> {advice}\n", "");
            }
        }
        let count = |verdict| self.checks.iter().filter(|check| check.verdict == verdict).count();
        text += &match (count(Verdict::Fail), count(Verdict::Warn)) {
            (0, 0) => "all is well\n".to_owned(),
            (0, warned) => format!("it works; {warned} to look at\n"),
            (failed, warned) => format!("{failed} failed, {warned} to look at\n"),
        };
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_readable_by_people_and_programs() {
        let mut report = Report::default();
        report.ok("clock", "plausible");
        assert!(report.text().ends_with("all is well\n") && report.exit.is_none());
        report.warn("trust root", "expires in 3 days", "install a newer one");
        report.fail("hub", Exit::Unreachable, "no route", "check the network");
        report.fail("disk", Exit::StateDirectory, "full", "free some space");
        let expected = "\
ok    clock       plausible
warn  trust root  expires in 3 days
                  -> install a newer one
FAIL  hub         no route
                  -> check the network
FAIL  disk        full
                  -> free some space
2 failed, 1 to look at
";
        assert_eq!(report.text(), expected);
        let json: serde_json::Value = serde_json::from_str(&report.json()).unwrap();
        assert_eq!(
            (&json["ok"], &json["checks"][2]["verdict"]),
            (&false.into(), &"fail".into())
        );
        assert!(json["checks"][0].get("advice").is_none());
        assert_eq!(report.exit, Some(Exit::Unreachable), "that of the first");
    }
}
