//! What the command shows: JSON for programs, tables for people, plain aligned columns when piped.
//!
//! Results go to standard output, everything else (errors, notes, progress) to standard error, so that a pipe carries
//! results and nothing else.

use anyhow::{Context, Result};
use comfy_table::{Attribute, Cell, Color, ContentArrangement, Table, presets};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use std::io::{IsTerminal, Write};
use std::time::Duration;

/// Redraws of a bar in a second: smooth for an eye, nothing for a processor.
const REDRAWS_HZ: u8 = 10;

/// Wide enough for every name that is shown before a value.
const NAME_WIDTH: usize = 15;
/// Blanks before and behind the content of a column.
const PADDING: (u16, u16) = (0, 2);

/// Where results and notes go, and how they look there.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    json: bool,
    terminal: bool,
    colour: bool,
    note_colour: bool,
}

/// How a text is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// As any other.
    Plain,
    /// It is as it should be.
    Good,
    /// It needs a look.
    Warn,
    /// It is wrong.
    Bad,
    /// It is there for completeness.
    Dim,
}

impl Tone {
    fn colour(self) -> Option<Color> {
        match self {
            Self::Plain => None,
            Self::Good => Some(Color::Green),
            Self::Warn => Some(Color::Yellow),
            Self::Bad => Some(Color::Red),
            Self::Dim => Some(Color::DarkGrey),
        }
    }

    /// The escape sequence that begins the tone, for texts outside tables.
    fn escape(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Good => "\x1b[32m",
            Self::Warn => "\x1b[33m",
            Self::Bad => "\x1b[31m",
            Self::Dim => "\x1b[90m",
        }
    }
}

impl Output {
    /// Output as the flags and the surroundings ask for it.
    pub fn new(json: bool) -> Self {
        let terminal = std::io::stdout().is_terminal();
        Self {
            json,
            terminal,
            colour: colours(terminal),
            note_colour: colours(std::io::stderr().is_terminal()),
        }
    }

    /// Whether the result is wanted as JSON.
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// Shows a result: as JSON when that is asked for, otherwise in the words of `human`.
    pub fn show<T: Serialize>(&self, value: &T, human: impl FnOnce(&Self) -> Result<()>) -> Result<()> {
        if !self.json {
            return human(self);
        }
        let text = serde_json::to_string_pretty(value).context("result can't be written as JSON")?;
        self.line(&text)
    }

    /// Shows one line of a stream as JSON.
    pub fn json_line<T: Serialize>(&self, value: &T) -> Result<()> {
        self.line(&serde_json::to_string(value).context("result can't be written as JSON")?)
    }

    /// Writes a line to standard output.
    pub fn line(&self, text: &str) -> Result<()> {
        writeln!(std::io::stdout().lock(), "{text}").context("standard output can't be written to")
    }

    /// A table with these headings.
    pub fn table(&self, headings: &[&str]) -> Table {
        let mut table = Table::new();
        if self.terminal {
            table
                .load_style(presets::UTF8_HORIZONTAL_ONLY)
                .set_content_arrangement(ContentArrangement::Dynamic);
        } else {
            table.load_style(presets::NOTHING).force_no_tty();
        }
        if !headings.is_empty() {
            table.set_header(headings.iter().map(|heading| self.heading(heading)).collect::<Vec<_>>());
        }
        table
    }

    /// Writes a table, without blanks at either end of a line.
    pub fn print(&self, mut table: Table) -> Result<()> {
        table.column_iter_mut().for_each(|column| {
            column.set_padding(PADDING);
        });
        for line in table.lines() {
            self.line(line.trim_end())?;
        }
        Ok(())
    }

    /// Names and values below each other; a value that is empty is left out.
    pub fn pairs(&self, pairs: &[(&str, String)]) -> Result<()> {
        for (name, value) in pairs.iter().filter(|(_, value)| !value.is_empty()) {
            let mut name = self.paint(&format!("{name:<NAME_WIDTH$}"), Tone::Dim);
            for line in visible(value).lines() {
                self.line(&format!("{name}{line}"))?;
                name = " ".repeat(NAME_WIDTH);
            }
        }
        Ok(())
    }

    /// A cell of a table.
    pub fn cell(&self, text: impl ToString, tone: Tone) -> Cell {
        let cell = Cell::new(text);
        match tone.colour().filter(|_| self.colour) {
            Some(colour) => cell.fg(colour),
            None => cell,
        }
    }

    /// A piece of a line of standard output.
    pub fn paint(&self, text: &str, tone: Tone) -> String {
        painted(text, tone, self.colour)
    }

    /// Tells the person something that isn't the result.
    pub fn note(&self, text: &str) {
        // Nobody is left to be told when standard error is closed.
        let _ = writeln!(std::io::stderr().lock(), "{text}");
    }

    /// Tells the person something in a tone.
    pub fn note_in(&self, tone: Tone, text: &str) {
        self.note(&painted(&visible(text), tone, self.note_colour));
    }

    /// Tells what went wrong.
    pub fn error(&self, text: &str, exit: u8) {
        if self.json {
            self.note(&serde_json::json!({ "error": text, "exit_code": exit }).to_string());
        } else {
            self.note(&format!("error: {}", visible(text)));
        }
    }

    /// A bar that counts to `length`; hidden when standard error is no terminal.
    pub fn bar(&self, length: u64, template: &str) -> ProgressBar {
        let bar = ProgressBar::with_draw_target(Some(length), ProgressDrawTarget::stderr_with_hz(REDRAWS_HZ));
        bar.with_style(style(template))
    }

    /// A sign of life for something whose length isn't known.
    pub fn spinner(&self, message: impl Into<String>) -> ProgressBar {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(REDRAWS_HZ))
            .with_style(style("{spinner} {msg}"))
            .with_message(message.into());
        bar.enable_steady_tick(Duration::from_millis(100));
        bar
    }

    /// A place for several bars below each other.
    pub fn bars(&self) -> MultiProgress {
        MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(REDRAWS_HZ))
    }

    fn heading(&self, text: &str) -> Cell {
        let cell = Cell::new(text.to_uppercase());
        if self.colour {
            cell.add_attribute(Attribute::Bold)
        } else {
            cell
        }
    }
}

/// A text from a file, a device or a hub as it can go to a terminal: characters that would steer it are spelt out.
pub fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() && !matches!(c, '\n' | '\t') {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown
}

/// Colours only on a terminal that has them, and never under `NO_COLOR`.
pub fn colours(terminal: bool) -> bool {
    let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let able = std::env::var_os("TERM").is_none_or(|value| value != "dumb");
    terminal && wanted && able
}

fn painted(text: &str, tone: Tone, colour: bool) -> String {
    if colour && tone != Tone::Plain {
        format!("{}{text}\x1b[0m", tone.escape())
    } else {
        text.to_owned()
    }
}

/// A bar's look. A template that doesn't parse is a mistake of ours that a test finds; the bar is then the default one.
pub fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_steer_a_terminal_is_spelt_out() {
        for (text, shown) in [
            ("two lines\n\tand a tab", "two lines\n\tand a tab"),
            ("\x1b[31mred\x07", "\\u{1b}[31mred\\u{7}"),
            ("\u{9b}2J\0\r", "\\u{9b}2J\\u{0}\\r"),
            ("Ähre", "Ähre"),
        ] {
            assert_eq!(visible(text), shown, "{text:?}");
        }
    }
}
